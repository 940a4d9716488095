# SPDX-License-Identifier: BSD-3-Clause
"""The gateways over RDMA in a real kernel: see `scenario_rdma_gateways`, which runs inside."""

import hashlib

import pytest

from tests.guest import direct, encryption, rxe, tree
from tests.guest import scenario_rdma_gateways as inside
from tests.guest.harness import Guest

pytestmark = pytest.mark.guest


NAMES = [disk.name for disk in inside.DISKS]


@pytest.fixture(scope="module")
def guest(rdma_guest: Guest) -> Guest:
    return rdma_guest


@pytest.fixture(scope="module")
def originals() -> str:
    """What the checksums of the copied files come to, taken outside."""
    return tree.summary(tree.digests(tree.TREE, tree.chosen()))


@pytest.mark.parametrize("step", inside.scenario.names)
def test_step_passes(guest: Guest, step: str) -> None:
    guest.result(step)


def test_target_listens_wherever_there_is_a_device(guest: Guest) -> None:
    said = guest.result("start_rdma_target")
    for number in (15771, 8549):
        assert f"0.0.0.0:{number} (tcp)" in said
        for port in (rxe.ALONE, rxe.NEAR, rxe.FAR):
            assert f"{port.address}:{number} (rdma)" in said
    assert rxe.UNSERVED not in said


def test_write_to_eager_buffers_takes_no_read(guest: Guest) -> None:
    """v5, Keyed Eager Buffers: one WRITE and one SEND out; the status byte is written back."""
    found = guest.result("count_operations")["eager"]
    assert found["initiator"] == {"reads": 0, "writes": 1, "sends": 1, "receives": 1}
    assert found["target"] == {"reads": 0, "writes": 1, "sends": 1, "receives": 1}


def test_write_by_keyed_descriptors_is_read_by_the_target(guest: Guest) -> None:
    found = guest.result("count_operations")["keyed"]
    assert found["initiator"] == {"reads": 0, "writes": 0, "sends": 1, "receives": 1}
    assert found["target"] == {"reads": 1, "writes": 1, "sends": 1, "receives": 1}


def test_direct_io_of_odd_sizes(guest: Guest) -> None:
    assert guest.result("direct_io") == dict.fromkeys(NAMES, len(direct.ODD_SIZES))


def test_two_initiators_copy_at_once(guest: Guest) -> None:
    synced = guest.result("copy_trees")
    assert set(synced) == set(NAMES)
    assert min(synced.values()) > 30


def test_file_systems_hold_the_tree(guest: Guest, originals: str) -> None:
    assert guest.result("check_trees") == dict.fromkeys(NAMES, originals)


def test_images_hold_the_tree(guest: Guest, originals: str) -> None:
    assert guest.result("images") == [originals, originals]


def test_eager_buffers_are_used_where_they_may_be(guest: Guest) -> None:
    """A request with device-readable bytes takes a READ, unless they are in the eager buffers."""
    found = guest.result("what_disks_took")
    assert found["across"]["reads"] < found["across"]["receives"] // 10
    assert found["within"]["reads"] > found["within"]["receives"] // 2


def test_random_bytes(guest: Guest) -> None:
    found = guest.result("mount_remote")
    assert found["lengths"] == [4096] * 4
    assert found["distinct"] == 4


def test_encryption_is_what_openssl_makes(guest: Guest) -> None:
    found = guest.result("mount_remote")["encryption"]
    assert found["size"] == encryption.PLAIN_TEXT
    assert {"operations: 2", "failures: 0", "last_failure: none"} <= set(found["status"])


def test_digest(guest: Guest) -> None:
    found = guest.result("mount_remote")["digest"]
    assert found == hashlib.sha256(inside.DIGESTED).hexdigest()


def test_kernel_has_no_complaints(guest: Guest) -> None:
    assert guest.result("kernel_is_content_over_rdma") == []


def test_receivers_are_always_ready(guest: Guest) -> None:
    assert guest.result("receivers_were_ready") == 0


def test_brief_cut_only_takes_time(guest: Guest) -> None:
    found = guest.result("cut_briefly")
    assert found["cut"] >= inside.BRIEF
    assert found["during"] < 32768
    assert (found["status"], found["output"]) == (0, "")
    assert found["same"]


def test_long_cut_is_an_error(guest: Guest) -> None:
    found = guest.result("cut_for_good")
    assert found["status"] == 1
    assert "Input/output error" in found["output"]
    assert found["seconds"] < 45


def test_nothing_is_lost_with_the_session(guest: Guest, originals: str) -> None:
    found = guest.result("attach_again")
    assert found["digest"] == originals
    assert found["brief"]


def test_nothing_is_left(guest: Guest) -> None:
    assert guest.result("stop_rdma_target") == {"status": 0, "violations": [], "queue_pairs": []}
