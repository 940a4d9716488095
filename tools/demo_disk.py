# SPDX-License-Identifier: BSD-3-Clause
"""The main job, shown: a file system with real files on a disk that lives behind Virtio-oF.

Starts a target with a sparse disk and nbdkit with the plugin, and attaches the export: as /dev/nbd0
where the kernel has nbd, else by nbdfuse and a loop device. It takes away again all that it makes,
in reverse order, whatever happens.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from demo_dialects import show_dialects
from demo_files import show_files
from demo_stage import (
    START_TIMEOUT,
    DemoError,
    console,
    mounted,
    run,
    service,
    show,
    step,
    succeeds,
    wait_for,
)
from vof.program import held

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = ROOT / "nbdkit-plugin" / "vof_plugin.py"
TVQN = "virtio-target/block/demo0.service"
DISK_SIZE = 1 << 30
MIN_FILES = 1000
MAX_BYTES = DISK_SIZE // 2
TREES = ("/usr/share/doc", "/usr/lib/python3", "/usr/lib/python3.11", "/usr/share", "/usr/lib")

CONFIG = """\
[target]
transport = tcp
address = 127.0.0.1
port = 0

[demo0]
tvqn = {tvqn}
model = block
backend = driver=block-posix,path={image},queues=4,serial=vof-demo

[block0]
tvqn = virtio-target/block/block0.service
model = block
backend = driver=block-memory,size=64M

[rng0]
tvqn = virtio-target/rng/rng0.service
model = rng
backend = driver=rng-random

[crypto0]
tvqn = virtio-target/crypto/crypto0.service
model = crypto
backend = driver=crypto-openssl
"""


@contextlib.contextmanager
def target(work: Path) -> Iterator[int]:
    """Serve a sparse disk; yields the port."""
    image = work / "disk.img"
    with image.open("wb") as file:
        file.truncate(DISK_SIZE)
    config, log = work / "target.conf", work / "target.log"
    config.write_text(CONFIG.format(tvqn=TVQN, image=image))
    with service("vof-target", str(config), log=log) as process:
        show(["vof-target", str(config)])
        deadline = time.monotonic() + START_TIMEOUT
        while not (ready := re.search(r"listening on \S+:(\d+)", log.read_text())):
            if process.poll() is not None or time.monotonic() > deadline:
                raise DemoError(f"vof-target did not start:\n{log.read_text().strip()}")
            time.sleep(0.02)
        show([], f"{ready.string.strip()}\n{image}: {DISK_SIZE >> 20} MiB, sparse")
        yield int(ready[1])


def plugin(tvqn: str) -> tuple[str, ...]:
    """Return nbdkit's arguments for a device: the plugin behind its filter."""
    fast_path = run("vofctl", "filter", "path", quiet=True).strip()
    return f"--filter={fast_path}", "python", str(PLUGIN), f"tvqn={tvqn}"


@contextlib.contextmanager
def nbdkit(work: Path, port: int) -> Iterator[Path]:
    """Serve the remote disk as NBD; yields the unix socket."""
    socket, pidfile, log = work / "nbd.sock", work / "nbdkit.pid", work / "nbdkit.log"
    export = [*plugin(TVQN), f"tport={port}"]
    command = ["nbdkit", "-f", "-P", str(pidfile), "-U", str(socket), *export]
    with service(*command, log=log) as process:
        show(["nbdkit", "-U", str(socket), *export])
        wait_for("nbdkit", pidfile, process, log)
        yield socket


@contextlib.contextmanager
def kernel_nbd(socket: Path) -> Iterator[str]:
    """Attach the export as /dev/nbd0; yields that name."""
    device = "/dev/nbd0"
    detach = ("nbd-client", "-d", device)
    try:
        run("nbd-client", "-unix", str(socket), device, "-C", "4")
        yield device
    except BaseException:
        succeeds(*detach)
        raise
    run(*detach, quiet=True)


