# SPDX-License-Identifier: BSD-3-Clause
"""A remote disk as /dev/nbd0 of a real kernel: file systems, discards, odd sizes, a lost target.

The target, nbdkit with the plugin and the kernel's nbd all run in the one guest. What was written
to the device is looked for in the target's own images, while it runs and after it has ended: an
error that writing and reading have in common does not go unseen.
"""

import hashlib
import os
import random
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.guest import direct, nbd, tree
from tests.guest.steps import EXCHANGE, Scenario, expect, patience, run, wait_until

scenario = Scenario()

MIB = 1 << 20
CONNECTIONS = 4
PLUGIN = Path("nbdkit-plugin/vof_plugin.py")
FOLDER = Path("/run/disks")
MOUNT = Path("/run/mnt")
DEVICE = Path("/dev/nbd0")
OTHER_DEVICE = Path("/dev/nbd1")
NAMED = Path("/run/named.sock")
"""Where nbdkit serves one device, given by tvqn=."""
OPEN = Path("/run/open.sock")
"""Where nbdkit, without tvqn=, serves every device under its name."""


@dataclass(frozen=True)
class Disk:
    """A device of the target."""

    name: str
    size: int
    options: str

    @property
    def image(self) -> Path:
        return FOLDER / f"{self.name}.img"

    @property
    def tvqn(self) -> str:
        return f"virtio-target/block/{self.name}.service"

    @property
    def allocated(self) -> int:
        """Bytes that the image takes of the file system it is in."""
        return self.image.stat().st_blocks * 512


PLAIN = Disk("plain", 512 * MIB, "queues=4,serial=vof-plain")
COARSE = Disk("coarse", 384 * MIB, "queues=2,serial=vof-coarse,block_size=4096")
"""nbd-client makes it a device of 512-byte sectors all the same: small writes are for us to fit."""
SEALED = Disk("sealed", 16 * MIB, "queues=2,serial=vof-sealed,readonly=yes")
DISKS = (PLAIN, COARSE, SEALED)


# --- the services


class Target:
    """vof-target, started as often as a step needs it. One at a time."""

    process: subprocess.Popen[bytes] | None = None
    starts = 0

    @classmethod
    def start(cls) -> None:
        """Return when it is ready."""
        log = EXCHANGE / "vof-target.log"
        cls.process = scenario.start("vof-target", "vof-target", FOLDER / "target.conf")
        cls.starts += 1
        ready = "vof-target: listening on 127.0.0.1:15771 (tcp), 127.0.0.1:8549 (tcp)\n"
        wait_until("the target", lambda: log.read_text("utf-8").count(ready) == cls.starts, 40)

    @classmethod
    def end(cls, number: signal.Signals) -> int:
        """Send the signal; the exit status."""
        assert cls.process is not None
        cls.process.send_signal(number)
        return cls.process.wait(patience(30))


@scenario.step()
def load_modules() -> None:
    run("modprobe", "nbd", "nbds_max=2")
    run("modprobe", "loop")
    wait_until(f"{OTHER_DEVICE}", OTHER_DEVICE.is_block_device)


@scenario.step()
def start_target() -> None:
    FOLDER.mkdir()
    MOUNT.mkdir()
    config = "[target]\nthreads = 2\n"
    for disk in DISKS:
        with disk.image.open("wb") as image:
            image.truncate(disk.size)
        config += f"\n[{disk.name}]\ntvqn = {disk.tvqn}\nmodel = block\n"
        config += f"backend = driver=block-posix,path={disk.image},{disk.options}\n"
    with SEALED.image.open("r+b") as image:
        image.write(random.Random("sealed").randbytes(MIB))
    (FOLDER / "target.conf").write_text(config, encoding="utf-8")
    Target.start()


@scenario.step(needs=("start_target",), timeout=90)
def start_nbdkit() -> None:
    for socket, parameters in ((NAMED, (f"tvqn={PLAIN.tvqn}",)), (OPEN, ())):
        serve = ("nbdkit", "-f", "--unix", socket, "python", PLUGIN)
        scenario.start(f"nbdkit-{socket.stem}", *serve, *parameters)
    for socket in (NAMED, OPEN):
        wait_until(f"{socket}", socket.exists, 40)


@scenario.step(timeout=120)
def stage_tree() -> dict[str, Any]:
    return {"files": tree.stage(), "digest": tree.summary(tree.wanted)}


# --- the kernel's devices


def attach(disk: Disk, device: Path = DEVICE) -> int:
    """Attach the disk, by its export name unless it is PLAIN; the attempts it took."""
    socket, name = (NAMED, ()) if disk is PLAIN else (OPEN, ("-N", disk.tvqn))
    return nbd.attach(device, socket, *name, connections=CONNECTIONS)


def mount(source: Path | str, *options: str) -> None:
    run("mount", *options, source, MOUNT)


def unmount() -> None:
    run("umount", MOUNT)


