# SPDX-License-Identifier: BSD-3-Clause
"""vofctl in a real kernel with udev: see `scenario_vofctl`. The reboot after it is in
`test_guest_systemd`."""

from typing import Any

import pytest

from tests.guest import remote_disk
from tests.guest import scenario_vofctl as inside
from tests.guest.harness import Guest

pytestmark = pytest.mark.guest

NOTHING = {"entries": [], "attached": False, "links": [], "nbdkit": 0, "vofctl": 0}
DEVICE = str(remote_disk.DEVICE)


@pytest.fixture(scope="module")
def guest(vofctl_guest: Guest) -> Guest:
    return vofctl_guest


@pytest.mark.parametrize("step", inside.scenario.names)
def test_step_passes(guest: Guest, step: str) -> None:
    guest.result(step)


def test_connect_waits_for_device_and_links(guest: Guest) -> None:
    found = guest.result("connect")
    assert found["device"] == "vof:disk0:vof_disk-0"
    assert set(found["links"].values()) == {DEVICE}
    assert found["receivers"] == remote_disk.CONNECTIONS


def refused(found: dict[str, Any], status: int, *words: str) -> None:
    assert found["status"] == status
    assert all(word in found["errors"] for word in words), found["errors"]
    assert len(found["errors"].splitlines()) == 1


def test_no_nbd_in_the_kernel(guest: Guest) -> None:
    refused(guest.result("no_module"), 1, "modprobe nbd", "linux-image-amd64", "vof-mount")


def test_no_privilege(guest: Guest) -> None:
    refused(guest.result("not_root"), 7, "it takes root")


def test_a_second_connect_is_refused(guest: Guest) -> None:
    found = guest.result("connect_again")
    for name in ("name", "other_name"):
        refused(found[name], 5, "is connected already, as disk0 (/dev/nbd0)")
    refused(found["device"], 5, "/dev/nbd0: it is in use")
    assert found["left"]["entries"] == ["disk0"]


def test_processes_in_the_path_of_the_disk(guest: Guest) -> None:
    for found in guest.result("processes").values():
        assert found["noio"]
        assert found["oom"] == "-1000"
        assert found["locked"] > 0.9 * found["resident"]


def test_a_file_system_by_its_link_in_fstab(guest: Guest) -> None:
    found = guest.result("mount")
    assert found["source"] == DEVICE
    [disk] = found["status"]["disks"]
    assert disk["uses"] == [f"mounted on {remote_disk.MOUNT}"]
    assert disk["links"] == [str(remote_disk.BY_NAME), str(remote_disk.BY_ID)]
    origins = {each["key"]: each["origin"] for each in disk["settings"]}
    assert origins["tvqn"] == "/etc/vof/vof.conf:6"
    assert origins["timeout"] == "/etc/vof/vof.conf:2"
    assert origins["ivqn"].startswith("/etc/vof/initiator-name")
    assert "disk0  connected  /dev/nbd0" in found["list"]
    refused(found["refused"], 5, f"mounted on {remote_disk.MOUNT}", "--force")


def test_a_file_system_outlives_nbdkit(guest: Guest) -> None:
    found = guest.result("kill_nbdkit")
    assert found.pop("words") == inside.WORDS
    assert found == {"restarts": 1, "state": "connected", "another": True, "fenced": True}


def test_a_file_system_outlives_the_supervisor(guest: Guest) -> None:
    found = guest.result("kill_supervisor")
    assert found == {"stale": "stale", "output": f"{DEVICE}\n", "words": inside.WORDS}


def test_a_mounted_disk_grows(guest: Guest) -> None:
    found = guest.result("grow")
    assert found["larger"]
    assert found["size"] == inside.GROWN
    assert found["words"] == inside.WORDS


def test_disconnect_leaves_nothing(guest: Guest) -> None:
    assert guest.result("disconnect")["left"] == NOTHING


@pytest.mark.parametrize("moment", ["entry", "device"])
def test_a_killed_vofctl_leaves_nothing(guest: Guest, moment: str) -> None:
    assert guest.result("killed_in_the_middle")[moment] == NOTHING


def test_a_target_that_says_nothing(guest: Guest) -> None:
    found = guest.result("slow_target")
    refused(found, 4, "127.0.0.1:15771")
    assert found["left"] == NOTHING


def test_force_does_not_wait_for_a_dead_target(guest: Guest) -> None:
    """Five seconds from the request, which a program under emulation is slow to come to."""
    found = guest.result("force")
    assert found["status"] == 0
    assert found["seconds"] < 5
    assert "Input/output error" in found["errors"]
    assert found["left"] == NOTHING


def test_a_dead_target_does_not_keep_the_others(guest: Guest) -> None:
    found = guest.result("connect_all")
    assert found["status"] == 4
    assert found["output"] == f"{DEVICE} disk0\n"
    assert found["errors"].startswith("vofctl: dead: ")
    assert found["left"] == NOTHING


def test_a_device_that_is_no_disk(guest: Guest) -> None:
    found = guest.result("no_disk")
    assert found["status"] == 2
    assert found["output"] == f"{DEVICE} disk0\n"
    assert found["errors"].startswith(f"vofctl: rng: '{remote_disk.RNG}' is a virtio-rng, not a ")
    assert "auto=no in [device rng]" in found["errors"]
    assert found["left"] == ["disk0"]
    left_alone = found["left_alone"]
    assert (left_alone["status"], left_alone["errors"]) == (0, "")
    assert left_alone["output"] == f"{DEVICE} disk0\n"


def test_guest_shuts_down(guest: Guest) -> None:
    assert guest.status == 0
