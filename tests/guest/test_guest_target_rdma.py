# SPDX-License-Identifier: BSD-3-Clause
"""The target serves over RDMA: see `scenario_target_rdma`, which runs inside."""

import pytest

from tests.guest import scenario_target_rdma as inside
from tests.guest.harness import Guest
from tests.guest.suite import Suite

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def guest(rdma_guest: Guest) -> Guest:
    return rdma_guest


@pytest.mark.parametrize("step", inside.scenario.names)
def test_step_passes(guest: Guest, step: str) -> None:
    guest.result(step)


@pytest.mark.parametrize(
    ("suite", "name"), [(suite, name) for suite, names in inside.SUITES.items() for name in names]
)
def test_suite(guest: Guest, suite: str, name: str) -> None:
    Suite.of(guest, suite, suite).judge(inside.file_of(name))


def test_receiver_is_always_ready(guest: Guest) -> None:
    assert set(guest.result("not_ready").values()) == {0}
