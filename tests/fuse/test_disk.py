# SPDX-License-Identifier: BSD-3-Clause
"""``disk`` on a real mount: against a model, at its edges, and as what people do with disks."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.fuse.conftest import DISK, DISK_SIZE, READ_ONLY, MakeMount
from tests.fuse.mounting import Mount
from tests.support.loopback import Background
from tests.target.process import TargetProcess

pytestmark = pytest.mark.fuse


@pytest.fixture
def mounted(mount: MakeMount, disks: TargetProcess) -> Mount:
    return mount(DISK, READ_ONLY, tport=disks.address[1])


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The file behind the disk, at the target."""
    return tmp_path / "disk.img"


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def refused(number: int) -> AbstractContextManager[object]:
    return pytest.raises(OSError, check=lambda error: error.errno == number)


@pytest.mark.parametrize("flags", [0, os.O_DSYNC], ids=["cached", "dsync"])
def test_against_a_model(mounted: Mount, image: Path, flags: int) -> None:
    """Reads and writes at any place and of any size are those of a file."""
    rng = random.Random(flags)
    model = bytearray(DISK_SIZE)
    with opened(mounted / "disk0/disk", os.O_RDWR | flags) as fd:
        for _ in range(150):
            size = rng.choice([1, 13, 511, 512, 513, 4096, 5000, 70_000, 300_000])
            place = rng.randrange(DISK_SIZE - size)
            if rng.random() < 0.5:
                place -= place % 512
            if rng.random() < 0.6:
                data = rng.randbytes(size)
                assert os.pwrite(fd, data, place) == size
                model[place : place + size] = data
            else:
                assert os.pread(fd, size, place) == model[place : place + size]
        os.fsync(fd)
    assert (mounted / "disk0/disk").read_bytes() == model
    assert image.read_bytes() == model


def test_direct_io(mounted: Mount, image: Path) -> None:
    """O_DIRECT goes past the page cache, in both directions."""
    import mmap

    with (
        mmap.mmap(-1, 1 << 20) as memory,
        opened(mounted / "disk0/disk", os.O_RDWR | os.O_DIRECT) as fd,
    ):
        data = random.Random(5).randbytes(1 << 20)
        memory[:] = data
        assert os.pwritev(fd, [memory], 8192) == 1 << 20
        assert image.read_bytes()[8192 : 8192 + (1 << 20)] == data
        memory[:] = bytes(1 << 20)
        assert os.preadv(fd, [memory], 8192) == 1 << 20
        assert memory[:] == data


def test_the_end(mounted: Mount) -> None:
    with opened(mounted / "disk0/disk", os.O_RDWR) as fd:
        assert os.lseek(fd, 0, os.SEEK_END) == DISK_SIZE
        assert os.pread(fd, 100, DISK_SIZE) == b""
        assert os.pread(fd, 100, DISK_SIZE - 7) == bytes(7)
        assert os.pread(fd, 100, 1 << 60) == b""
        with refused(errno.ENOSPC):
            os.pwrite(fd, b"x", DISK_SIZE)
        with refused(errno.ENOSPC):
            os.pwrite(fd, b"x", 1 << 40)
        assert os.fstat(fd).st_size == DISK_SIZE


def test_the_size_is_the_devices(mounted: Mount) -> None:
    """As for a block device, O_TRUNC is no error and no change; ftruncate to anything else is."""
    disk = mounted / "disk0/disk"
    with opened(disk, os.O_RDWR | os.O_TRUNC) as fd:
        os.write(fd, b"kept")
    with opened(disk, os.O_RDWR | os.O_TRUNC) as fd:
        assert os.read(fd, 4) == b"kept"
        os.ftruncate(fd, DISK_SIZE)
        for size in (1, DISK_SIZE - 512, DISK_SIZE + 512):
            with refused(errno.EINVAL):
                os.ftruncate(fd, size)
    assert disk.stat().st_size == DISK_SIZE
    assert disk.stat().st_blocks == DISK_SIZE // 512


def test_a_read_only_device(mounted: Mount) -> None:
    disk = mounted / "ro/disk"
    assert disk.stat().st_mode & 0o777 == 0o400
    with refused(errno.EROFS):
        disk.open("r+b")
    assert disk.read_bytes() == bytes(1 << 20)


def test_a_read_only_mount(mount: MakeMount, disks: TargetProcess) -> None:
    mounted = mount(DISK, tport=disks.address[1], ro=True)
    with refused(errno.EROFS):
        (mounted / "disk0/disk").open("r+b")
    assert (mounted / "disk0/disk").read_bytes()[:1] == b"\0"