def clean_up(device: Path = DEVICE) -> None:
    """Detach whatever state earlier steps have left."""
    if MOUNT.is_mount():
        unmount()
    if nbd.is_attached(device):
        nbd.detach(device)


def file_system(make: str, check: str) -> dict[str, Any]:
    """Make one on the device as it stands, copy the tree, check, and look with cold caches."""
    run(make, DEVICE)
    mount(DEVICE)
    synced = tree.copy(MOUNT / "tree")
    unmount()
    run(*check.split(), DEVICE)
    mount(DEVICE)
    digest = tree.compare(MOUNT / "tree")
    unmount()
    return {"synced": synced, "digest": digest}


# --- what the kernel sees


@scenario.step(needs=("load_modules", "start_nbdkit"))
def attach_plain() -> int:
    return attach(PLAIN)


def identify(device: Path) -> dict[str, Any]:
    limits = ("rotational", "fua", "discard_max_bytes", "logical_block_size", "max_sectors_kb")
    return {
        "size": int(nbd.attribute(device, "size")) * 512,
        "ro": int(nbd.attribute(device, "ro")),
        "write_cache": nbd.attribute(device, "queue/write_cache"),
        "hardware_queues": len(list(Path("/sys/block", device.name, "mq").iterdir())),
        **{name: int(nbd.attribute(device, f"queue/{name}")) for name in limits},
    }


@scenario.step(needs=("attach_plain",))
def identify_plain() -> dict[str, Any]:
    return identify(DEVICE)


# --- past the caches of the kernel


@scenario.step(needs=("attach_plain",), timeout=120)
def odd_sizes_plain() -> int:
    return direct.odd_sizes(DEVICE, PLAIN.image)


@scenario.step(needs=("attach_plain",), timeout=90)
def neighbours_plain() -> None:
    direct.neighbours(DEVICE, PLAIN.image)


@scenario.step(needs=("odd_sizes_plain",))
def discard() -> dict[str, int]:
    """What the image takes: all written, after a part was discarded, after everything was."""
    before = PLAIN.allocated
    with PLAIN.image.open("rb") as image:
        start = image.read(3 * MIB)
    run("blkdiscard", "--offset", str(MIB), "--length", str(MIB), DEVICE)
    part = PLAIN.allocated
    with PLAIN.image.open("rb") as image:
        found = image.read(3 * MIB)
    expect(found == start[:MIB] + bytes(MIB) + start[2 * MIB :], "more or less than asked for")
    run("blkdiscard", DEVICE)
    return {"before": before, "part": part, "after": PLAIN.allocated}


# --- file systems


@scenario.step(needs=("attach_plain", "stage_tree"), timeout=180)
def ext4() -> dict[str, Any]:
    return file_system("mkfs.ext4", "e2fsck -f -n")


@scenario.step(needs=("ext4",), timeout=120)
def fstrim_ext4() -> dict[str, int]:
    """What the image takes with 16 MiB more in it, when they are deleted, and when trimmed."""
    mount(DEVICE)
    ballast = MOUNT / "ballast"
    ballast.write_bytes(os.urandom(16 * MIB))
    os.sync()
    full = PLAIN.allocated
    ballast.unlink()
    os.sync()
    deleted = PLAIN.allocated
    run("fstrim", "--verbose", MOUNT)
    trimmed = PLAIN.allocated
    tree.compare(MOUNT / "tree")
    unmount()
    run("e2fsck", "-f", "-n", DEVICE)
    return {"full": full, "deleted": deleted, "trimmed": trimmed}


@scenario.step(needs=("attach_plain", "start_nbdkit"))
def read_only() -> dict[str, Any]:
    """A read-only device beside the other one: what it says, and what becomes of writes."""
    before = hashlib.sha256(SEALED.image.read_bytes()).hexdigest()
    attach(SEALED, OTHER_DEVICE)
    found = identify(OTHER_DEVICE)
    found["same"] = hashlib.sha256(OTHER_DEVICE.read_bytes()).hexdigest() == before
    found["dd"] = run(
        *("dd", "if=/dev/zero", f"of={OTHER_DEVICE}", "bs=4096", "count=1"),
        *("oflag=direct", "conv=notrunc"),
        check=False,
    )
    found["blkdiscard"] = run("blkdiscard", OTHER_DEVICE, check=False)
    nbd.detach(OTHER_DEVICE)
    found["unchanged"] = hashlib.sha256(SEALED.image.read_bytes()).hexdigest() == before
    return found


@scenario.step(needs=("read_only",), always=True)
def detach_plain() -> None:
    clean_up(OTHER_DEVICE)
    clean_up()


@scenario.step(needs=("detach_plain", "start_nbdkit"))
def attach_coarse() -> int:
    return attach(COARSE)


@scenario.step(needs=("attach_coarse",))
def identify_coarse() -> dict[str, Any]:
    return identify(DEVICE)


