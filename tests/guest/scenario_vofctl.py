# SPDX-License-Identifier: BSD-3-Clause
"""vofctl on a machine with nbd and udev: from nothing to a mounted disk, and every way back."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.guest import nbd, remote_disk
from tests.guest.remote_disk import (
    BY_ID,
    BY_NAME,
    DEVICE,
    FOLDER,
    IMAGE,
    MOUNT,
    OTHER,
    PATIENCE,
    RNG,
    SIZE,
    TVQN,
    Target,
    done,
    left_over,
    vofctl,
)
from tests.guest.steps import EXCHANGE, Scenario, StepError, expect, patience, run, wait_until
from vof.gateways.cli.main import main

scenario = Scenario()

KEPT = "disk0.img"
"""The disk after a proper end, in the exchange folder, for another boot."""

GROWN = SIZE + (32 << 20)
"""The disk's size in the end."""

WORDS = "written before the reboot\n"


# --- what is refused before there is anything


@scenario.step()
def no_module() -> dict[str, Any]:
    """A kernel without nbd: the module cannot be loaded."""
    Path("/etc/modprobe.d/no-nbd.conf").write_text("install nbd /bin/false\n", encoding="ascii")
    outcome = vofctl("connect", TVQN)
    Path("/etc/modprobe.d/no-nbd.conf").unlink()
    return outcome.record()


@scenario.step(timeout=90)
def install() -> list[str]:
    found = remote_disk.install()
    with IMAGE.open("wb") as image:
        image.truncate(SIZE)
    return found


@scenario.step(needs=("install",), timeout=90)
def start_target() -> None:
    Target.start(scenario)


@scenario.step(needs=("install",), timeout=90)
def not_root() -> dict[str, Any]:
    """What somebody else is told."""
    words = ["setpriv", "--reuid=65534", "--clear-groups", "vofctl", "connect", TVQN]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    return {"status": ended.returncode, "errors": ended.stderr}


# --- connected


@scenario.step(needs=("start_target",), timeout=240)
def connect() -> dict[str, Any]:
    found = done("connect", "disk0", "-o", "json").record()
    found["device"] = nbd.attribute(DEVICE, "backend")
    found["links"] = {str(link): os.path.realpath(link) for link in (BY_NAME, BY_ID)}
    found["receivers"] = nbd.receivers(DEVICE)
    return found


@scenario.step(needs=("connect",), timeout=180)
def connect_again() -> dict[str, Any]:
    """The same disk, under its name and under another; another disk on the same device."""
    return {
        "name": vofctl("connect", "disk0").record(),
        "other_name": vofctl("connect", TVQN, "--name", "second").record(),
        "device": vofctl("connect", OTHER, "--device", DEVICE).record(),
        "left": left_over(),
    }


@scenario.step(needs=("connect",), timeout=90)
def processes() -> dict[str, Any]:
    """How the two processes in the path of the disk are set up."""
    found = {}
    disk = done("status", "disk0", "-o", "json").json["disks"][0]
    for name in ("supervisor", "nbdkit"):
        folder = Path("/proc") / str(disk[name])
        status = dict(
            line.split(":", 1) for line in (folder / "status").read_text("utf-8").splitlines()
        )
        flags = int((folder / "stat").read_text("utf-8").rpartition(")")[2].split()[6])
        found[name] = {
            "locked": int(status["VmLck"].split()[0]),
            "resident": int(status["VmRSS"].split()[0]),
            "size": int(status["VmSize"].split()[0]),
            "noio": bool(flags & 0x80000),  # PF_MEMALLOC_NOIO, of PR_SET_IO_FLUSHER
            "oom": (folder / "oom_score_adj").read_text("ascii").strip(),
        }
    return found


@scenario.step(needs=("connect",), timeout=180)
def mount() -> dict[str, Any]:
    """A file system on it, mounted as fstab says."""
    # All of it now: what is in flight when nbdkit dies waits until the kernel's patience ends.
    run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0", BY_NAME)
    run("mount", MOUNT)
    (MOUNT / "words").write_text(WORDS, encoding="ascii")
    run("sync", MOUNT / "words")
    return {
        "source": run("findmnt", "-n", "-o", "SOURCE", MOUNT).strip(),
        "status": done("status", "-o", "json").json,
        "list": done("list").output,
        "refused": vofctl("disconnect", "disk0").record(),
    }


@scenario.step(needs=("mount",), timeout=180)
def kill_nbdkit() -> dict[str, Any]:
    """nbdkit is killed below the mounted file system: another takes its place."""
    run("sync", "-f", MOUNT)
    before = done("status", "disk0", "-o", "json").json["disks"][0]
    os.kill(before["nbdkit"], signal.SIGKILL)
    (MOUNT / "after").write_text(WORDS, encoding="ascii")
    run("sync", MOUNT / "after")
    wait_until("all connections", lambda: nbd.receivers(DEVICE) == remote_disk.CONNECTIONS, 60)
    after = done("status", "disk0", "-o", "json").json["disks"][0]
    return {
        "restarts": after["restarts"],
        "state": after["state"],
        "another": after["nbdkit"] != before["nbdkit"],
        "fenced": "is not known" not in remote_disk.log(),
        "words": (MOUNT / "words").read_text("ascii"),
    }


@scenario.step(needs=("kill_nbdkit",), timeout=180)
def kill_supervisor() -> dict[str, Any]:
    """It is killed below the mounted file system: the next connect takes the disk over."""
    before = done("status", "disk0", "-o", "json").json["disks"][0]
    os.kill(before["supervisor"], signal.SIGKILL)
    wait_until("nbdkit to end with it", lambda: left_over()["nbdkit"] == 0)
    stale = done("list", "-o", "json").json["disks"][0]["state"]
    output = done("connect", "disk0").output
    (MOUNT / "later").write_text(WORDS, encoding="ascii")
    run("sync", MOUNT / "later")
    return {"stale": stale, "output": output, "words": (MOUNT / "words").read_text("ascii")}


