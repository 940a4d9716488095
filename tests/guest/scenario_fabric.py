# SPDX-License-Identifier: BSD-3-Clause
"""The initiator's fabric over RDMA in the guest, with peers good and bad.

A part of `scenario_rdma`, which has set up the devices. To be the last: one of its targets posts no
receives, and others count how often that happens.
"""

from tests.guest.steps import Scenario
from tests.guest.suite import run_suite

scenario = Scenario()

SUITE = "fabric"
"""What `run_suite` runs of `suite_fabric`."""


@scenario.step(timeout=300)
def run_fabric_suite() -> None:
    run_suite(SUITE, "tests/guest/suite_fabric.py")
