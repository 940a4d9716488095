# SPDX-License-Identifier: BSD-3-Clause
"""RDMA in the guest is fit for use: see `scenario_rdma`, which runs inside."""

import pytest

from tests.guest import rxe, verbs
from tests.guest import scenario_rdma as inside
from tests.guest.harness import Guest
from tests.guest.suite import Suite

pytestmark = [pytest.mark.guest, pytest.mark.timeout(1560)]

PORTS = (rxe.ALONE, rxe.NEAR, rxe.FAR)
EXCHANGES = ("one_device", "across_the_wire", "mend_the_wire")
FLUSHED = 5


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


def test_verbs_suite(guest: Guest) -> None:
    Suite.of(guest, "run_verbs_suite", inside.SUITE).judge()


@pytest.mark.parametrize("step", EXCHANGES)
def test_every_command_is_answered(guest: Guest, step: str) -> None:
    found = guest.result(step)
    assert found["initiator"]["done"] == found["target"]["done"] == verbs.COMMANDS
    assert found["initiator"]["end"] == "all done"
    assert found["target"]["end"] == "DISCONNECTED"


@pytest.mark.parametrize("step", EXCHANGES)
def test_receives_posted_are_given_back(guest: Guest, step: str) -> None:
    found = guest.result(step)
    assert found["initiator"]["flushed"].count(FLUSHED) == verbs.DEPTH
    assert found["target"]["flushed"].count(FLUSHED) >= verbs.DEPTH


def test_packets_cross_the_wire(guest: Guest) -> None:
    """Each way at least as many as the payload fills, at the largest that a packet carries."""
    least = verbs.COMMANDS * verbs.BLOCK // 1024
    assert all(packets >= least for packets in guest.result("across_the_wire")["packets"])


def test_receiver_is_always_ready(guest: Guest) -> None:
    assert guest.result("across_the_wire")["not_ready"] == [0, 0]


def test_kernel_has_no_complaints(guest: Guest) -> None:
    assert guest.result("kernel_is_content") == []


@pytest.mark.parametrize("step", ["kill_target", "kill_initiator"])
def test_survivor_is_told(guest: Guest, step: str) -> None:
    found = guest.result(step)
    assert found["end"] == "DISCONNECTED"
    assert found["seconds"] < 10


def test_cut_wire_is_noticed_by_whoever_sends(guest: Guest) -> None:
    found = guest.result("cut_the_wire")
    assert found["initiator"]["end"] == found["target"]["end"] == "status 12"
    assert found["seconds"] < 20
