# SPDX-License-Identifier: BSD-3-Clause
"""The target over RDMA, in the guest: suites of pytest, as a process, and when its device goes."""

from tests.guest import rxe
from tests.guest.steps import Scenario
from tests.guest.suite import run_suite

scenario = Scenario()

SUITES = ("serving",)
"""What `run_suite` runs of `tests/target/rdma`."""


@scenario.step()
def set_up_devices() -> dict[str, str]:
    rxe.load()
    rxe.set_up_alone()
    rxe.set_up_unserved()
    rxe.set_up_wire()
    return rxe.links()


def _suite(name: str) -> None:
    run_suite(name, f"tests/target/rdma/suite_{name}.py")


@scenario.step(needs=("set_up_devices",), timeout=300)
def serving() -> None:
    _suite("serving")


@scenario.step(needs=("serving",))
def not_ready() -> dict[str, int]:
    """How often a device was sent something that it had posted no receive for."""
    return {port.device: port.counter("send_rnr_err") for port in (rxe.NEAR, rxe.FAR)}


if __name__ == "__main__":
    scenario.main()
