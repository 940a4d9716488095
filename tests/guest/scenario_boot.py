# SPDX-License-Identifier: BSD-3-Clause
"""That the guest itself is fit for use: its kernel, its files, and nbd without any of our code.

If the real scenarios fail and this one passes, the fault is ours.
"""

import hashlib
import os
import platform
import socket
from pathlib import Path

from tests.guest import nbd
from tests.guest.steps import Scenario, StepError, expect, run, wait_until

scenario = Scenario()

DEVICE = Path("/dev/nbd0")
MOUNT = Path("/run/mnt")
FOOTPRINT = Path("/var/opt/vof-guest-was-here")
PROBE = """\
import sys, vof

API_VERSION = 2
def open(readonly): return 1
def get_size(handle): return 512
def pread(handle, buf, offset, flags): pass
def dump_plugin(): print(f"vof={vof.__file__}")
"""


@scenario.step()
def kernel() -> dict[str, object]:
    uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    return {"release": platform.release(), "uptime": uptime, "uid": os.getuid()}


@scenario.step()
def loopback() -> None:
    run("ip", "-brief", "address", "show", "lo")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as near, listener.accept()[0] as far:
            near.sendall(b"ping")
            expect(far.recv(4) == b"ping", "nothing came through")


@scenario.step()
def scratch() -> None:
    """Write where a scenario may write; none of it must be seen outside."""
    FOOTPRINT.write_text("x", encoding="ascii")
    for folder in ("/tmp", "/run", "/dev/shm", "/etc", "/var/tmp", os.environ["HOME"]):
        Path(folder, "vof-scratch").write_text("x", encoding="ascii")


@scenario.step()
def plugin_environment() -> str:
    """Where nbdkit's own Python finds our package."""
    probe = Path("/run/probe.py")
    probe.write_text(PROBE, encoding="ascii")
    run("nbdkit", "--unix", "-", "python", probe, "--run", "nbdinfo --size $uri")
    return run("nbdkit", "--dump-plugin", "python", probe)


@scenario.step()
def load_nbd() -> None:
    run("modprobe", "nbd", "nbds_max=2")
    wait_until(f"{DEVICE}", DEVICE.is_block_device)


def attach(size: str) -> int:
    """Serve memory, attach it with two connections; the size the kernel sees."""
    server = Path(f"/run/memory-{size}.sock")
    scenario.start(f"nbdkit-{size}", "nbdkit", "-f", "--unix", server, "memory", size)
    wait_until(f"{server}", server.exists)
    nbd.attach(DEVICE, server, connections=2)
    return 512 * int(nbd.attribute(DEVICE, "size"))


def detach() -> None:
    run("umount", MOUNT, check=False)
    nbd.detach(DEVICE)


def file_system(make: str, check: list[str]) -> str:
    """Make, fill, look again with cold caches, trim, check; how much fstrim gave back."""
    MOUNT.mkdir(exist_ok=True)
    run(make, DEVICE)
    run("mount", DEVICE, MOUNT)
    content = os.urandom(1 << 20)
    for number in range(8):
        (MOUNT / f"file{number}").write_bytes(content)
    run("umount", MOUNT)
    run("mount", DEVICE, MOUNT)
    for number in range(8):
        copy = (MOUNT / f"file{number}").read_bytes()
        if hashlib.sha256(copy).digest() != hashlib.sha256(content).digest():
            raise StepError(f"file{number} is not what was written")
    trimmed = run("fstrim", "--verbose", MOUNT)
    run("umount", MOUNT)
    run(*check, DEVICE)
    return trimmed


@scenario.step(needs=("load_nbd",))
def attach_small() -> int:
    return attach("64M")


@scenario.step(needs=("attach_small",))
def discard() -> None:
    with DEVICE.open("r+b", buffering=0) as disk:
        disk.write(b"x" * 65536)
        os.fsync(disk.fileno())
    run("blkdiscard", DEVICE)
    with DEVICE.open("rb", buffering=0) as disk:
        expect(disk.read(65536) == bytes(65536), "discarded blocks still read as written")


@scenario.step(needs=("attach_small",), timeout=90)
def ext4() -> str:
    return file_system("mkfs.ext4", ["e2fsck", "-f", "-n"])


@scenario.step(needs=("attach_small",), always=True)
def detach_small() -> None:
    detach()


@scenario.step(needs=("detach_small",))
def attach_large() -> int:
    return attach("512M")


@scenario.step(needs=("attach_large",), timeout=120)
def xfs() -> str:
    return file_system("mkfs.xfs", ["xfs_repair", "-n"])


@scenario.step(needs=("attach_large",), always=True)
def detach_large() -> None:
    detach()


if __name__ == "__main__":
    scenario.main()
