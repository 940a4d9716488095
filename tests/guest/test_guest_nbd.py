# SPDX-License-Identifier: BSD-3-Clause
"""A remote disk as /dev/nbd0 of a real kernel: see `scenario_nbd`, which runs inside."""

from typing import Any

import pytest

from tests.guest import direct, tree
from tests.guest import scenario_nbd as inside
from tests.guest.harness import Guest, run_scenario

MIB = inside.MIB

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def guest() -> Guest:
    return run_scenario("tests.guest.scenario_nbd", timeout=600, cpus=inside.CONNECTIONS)


@pytest.fixture(scope="module")
def originals() -> str:
    """What the checksums of the copied files come to, taken outside."""
    return tree.summary(tree.digests(tree.TREE, tree.chosen()))


@pytest.mark.parametrize("step", inside.scenario.names)
def test_step_passes(guest: Guest, step: str) -> None:
    guest.result(step)


def test_guest_shuts_down(guest: Guest) -> None:
    assert guest.status == 0


@pytest.mark.parametrize(
    ("step", "disk", "read_only"),
    [
        ("identify_plain", inside.PLAIN, 0),
        ("identify_coarse", inside.COARSE, 0),
        ("read_only", inside.SEALED, 1),
    ],
)
def test_kernel_sees_the_device(guest: Guest, step: str, disk: inside.Disk, read_only: int) -> None:
    found = guest.result(step)
    assert found["size"] == disk.size
    assert found["ro"] == read_only
    assert found["rotational"] == 0
    assert found["hardware_queues"] == inside.CONNECTIONS
    # What a read-only device says of its cache is of no use to anyone.
    if not read_only:
        assert found["write_cache"] == "write back"
        assert found["fua"] == 1
        assert found["discard_max_bytes"] > 0


def test_tree_is_large_enough(guest: Guest, originals: str) -> None:
    staged = guest.result("stage_tree")
    assert staged["files"] > 300
    assert staged["digest"] == originals


@pytest.mark.parametrize("disk", ["plain", "coarse"])
def test_direct_io_of_odd_sizes(guest: Guest, disk: str) -> None:
    assert guest.result(f"odd_sizes_{disk}") == len(direct.ODD_SIZES)


def test_discard_frees_blocks_of_the_image(guest: Guest) -> None:
    blocks = guest.result("discard")
    assert blocks["before"] >= direct.Model.HEAD
    assert blocks["part"] == blocks["before"] - MIB
    assert blocks["after"] == 0


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_file_system_holds_the_tree(guest: Guest, originals: str, kind: str) -> None:
    assert guest.result(kind)["synced"] > 30
    assert guest.result(kind)["digest"] == originals


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_image_holds_the_tree(guest: Guest, originals: str, kind: str) -> None:
    assert guest.result(f"image_{kind}") == originals


def test_fstrim_frees_blocks_of_the_image(guest: Guest) -> None:
    blocks = guest.result("fstrim_ext4")
    assert blocks["deleted"] > blocks["full"] - MIB
    assert blocks["trimmed"] < blocks["full"] - 15 * MIB


def test_read_only_device_refuses_writes(guest: Guest) -> None:
    found = guest.result("read_only")
    assert found["same"]
    assert "Operation not permitted" in found["dd"]
    assert "blkdiscard: " in found["blkdiscard"]
    assert found["unchanged"]


def test_kernel_has_no_complaints(guest: Guest) -> None:
    assert guest.result("kernel_is_content") == []


def test_target_ends_on_sigterm(guest: Guest) -> None:
    assert guest.result("stop_target") == 0
    assert guest.result("detach_everything") == 0


def test_nbdkit_outlives_its_target(guest: Guest) -> None:
    assert guest.result("restart_target") > 0


@pytest.mark.parametrize("step", ["kill_target", "kill_under_file_system"])
def test_writer_gets_an_error_when_the_target_is_killed(guest: Guest, step: str) -> None:
    found: dict[str, Any] = guest.result(step)
    assert found["status"] == 1
    assert "Input/output error" in found["output"]
    assert found["stuck"] == []


def test_device_fails_at_once_without_its_target(guest: Guest) -> None:
    assert "Input/output error" in guest.result("kill_target")["later"]


def test_file_system_outlives_its_target(guest: Guest, originals: str) -> None:
    assert guest.result("kill_under_file_system")["digest"] == originals