def test_two_openings_see_each_other(mounted: Mount) -> None:
    disk = mounted / "disk0/disk"
    with opened(disk, os.O_RDWR) as one, opened(disk, os.O_RDWR) as two:
        os.pwrite(one, b"hello", 1000)
        assert os.pread(two, 5, 1000) == b"hello"


def test_a_new_opening_sees_what_changed_at_the_target(mounted: Mount, image: Path) -> None:
    disk = mounted / "disk0/disk"
    with opened(disk, os.O_RDONLY) as fd:
        assert os.pread(fd, 3, 0) == bytes(3)
    with image.open("r+b") as file:
        file.write(b"new")
    with opened(disk, os.O_RDONLY) as fd:
        assert os.pread(fd, 3, 0) == b"new"


def test_readers_and_writers_side_by_side(mounted: Mount, image: Path) -> None:
    """Many threads, each with a part of the disk that is its own, whole blocks or not."""
    part, rounds = 1_000_003, 20
    disk = mounted / "disk0/disk"

    def work(number: int) -> bytes:
        rng = random.Random(number)
        model = bytearray(part)
        with opened(disk, os.O_RDWR) as fd:
            for _ in range(rounds):
                size = rng.choice([1, 500, 4096, 100_000])
                place = rng.randrange(part - size)
                data = rng.randbytes(size)
                os.pwrite(fd, data, number * part + place)
                model[place : place + size] = data
                assert os.pread(fd, size, number * part + place) == data
        return bytes(model)

    threads = [Background(work, number) for number in range(12)]
    expected = b"".join(thread.result(60.0) for thread in threads)
    assert image.read_bytes()[: len(expected)] == expected


MMAP = """
import mmap, sys
with open(sys.argv[1], "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
    assert memory[5000:5010] == b"from below"
    memory[9000:9010] = b"from above"
    memory.flush()
"""


def test_mmap(mounted: Mount, image: Path) -> None:
    with image.open("r+b") as file:
        file.seek(5000)
        file.write(b"from below")
    # In a process of its own: a page fault does not let other threads of this one run.
    subprocess.run([sys.executable, "-c", MMAP, mounted / "disk0/disk"], check=True, timeout=30)
    assert image.read_bytes()[9000:9010] == b"from above"


def test_holes(mounted: Mount, image: Path) -> None:
    """A hole reads as zeroes at once, here and at the target, where it takes no room."""
    with opened(mounted / "disk0/disk", os.O_RDWR) as fd:
        os.pwrite(fd, b"x" * (4 << 20), 0)
        full = image.stat().st_blocks
        hole = ["fallocate", "--punch-hole", "--offset", "1048576", "--length", "2097152"]
        subprocess.run([*hole, str(mounted / "disk0/disk")], check=True, timeout=30)
        assert os.pread(fd, 4 << 20, 0) == b"x" * (1 << 20) + bytes(2 << 20) + b"x" * (1 << 20)
        assert image.stat().st_blocks == full - (2 << 20) // 512
        # There is nothing to preallocate; posix_fallocate(3) makes do without.
        more = ["fallocate", "--length", "4096", str(mounted / "disk0/disk")]
        run = subprocess.run(more, capture_output=True, text=True, check=False)
        assert "Operation not supported" in run.stderr
        os.posix_fallocate(fd, 0, 4096)
        assert os.fstat(fd).st_size == DISK_SIZE


@pytest.mark.skipif(os.getuid() != 0, reason="missing: root, to attach a loop device")
def test_a_file_system_through_a_loop_device(mounted: Mount, tmp_path: Path, image: Path) -> None:
    disk, inside = mounted / "disk0/disk", tmp_path / "inside"
    inside.mkdir()
    sh = ["sh", "-e", "-c"]
    subprocess.run(["mkfs.ext4", "-q", disk], check=True, capture_output=True, timeout=60)
    try:
        subprocess.run(["mount", "-o", "loop", disk, inside], check=True, capture_output=True)
        data = random.Random(3).randbytes(3 << 20)
        (inside / "file").write_bytes(data)
        (inside / "freed").write_bytes(data)
        subprocess.run([*sh, f"sync -f {inside}"], check=True)
        before = image.stat().st_blocks
        (inside / "freed").unlink()
        subprocess.run([*sh, f"sync -f {inside}; fstrim {inside}"], check=True)
        # What was freed is given back at the target.
        assert image.stat().st_blocks <= before - (2 << 20) // 512
        subprocess.run(["umount", inside], check=True, capture_output=True)
        subprocess.run(["mount", "-o", "loop,ro", disk, inside], check=True, capture_output=True)
        assert (inside / "file").read_bytes() == data
    finally:
        subprocess.run(["umount", inside], check=False, capture_output=True)
    check = subprocess.run(["e2fsck", "-fn", image], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stdout
