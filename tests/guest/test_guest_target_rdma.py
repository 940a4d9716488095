# SPDX-License-Identifier: BSD-3-Clause
"""The target serves over RDMA: see `scenario_target_rdma`, which runs inside."""

import pytest

from tests.guest import scenario_target_rdma as inside
from tests.guest.harness import Guest, run_scenario
from tests.guest.suite import Suite

pytestmark = [pytest.mark.guest, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def guest() -> Guest:
    return run_scenario("tests.guest.scenario_target_rdma", timeout=540)


@pytest.mark.parametrize("step", inside.scenario.names)
def test_step_passes(guest: Guest, step: str) -> None:
    guest.result(step)


def test_guest_shuts_down(guest: Guest) -> None:
    assert guest.status == 0


@pytest.mark.parametrize("suite", inside.SUITES)
def test_suite(guest: Guest, suite: str) -> None:
    Suite.of(guest, suite, suite).judge()


def test_receiver_is_always_ready(guest: Guest) -> None:
    assert set(guest.result("not_ready").values()) == {0}
