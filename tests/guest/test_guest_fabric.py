# SPDX-License-Identifier: BSD-3-Clause
"""The initiator over RDMA, peers good and bad: see `scenario_fabric`, which runs inside."""

import pytest

from tests.guest import scenario_fabric as inside
from tests.guest.harness import Guest
from tests.guest.suite import Suite

pytestmark = pytest.mark.guest


@pytest.mark.parametrize("step", inside.scenario.names)
def test_step_passes(rdma_guest: Guest, step: str) -> None:
    rdma_guest.result(step)


def test_fabric_suite(rdma_guest: Guest) -> None:
    Suite.of(rdma_guest, "run_fabric_suite", inside.SUITE).judge()
