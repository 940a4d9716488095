# SPDX-License-Identifier: BSD-3-Clause
"""The target over RDMA, in the guest: suites of pytest, as a process, and when its device goes.

A part of `scenario_rdma`, which has set up the devices.
"""

from tests.guest import rxe
from tests.guest.steps import Scenario
from tests.guest.suite import run_suite

scenario = Scenario()

SUITES = ("serving", "hostile", "recordings", "process")
"""What `run_suite` runs of `tests/target/rdma`."""


def _suite(name: str) -> None:
    run_suite(name, f"tests/target/rdma/suite_{name}.py")


@scenario.step(timeout=300)
def serving() -> None:
    _suite("serving")


@scenario.step(timeout=200)
def recordings() -> None:
    _suite("recordings")


@scenario.step(needs=("serving", "recordings"))
def not_ready() -> dict[str, int]:
    """How often a device was sent something that it had posted no receive for."""
    return {port.device: port.counter("send_rnr_err") for port in (rxe.NEAR, rxe.FAR)}


@scenario.step(needs=("not_ready",), timeout=400)
def hostile() -> None:
    _suite("hostile")


@scenario.step(timeout=200)
def process() -> None:
    _suite("process")
