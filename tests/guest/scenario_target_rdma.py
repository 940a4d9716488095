# SPDX-License-Identifier: BSD-3-Clause
"""The target over RDMA, in the guest: suites of pytest, as a process, and when its device goes.

A part of `scenario_rdma`, which has set up the devices.
"""

from tests.guest import rxe
from tests.guest.steps import Scenario
from tests.guest.suite import run_suite

scenario = Scenario()

SUITES = ("serving",)
"""What `run_suite` runs of `tests/target/rdma`."""


def _suite(name: str) -> None:
    run_suite(name, f"tests/target/rdma/suite_{name}.py")


@scenario.step(timeout=300)
def serving() -> None:
    _suite("serving")


@scenario.step(needs=("serving",))
def not_ready() -> dict[str, int]:
    """How often a device was sent something that it had posted no receive for."""
    return {port.device: port.counter("send_rnr_err") for port in (rxe.NEAR, rxe.FAR)}
