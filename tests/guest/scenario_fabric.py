# SPDX-License-Identifier: BSD-3-Clause
"""The initiator's fabric over RDMA in the guest; that RDMA itself works there is `scenario_rdma`'s
to say."""

from tests.guest import rxe
from tests.guest.steps import Scenario
from tests.guest.suite import run_suite

scenario = Scenario()

SUITE = "fabric"
"""What `run_suite` runs of `suite_fabric`."""


@scenario.step(timeout=60)
def set_up_devices() -> None:
    rxe.load()
    rxe.set_up_alone()
    rxe.set_up_unserved()
    rxe.set_up_wire()


@scenario.step(needs=("set_up_devices",), timeout=300)
def run_fabric_suite() -> None:
    run_suite(SUITE, "tests/guest/suite_fabric.py")


if __name__ == "__main__":
    scenario.main()