@scenario.step(needs=("attach_coarse",), timeout=120)
def odd_sizes_coarse() -> int:
    return direct.odd_sizes(DEVICE, COARSE.image)


@scenario.step(needs=("attach_coarse",), timeout=90)
def neighbours_coarse() -> None:
    direct.neighbours(DEVICE, COARSE.image)


@scenario.step(needs=("attach_coarse", "stage_tree"), timeout=180)
def xfs() -> dict[str, Any]:
    run("blkdiscard", DEVICE)
    return file_system("mkfs.xfs", "xfs_repair -n")


@scenario.step(always=True)
def detach_coarse() -> None:
    clean_up()


# --- afterwards


@scenario.step(needs=("start_target", "detach_coarse"))
def kernel_is_content() -> list[str]:
    """What the kernel has said while nothing was wrong."""
    return nbd.complaints()


@scenario.step(needs=("start_target",))
def stop_target() -> int:
    return Target.end(signal.SIGTERM)


def look_into(image: Path, check: list[str | Path], options: str) -> str:
    """Check a file system in the image itself; the summary of the tree in it."""
    run(*check, image)
    loop = run("losetup", "--find", "--show", "--read-only", image).strip()
    try:
        mount(loop, "-o", options)
        try:
            return tree.compare(MOUNT / "tree")
        finally:
            unmount()
    finally:
        run("losetup", "--detach", loop)


@scenario.step(needs=("ext4", "detach_plain", "stop_target"), timeout=90)
def image_ext4() -> str:
    return look_into(PLAIN.image, ["e2fsck", "-f", "-n"], "ro,noload")


@scenario.step(needs=("xfs", "detach_coarse", "stop_target"), timeout=90)
def image_xfs() -> str:
    return look_into(COARSE.image, ["xfs_repair", "-n", "-f"], "ro,norecovery")


# --- a target that dies


@scenario.step(needs=("stop_target", "start_nbdkit"), timeout=90)
def restart_target() -> int:
    """The same target, images and port again, for the same nbdkit; what a read then gives."""
    Target.start()
    attach(COARSE)
    with DEVICE.open("rb", buffering=0) as device, COARSE.image.open("rb") as image:
        found = device.read(65536)
        expect(found == image.read(65536), "not what the image has")
    return len(found)


def kill_during(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Kill the target while the process writes; what became of the process, and how soon."""

    before = nbd.written(DEVICE)
    wait_until("the first writes", lambda: nbd.written(DEVICE) > before + MIB)
    expect(process.poll() is None, "it has written everything already")
    expect(Target.end(signal.SIGKILL) == -signal.SIGKILL, "the target ended otherwise")
    start = time.monotonic()
    output, _ = process.communicate(timeout=patience(60))
    seconds = time.monotonic() - start
    return {"status": process.returncode, "output": output, "seconds": round(seconds, 3)}


def start_writer(*argv: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@scenario.step(needs=("restart_target",), timeout=120)
def kill_target() -> dict[str, Any]:
    """Kill it while dd writes on the device itself."""
    writer = start_writer(
        *("dd", "if=/dev/zero", f"of={DEVICE}", "bs=64k", "oflag=direct", "conv=notrunc")
    )
    found = kill_during(writer)
    reader = ("dd", f"if={DEVICE}", "of=/dev/null", "bs=64k", "count=1", "iflag=direct")
    found["later"] = run(*reader, check=False)
    nbd.detach(DEVICE)
    found["stuck"] = stuck()
    return found


def stuck() -> list[str]:
    """Processes that cannot be interrupted, kernel threads aside, even after a moment."""

    def waiting() -> dict[str, str]:
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                state = (folder / "stat").read_text("utf-8").rpartition(")")[2].split()[0]
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if state == "D" and command:
                found[folder.name] = command
        return found

    first = waiting()
    time.sleep(1)
    return [command for number, command in waiting().items() if number in first]


@scenario.step(needs=("kill_target", "image_ext4"), timeout=180)
def kill_under_file_system() -> dict[str, Any]:
    """Kill the target below a mounted file system, serve again, and look what is left."""
    Target.start()
    attach(PLAIN)
    mount(DEVICE)
    writer = start_writer(
        *("dd", "if=/dev/zero", f"of={MOUNT}/ballast", "bs=64k", "oflag=direct", "count=4096")
    )
    found = kill_during(writer)
    unmount()
    nbd.detach(DEVICE)
    found["stuck"] = stuck()
    Target.start()
    attach(PLAIN)
    mount(DEVICE)  # which makes good by the journal
    found["digest"] = tree.compare(MOUNT / "tree")
    unmount()
    run("e2fsck", "-f", "-n", DEVICE)
    return found


@scenario.step(always=True)
def detach_everything() -> int | None:
    clean_up()
    if Target.process is None or Target.process.poll() is not None:
        return None
    return Target.end(signal.SIGTERM)


if __name__ == "__main__":
    scenario.main()
