# SPDX-License-Identifier: BSD-3-Clause
"""The initiator over RDMA, good peers and bad: see `scenario_fabric`, which runs inside."""

import pytest

from tests.guest import scenario_fabric as inside
from tests.guest.harness import Guest, run_scenario
from tests.guest.suite import Suite

pytestmark = [pytest.mark.guest, pytest.mark.timeout(480)]


@pytest.fixture(scope="module")
def guest() -> Guest:
    return run_scenario("tests.guest.scenario_fabric", timeout=420)


@pytest.mark.parametrize("step", inside.scenario.names)
def test_step_passes(guest: Guest, step: str) -> None:
    guest.result(step)


def test_guest_shuts_down(guest: Guest) -> None:
    assert guest.status == 0


def test_fabric_suite(guest: Guest) -> None:
    Suite.of(guest, "run_fabric_suite", inside.SUITE).judge()
