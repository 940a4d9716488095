# SPDX-License-Identifier: BSD-3-Clause
"""The target over RDMA, in the guest: suites of pytest, as a process, and when its device goes.

A part of `scenario_rdma`, which has set up the devices.
"""

from tests.guest import rxe
from tests.guest.steps import Scenario
from tests.guest.suite import run_suite

scenario = Scenario()

SUITES = {
    "good": ("serving", "recordings"),
    "bad": ("hostile", "process"),
}
"""What `run_suite` runs of `tests/target/rdma`, and of which files. To start pytest takes longer
than most of its tests."""


def file_of(name: str) -> str:
    return f"tests/target/rdma/suite_{name}.py"


@scenario.step(timeout=400)
def good() -> None:
    run_suite("good", *map(file_of, SUITES["good"]))


@scenario.step(needs=("good",))
def not_ready() -> dict[str, int]:
    """How often a device was sent something that it had posted no receive for."""
    return {port.device: port.counter("send_rnr_err") for port in (rxe.NEAR, rxe.FAR)}


@scenario.step(needs=("not_ready",), timeout=600)
def bad() -> None:
    run_suite("bad", *map(file_of, SUITES["bad"]))