@contextlib.contextmanager
def fuse_loop(work: Path, socket: Path) -> Iterator[str]:
    """Attach the export as a file by nbdfuse and a loop device over it; yields the device."""
    folder, pidfile, log = work / "fuse", work / "nbdfuse.pid", work / "nbdfuse.log"
    folder.mkdir()
    disk = folder / "disk"
    command = ["nbdfuse", "-P", str(pidfile), str(disk), f"nbd+unix:///?socket={socket}"]
    with service(*command, log=log) as process, contextlib.ExitStack() as undo:
        undo.callback(process.wait)
        undo.callback(succeeds, "fusermount3", "-u", "-z", str(folder))
        wait_for("nbdfuse", pidfile, process, log)
        show(command)
        with held():
            device = run("losetup", "--find", "--show", str(disk), quiet=True).strip()
            undo.callback(succeeds, "losetup", "--detach", device)
        show(["losetup", "--find", "--show", str(disk)], device)
        yield device


def kernel_has_nbd() -> bool:
    if not Path("/dev/nbd0").exists():
        succeeds("modprobe", "nbd")
    return Path("/dev/nbd0").exists() and shutil.which("nbd-client") is not None


def pick_tree(given: Path | None) -> tuple[Path, list[Path], int]:
    """Return a tree worth copying, or the given one, its regular files and their bytes."""
    trees = [given] if given else [Path(name) for name in TREES]
    at_least = 1 if given else MIN_FILES
    for tree in trees:
        files = [path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()]
        size = sum(path.stat().st_size for path in files)
        if len(files) >= at_least and size <= MAX_BYTES:
            return tree, files, size
    raise DemoError(f"{', '.join(map(str, trees))}: fewer than {at_least} files that fit the disk")


def progress() -> Progress:
    return Progress(
        TextColumn("    {task.description}"),
        BarColumn(bar_width=40),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=console,
    )


def copy(tree: Path, files: list[Path], size: int, folder: Path) -> None:
    with progress() as bar:
        task = bar.add_task(f"copying {len(files)} files", total=size)
        for path in files:
            goal = folder / path.relative_to(tree)
            goal.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, goal)
            bar.advance(task, path.stat().st_size)


def digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def compare(tree: Path, files: list[Path], size: int, folder: Path) -> None:
    copied = [path for path in folder.rglob("*") if path.is_file()]
    if len(copied) != len(files):
        raise DemoError(f"{len(copied)} files on the remote disk, {len(files)} in {tree}")
    with progress() as bar:
        task = bar.add_task(f"comparing {len(files)} files", total=size)
        for path in files:
            if digest(path) != digest(folder / path.relative_to(tree)):
                raise DemoError(f"{path} differs on the remote disk")
            bar.advance(task, path.stat().st_size)


def demonstrate(work: Path, given: Path | None) -> None:
    step("A target serves devices over Virtio-oF, a disk among them")
    with target(work) as port:
        step("nbdkit with the vof plugin presents it as NBD")
        with nbdkit(work, port) as socket:
            uri = f"nbd+unix:///?socket={socket}"
            show(["nbdinfo", uri], run("nbdinfo", uri, quiet=True))
            use(work, socket, given)
        blocks = (work / "disk.img").stat().st_blocks
        console.print(f"\n  The target's image now holds {blocks >> 11} MiB of data.")
        show_files(work, port)
        show_dialects(work, port, plugin("virtio-target/block/block0.service"))


def use(work: Path, socket: Path, given: Path | None) -> None:
    if kernel_has_nbd():
        step("This kernel has nbd: attached as /dev/nbd0")
        attach = kernel_nbd(socket)
    else:
        step("This kernel has no nbd: attached by nbdfuse and a loop device")
        attach = fuse_loop(work, socket)
    folder = work / "mnt"
    folder.mkdir()
    with attach as device:
        step("An ext4 file system is made on it, and a real tree copied in")
        run("mkfs.ext4", "-q", device)
        tree, files, size = pick_tree(given)
        with mounted(device, folder):
            show(["cp", "-r", str(tree), str(folder)])
            copy(tree, files, size, folder)
            os.sync()
        step("Unmounted, checked, mounted again: every file against its source")
        show([], run("e2fsck", "-f", "-n", device).splitlines()[-1])
        with mounted(device, folder, "-o", "ro"):
            compare(tree, files, size, folder)
    console.print(f"  [green]All {len(files)} files ({size >> 20} MiB) are identical.[/]")
