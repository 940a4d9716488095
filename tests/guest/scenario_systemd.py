# SPDX-License-Identifier: BSD-3-Clause
"""Our units under systemd, on a machine that is set up as docs/operating.md says, until it is
rebooted with a remote disk mounted. `scenario_systemd_boot` is what comes then."""

import os
import signal
import time
from typing import Any

from tests.guest import nbd, remote_disk, units
from tests.guest.remote_disk import BY_ID, BY_NAME, DEVICE, MOUNT, PATIENCE, done
from tests.guest.steps import Scenario, run, wait_until
from tests.guest.units import (
    DISK,
    FILE_SYSTEM,
    FILES,
    RANDOM,
    TARGET,
    WORDS,
    properties,
    systemctl,
)

scenario = Scenario()


def active(unit: str) -> bool:
    return properties(unit)["ActiveState"] == "active"


# --- started


@scenario.step(timeout=PATIENCE)
def target() -> dict[str, Any]:
    systemctl("enable", "--now", TARGET)
    found: dict[str, Any] = properties(TARGET, "StatusText")
    return found | units.look_at_target()


@scenario.step(needs=("target",), timeout=PATIENCE)
def disk() -> dict[str, Any]:
    systemctl("enable", "--now", DISK)
    found: dict[str, Any] = properties(DISK, "StatusText")
    found["links"] = [os.path.realpath(link) for link in (BY_NAME, BY_ID)]
    found["status"] = done("status", "disk0", "-o", "json").json
    return found


@scenario.step(needs=("target",), timeout=PATIENCE)
def files() -> dict[str, Any]:
    systemctl("enable", "--now", FILES)
    with RANDOM.open("rb") as random:
        found: dict[str, Any] = {"read": random.read(4).decode("latin-1")}
    return found | properties(FILES, "StatusText")


@scenario.step(needs=("disk",), timeout=180)
def mount() -> dict[str, Any]:
    """A file system on it, by fstab."""
    # All of it now: what is in flight when nbdkit dies waits until the kernel's patience ends.
    run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0", BY_NAME)
    run("udevadm", "settle")
    systemctl("start", FILE_SYSTEM)
    (MOUNT / "words").write_text(WORDS, encoding="ascii")
    return {"source": run("findmnt", "-n", "-o", "SOURCE", MOUNT).strip()} | properties(FILE_SYSTEM)


# --- killed


@scenario.step(needs=("mount",), timeout=180)
def kill_nbdkit() -> dict[str, Any]:
    """The supervisor starts another, within the unit's limits."""
    unit = properties(DISK)
    run("sync", "-f", MOUNT)
    before = done("status", "disk0", "-o", "json").json["disks"][0]
    os.kill(before["nbdkit"], signal.SIGKILL)
    (MOUNT / "after").write_text(WORDS, encoding="ascii")
    run("sync", MOUNT / "after")
    wait_until("all connections", lambda: nbd.receivers(DEVICE) == remote_disk.CONNECTIONS, 60)
    after = done("status", "disk0", "-o", "json").json["disks"][0]
    return {"restarts": after["restarts"], "before": unit, "unit": properties(DISK)}


@scenario.step(needs=("kill_nbdkit",), timeout=240)
def kill_supervisor() -> dict[str, Any]:
    """systemd starts another, which takes the disk over below the mounted file system."""
    restarts = int(properties(DISK)["NRestarts"]) + 1
    run("sync", "-f", MOUNT)
    systemctl("kill", "--kill-whom=main", "--signal=KILL", DISK)
    wait_until("a restart", lambda: int(properties(DISK)["NRestarts"]) == restarts, 60)
    wait_until("the disk", lambda: active(DISK), PATIENCE)
    (MOUNT / "later").write_text(WORDS, encoding="ascii")
    run("sync", MOUNT / "later")
    return {
        "disk": properties(DISK),
        "file system": properties(FILE_SYSTEM),
        "order": units.order(),
    }


@scenario.step(needs=("files",), timeout=180)
def kill_mount() -> dict[str, Any]:
    """What a killed vof-mount leaves at its mountpoint does not keep the next one."""
    systemctl("kill", "--kill-whom=main", "--signal=KILL", FILES)
    wait_until("a restart", lambda: int(properties(FILES)["NRestarts"]) == 1, 60)
    wait_until("the files", lambda: active(FILES), PATIENCE)
    with RANDOM.open("rb") as random:
        found: dict[str, Any] = {"read": random.read(4).decode("latin-1")}
    return found | properties(FILES)


# --- stopped


@scenario.step(needs=("kill_supervisor",), timeout=180)
def stop() -> dict[str, Any]:
    """The disk is stopped while it is mounted: the file system goes first, by itself."""
    start = time.monotonic()
    systemctl("stop", DISK)
    seconds = time.monotonic() - start
    run("udevadm", "settle")
    return {
        "seconds": seconds,
        "order": units.order(),
        "disk": properties(DISK),
        "file system": properties(FILE_SYSTEM),
        "left": remote_disk.left_over(),
    }


@scenario.step(needs=("stop", "kill_mount"), timeout=120)
def stop_files() -> dict[str, Any]:
    systemctl("stop", FILES)
    return {"mounted": os.path.ismount(units.FOLDER)} | properties(FILES)


@scenario.step(needs=("stop_files",), timeout=180)
def kill_target() -> dict[str, Any]:
    """While nobody needs it: its end is the end of every session."""
    systemctl("kill", "--kill-whom=main", "--signal=KILL", TARGET)
    wait_until("a restart", lambda: int(properties(TARGET)["NRestarts"]) == 1, 60)
    wait_until("the target", lambda: active(TARGET), PATIENCE)
    return properties(TARGET)


@scenario.step(needs=("kill_target",), timeout=240)
def start_again() -> dict[str, Any]:
    """Starting the mount is enough: it requires its disk."""
    systemctl("start", FILE_SYSTEM, FILES)
    return {"disk": properties(DISK), "names": sorted(path.name for path in MOUNT.iterdir())}


if __name__ == "__main__":
    scenario.main()