@scenario.step(needs=("kill_supervisor",), timeout=180)
def grow() -> dict[str, Any]:
    """The disk grows at the target, and the file system on it here."""
    blocks = os.statvfs(MOUNT).f_blocks
    os.truncate(IMAGE, GROWN)
    sectors = Path("/sys/block") / DEVICE.name / "size"
    wait_until("the size", lambda: int(sectors.read_text("ascii")) * 512 == GROWN, 60)
    run("resize2fs", DEVICE)
    (MOUNT / "ballast").write_bytes(bytes(SIZE))
    run("sync", MOUNT / "ballast")
    (MOUNT / "ballast").unlink()
    return {
        "larger": os.statvfs(MOUNT).f_blocks > blocks,
        "size": done("status", "disk0", "-o", "json").json["disks"][0]["size"],
        "words": (MOUNT / "words").read_text("ascii"),
    }


@scenario.step(needs=("grow",), timeout=120)
def disconnect() -> dict[str, Any]:
    run("umount", MOUNT)
    found = done("disconnect", BY_ID).record()
    run("udevadm", "settle")
    return found | {"left": left_over(), "complaints": nbd.complaints()}


@scenario.step(needs=("disconnect",), timeout=60)
def keep() -> int:
    """Keep the disk for another boot."""
    run("e2fsck", "-f", "-n", IMAGE)
    shutil.copyfile(IMAGE, EXCHANGE / KEPT)
    return (EXCHANGE / KEPT).stat().st_size


# --- ends of other kinds


@scenario.step(needs=("disconnect",), timeout=180)
def killed_in_the_middle() -> dict[str, Any]:
    """vofctl is killed while it connects, as soon as there is an entry, and as soon as the kernel
    has the device."""
    found = {}
    for moment, reached in (
        ("entry", lambda: (Path("/run/vof/devices/disk0/state.json")).exists()),
        ("device", lambda: nbd.is_attached(DEVICE)),
    ):
        process = subprocess.Popen(["vofctl", "connect", "disk0"])
        wait_until(f"the {moment}", reached, 60)
        process.kill()
        process.wait()
        wait_until("all to be undone", lambda: left_over()["vofctl"] == 0, 60)
        run("udevadm", "settle")
        found[moment] = left_over()
    return found


@scenario.step(needs=("disconnect",), timeout=PATIENCE)
def slow_target() -> dict[str, Any]:
    """A target that takes connections and says nothing."""
    Target.process.send_signal(signal.SIGSTOP)
    try:
        return vofctl("connect", "disk0").record() | {"left": left_over()}
    finally:
        Target.process.send_signal(signal.SIGCONT)


@scenario.step(needs=("disconnect",), timeout=240)
def force() -> dict[str, Any]:
    """A target that is dead below a mounted file system that is being written to."""
    done("connect", "disk0")
    run("mount", MOUNT)
    writer = subprocess.Popen(
        ["dd", "if=/dev/zero", f"of={MOUNT}/ballast", "bs=64k", "oflag=direct", "count=512"],
        stderr=subprocess.PIPE,
        text=True,
    )
    ballast = MOUNT / "ballast"
    wait_until("the first writes", lambda: ballast.exists() and ballast.stat().st_size)
    Target.process.send_signal(signal.SIGSTOP)
    time.sleep(1)  # whatever is under way gets stuck
    main(["list"])  # in this process, which has then all that is slow to load
    start = time.monotonic()
    status = main(["disconnect", "disk0", "--force"])
    seconds = time.monotonic() - start
    errors = writer.communicate(timeout=patience(30))[1]
    run("umount", MOUNT)
    wait_until(f"{DEVICE} to be free", lambda: not nbd.is_attached(DEVICE))
    run("udevadm", "settle")
    Target.process.send_signal(signal.SIGCONT)
    return {"status": status, "seconds": seconds, "errors": errors, "left": left_over()}


@scenario.step(needs=("force",), timeout=180)
def connect_all() -> dict[str, Any]:
    """One target that is not there does not keep the other disk."""
    drop_in = Path("/etc/vof/vof.conf.d/dead.conf")
    drop_in.parent.mkdir()
    drop_in.write_text("[device dead]\ntvqn = a/b\ntport = 9\n", encoding="ascii")
    outcome = vofctl("connect-all")
    drop_in.unlink()
    end = done("disconnect", "--all")
    return outcome.record() | {"end": end.record(), "left": left_over()}


@scenario.step(needs=("connect_all",), timeout=180)
def no_disk() -> dict[str, Any]:
    """A device that is no disk: told apart from one, and left alone where that is said."""
    drop_in = Path("/etc/vof/vof.conf.d/rng.conf")
    drop_in.write_text(f"[device rng]\ntvqn = {RNG}\n", encoding="ascii")
    found = vofctl("connect-all").record() | {"left": left_over()["entries"]}
    done("disconnect", "--all")
    drop_in.write_text(f"[device rng]\ntvqn = {RNG}\nauto = no\n", encoding="ascii")
    left_alone = vofctl("connect-all").record()
    drop_in.unlink()
    done("disconnect", "--all")
    return found | {"left_alone": left_alone}


@scenario.step(always=True, timeout=90)
def stop() -> int:
    if Path("/run/vof").exists():
        vofctl("disconnect", "--all", "--force")
    expect(FOLDER.exists(), "nothing was installed")
    if Target.starts == 0:
        raise StepError("there was no target")
    return Target.end()


if __name__ == "__main__":
    scenario.main()
