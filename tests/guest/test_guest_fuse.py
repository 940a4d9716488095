# SPDX-License-Identifier: BSD-3-Clause
"""Remote devices as files of a real kernel: see `scenario_fuse`, which runs inside."""

import shutil

import pytest

from tests.guest import encryption
from tests.guest import scenario_fuse as inside
from tests.guest.harness import Guest, run_scenario

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(
        shutil.which("rngd") is None, reason="missing: rngd; `make setup` installs it"
    ),
]

PROMPT = 20
"""Seconds that count as at once in an emulated machine: less than the mount's own timeout."""


@pytest.fixture(scope="module")
def guest() -> Guest:
    return run_scenario("tests.guest.scenario_fuse", timeout=360)


@pytest.mark.parametrize("step", inside.scenario.names)
def test_step_passes(guest: Guest, step: str) -> None:
    guest.result(step)


def test_guest_shuts_down(guest: Guest) -> None:
    assert guest.status == 0


def test_mount_is_usable_at_once(guest: Guest) -> None:
    found = guest.result("mount_random")
    assert found["entries"] == ["rng0/info", "rng0/random", "virtio-fabrics"]
    assert found["type"] == "fuse.vof"
    assert found["info"]["state"] == "ready"


def test_random_bytes(guest: Guest) -> None:
    found = guest.result("mount_random")
    assert all(found["lengths"])
    assert found["distinct"] == len(found["lengths"])
    assert found["info"]["health"] == "passed"
    assert int(found["info"]["bytes_delivered"]) >= sum(found["lengths"])


def test_rngd_feeds_the_kernel(guest: Guest) -> None:
    """The kernel, rngd and the mount agree on it, and every bit was credited."""
    found = guest.result("feed_by_rngd")
    kernel, statistics = found["kernel"], found["statistics"]
    assert kernel["times"] >= 2
    assert kernel["refused"] == 0
    assert kernel["bits"] == kernel["bytes"] * 8
    # It may feed once more between its statistics and its end.
    assert 0 < statistics["entropy added to kernel pool"] <= kernel["bits"]
    assert statistics["FIPS 140-2 successes"] >= 1
    assert found["delivered"] * 8 >= statistics["bits received from HRNG source"]
    assert found["delivered"] >= kernel["bytes"]
    assert found["health"] == "passed"


def test_fstab(guest: Guest) -> None:
    found = guest.result("mount_by_fstab")
    assert found["source"] == f"{inside.RNG},{inside.BLOCK}"
    assert found["type"] == "fuse.vof"
    assert {"rw", "allow_other"} <= set(found["options"])
    assert found["states"] == ["ready", "ready"]
    assert found["size"] == inside.IMAGE_SIZE
    assert found["read"] > 0
    assert found["processes"] == 1


def test_others_may_read_what_is_public(guest: Guest) -> None:
    found = guest.result("mount_by_fstab")
    assert found["nobody"] == "512"
    assert "Permission denied" in found["nobody_disk"]


def test_umount_leaves_nothing(guest: Guest) -> None:
    found = guest.result("unmount_by_fstab")
    assert found["seconds"] < PROMPT
    assert found["findmnt"] == ""
    assert found["entries"] == []


def test_devices_are_added(guest: Guest) -> None:
    assert guest.result("add_devices") == ["block0", "crypto0", "rng0", "virtio-fabrics"]


def test_file_system_is_in_the_image(guest: Guest) -> None:
    found = guest.result("loop_device")
    assert found["size"] == inside.IMAGE_SIZE
    assert found["image"]


def test_encryption_is_what_openssl_makes(guest: Guest) -> None:
    found = guest.result("encrypt")
    assert found["size"] == encryption.PLAIN_TEXT
    assert {"operations: 2", "failures: 0", "last_failure: none"} <= set(found["status"])


@pytest.mark.parametrize("use", ["random", "disk"])
def test_lost_target_is_an_error_soon(guest: Guest, use: str) -> None:
    found = guest.result("kill_target")[use]
    assert found["error"] == "EIO"
    assert found["seconds"] < PROMPT


def test_lost_target_leaves_the_tree(guest: Guest) -> None:
    found = guest.result("kill_target")
    assert {"block0", "crypto0", "rng0", "virtio-fabrics", "random", "disk"} <= set(found["ls"])
    assert [info["state"] for info in found["infos"]] == ["lost"] * 3
    assert all("connection lost" in info["reason"] for info in found["infos"])
    assert found["looking"] < PROMPT


def test_lost_target_ends_rngd(guest: Guest) -> None:
    """It says why, too: an error of its source is not an end of it."""
    found = guest.result("kill_target")
    assert found["rngd"] not in (0, None)
    log = (guest.folder / "rngd.log").read_text(encoding="utf-8")
    assert "error reading from entropy source" in log


def test_lost_target_can_be_unmounted(guest: Guest) -> None:
    found = guest.result("unmount_lost")
    assert found["seconds"] < PROMPT
    assert found["findmnt"] == ""


def test_nothing_was_left_mounted(guest: Guest) -> None:
    assert guest.result("clear_away") == []
