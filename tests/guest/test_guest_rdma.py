# SPDX-License-Identifier: BSD-3-Clause
"""RDMA in the guest is fit for use: see `scenario_rdma`, which runs inside."""

import pytest

from tests.guest import rxe
from tests.guest import scenario_rdma as inside
from tests.guest.harness import Guest

pytestmark = pytest.mark.guest

PORTS = (rxe.ALONE, rxe.NEAR, rxe.FAR)


@pytest.fixture(scope="module")
def guest(rdma_guest: Guest) -> Guest:
    return rdma_guest


@pytest.mark.parametrize("step", inside.scenario.own_names)
def test_step_passes(guest: Guest, step: str) -> None:
    guest.result(step)


def test_guest_shuts_down(guest: Guest) -> None:
    assert guest.status == 0


def test_devices_are_up(guest: Guest) -> None:
    assert guest.result("set_up_devices") == {port.device: "ACTIVE" for port in PORTS}


def test_packets_cross_the_wire(guest: Guest) -> None:
    """Each way, as a suite of requests needs them; the rest of a boot's is some dozens."""
    assert min(guest.result("packets")) > 1000


def test_kernel_has_no_complaints(guest: Guest) -> None:
    assert guest.result("kernel_is_content") == []
