# SPDX-License-Identifier: BSD-3-Clause
"""The file and block device backend, on real files, a real full disk and a real block device."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vof.errors import ConfigError
from vof.target.backends import fallocate
from vof.target.backends.block_interface import BlockBackend
from vof.target.backends.direct import SharedLock
from vof.target.backends.posix import PosixBackend, PosixOptions

SIZE = 1 << 20
CACHES = ["writeback", "writethrough", "directsync"]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(b"\xaa" * SIZE)
    return path


Open = Callable[..., PosixBackend]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Open backends that are closed at the end."""
    backends: list[BlockBackend] = []

    def start(path: Path, **keys: object) -> PosixBackend:
        backend = PosixOptions(str(path), **keys).open()  # type: ignore[arg-type]
        assert isinstance(backend, PosixBackend)
        backends.append(backend)
        return backend

    yield start
    for backend in backends:
        backend.close()
        backend.close()  # idempotent


def read(backend: BlockBackend, offset: int, size: int) -> bytes:
    buffer = bytearray(b"\xcc" * size)
    backend.read(memoryview(buffer), offset)
    return bytes(buffer)


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("persist", [False, True])
def test_what_is_written_is_read(image: Path, opened: Open, cache: str, persist: bool) -> None:
    backend = opened(image, cache=cache)
    assert (backend.size, backend.write_through) == (SIZE, cache != "writeback")
    expected = bytearray(b"\xaa" * SIZE)
    chance = random.Random(1)
    for _ in range(50):
        offset = chance.randrange(SIZE // 512 - 300) * 512
        # From bytes objects: their address is aligned to nothing.
        data = chance.randbytes(chance.randrange(1, 300) * 512)
        backend.write(memoryview(data), offset, persist=persist)
        expected[offset : offset + len(data)] = data
        assert read(backend, offset, len(data)) == data
    backend.flush()
    assert image.read_bytes() == expected


@pytest.mark.parametrize("cache", CACHES)
def test_requests_larger_than_a_bounce_buffer(tmp_path: Path, opened: Open, cache: str) -> None:
    path = tmp_path / "disk.img"
    path.touch()
    os.truncate(path, 8 << 20)
    backend = opened(path, cache=cache)
    data = random.Random(3).randbytes(3 * (1 << 20) + 512)
    backend.write(memoryview(data), 512, persist=True)
    assert read(backend, 512, len(data)) == data


def test_a_direct_unit_larger_than_a_sector(image: Path, opened: Open) -> None:
    """As on disks with 4 KiB sectors: requests in between go round, and are not lost."""
    backend = opened(image, cache="directsync")
    assert backend._direct is not None
    backend._direct.unit = 4096
    expected = bytearray(b"\xaa" * SIZE)
    chance = random.Random(2)
    for _ in range(100):
        offset = chance.randrange(64) * 512
        data = chance.randbytes(chance.randrange(1, 24) * 512)
        backend.write(memoryview(data), offset, persist=True)
        expected[offset : offset + len(data)] = data
        assert read(backend, offset, len(data)) == data
    assert image.read_bytes() == expected


def test_neighbours_in_one_unit_do_not_overwrite_each_other(image: Path, opened: Open) -> None:
    backend = opened(image, cache="directsync")
    assert backend._direct is not None
    backend._direct.unit = 4096

    def write(sector: int) -> None:
        for turn in range(20):
            backend.write(memoryview(bytes([sector * 20 + turn]) * 512), sector * 512, persist=True)

    threads = [threading.Thread(target=write, args=(sector,)) for sector in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    data = image.read_bytes()
    assert [data[512 * sector] for sector in range(8)] == [sector * 20 + 19 for sector in range(8)]


def test_shared_lock() -> None:
    lock = SharedLock()
    entered = threading.Event()
    with lock.shared(), lock.shared():
        other = threading.Thread(target=lambda: enter_alone(lock, entered))
        other.start()
        assert not entered.is_set()
    other.join()
    assert entered.is_set()
    with lock.alone():
        entered.clear()
        other = threading.Thread(target=lambda: enter_alone(lock, entered))
        other.start()
        assert not entered.is_set()
    other.join()
    assert entered.is_set()


def enter_alone(lock: SharedLock, entered: threading.Event) -> None:
    with lock.alone():
        entered.set()


@pytest.mark.parametrize("unmap", [False, True])
@pytest.mark.parametrize("cache", CACHES)
def test_write_zeroes(image: Path, opened: Open, unmap: bool, cache: str) -> None:
    backend = opened(image, cache=cache)
    before = image.stat().st_blocks
    backend.write_zeroes(8192, 131072, unmap=unmap)
    backend.flush()
    data = image.read_bytes()
    assert data == b"\xaa" * 8192 + bytes(131072) + b"\xaa" * (SIZE - 8192 - 131072)
    freed = before - image.stat().st_blocks
    assert (freed >= 200) == (unmap and backend.can_discard)


def test_discard_gives_space_back(image: Path, opened: Open) -> None:
    backend = opened(image)
    assert backend.can_discard
    before = image.stat().st_blocks
    backend.discard(0, SIZE)
    assert image.stat().st_blocks < before // 2
    assert image.stat().st_size == SIZE


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_without_fallocate(
    image: Path, opened: Open, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Zeros are written one by one; a discard is a hint that is not followed."""

    def refuse(fd: int, mode: int, offset: int, length: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fallocate, "_fallocate", refuse)
    backend = opened(image)
    assert backend.can_discard == (number == errno.EINVAL)
    for unmap in (False, True):
        backend.write(memoryview(b"\xaa" * SIZE), 0, persist=False)
        backend.write_zeroes(512, SIZE - 1024, unmap=unmap)
        assert image.read_bytes() == b"\xaa" * 512 + bytes(SIZE - 1024) + b"\xaa" * 512
    backend.discard(0, 512)
    assert image.read_bytes()[:512] == b"\xaa" * 512


def test_other_errors_of_fallocate_are_errors(
    image: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = opened(image)

    def fail(fd: int, mode: int, offset: int, length: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fallocate, "_fallocate", fail)
    with pytest.raises(OSError, match="broken"):
        backend.discard(0, 512)
    for unmap in (False, True):
        with pytest.raises(OSError, match="broken"):
            backend.write_zeroes(0, 512, unmap=unmap)


@pytest.mark.parametrize("cache", ["writeback", "writethrough"])
def test_a_full_disk(small_disk: Path, opened: Open, cache: str) -> None:
    path = small_disk / "disk.img"
    path.touch()
    os.truncate(path, 4 << 20)
    backend = opened(path, cache=cache)
    with pytest.raises(OSError, match="No space left") as caught:
        backend.write(memoryview(b"x" * (2 << 20)), 0, persist=False)
    assert caught.value.errno == errno.ENOSPC
    # tmpfs cannot reserve zeros: they are written, and there is no room for them either.
    with pytest.raises(OSError, match="No space left"):
        backend.write_zeroes(2 << 20, 1 << 20, unmap=False)
    # What a hole gives back can be written again.
    backend.discard(0, 4 << 20)
    backend.write(memoryview(b"y" * 4096), 0, persist=True)
    assert read(backend, 0, 4096) == b"y" * 4096
    assert path.stat().st_size == 4 << 20


@pytest.mark.parametrize("cache", CACHES)
def test_a_file_cut_short_is_an_error_and_not_zeros(image: Path, opened: Open, cache: str) -> None:
    backend = opened(image, cache=cache)
    os.truncate(image, 8192)
    assert read(backend, 4096, 4096) == b"\xaa" * 4096
    for offset, size in ((4096, 8192), (8192, 512), (SIZE - 512, 512)):
        with pytest.raises(OSError, match="shorter than it was"):
            read(backend, offset, size)


@pytest.mark.parametrize("cache", CACHES)
def test_a_block_device(block_device: Path, opened: Open, cache: str) -> None:
    backend = opened(block_device, cache=cache)
    assert backend.size == 8 << 20
    data = random.Random(4).randbytes(65536)
    backend.write(memoryview(data), 512, persist=True)
    assert read(backend, 512, len(data)) == data
    backend.write_zeroes(512, 512, unmap=False)
    backend.write_zeroes(1024, 512, unmap=True)
    assert read(backend, 512, 1536) == bytes(1024) + data[1024:1536]
    assert backend.can_discard
    backend.discard(0, 65536)
    backend.flush()


@pytest.mark.parametrize("cache", CACHES)
def test_the_size_of_a_file_may_change(image: Path, opened: Open, cache: str) -> None:
    backend = opened(image, cache=cache)
    size = backend.size
    assert backend.measure() == size
    for now in (2 * size, 0, size + 1):
        os.truncate(image, now)
        assert backend.measure() == now
    os.truncate(image, 2 * size)
    backend.write(memoryview(b"n" * 4096), 2 * size - 4096, persist=False)
    assert read(backend, 2 * size - 4096, 4096) == b"n" * 4096


def test_the_size_of_a_block_device_may_change(block_device: Path, opened: Open) -> None:
    backend = opened(block_device)
    os.truncate(block_device_image(block_device), 16 << 20)
    assert backend.measure() == 8 << 20
    subprocess.run(["losetup", "--set-capacity", block_device], check=True)
    assert backend.measure() == 16 << 20


def block_device_image(device: Path) -> str:
    command = ["losetup", "--noheadings", "--output", "BACK-FILE", str(device)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return found.stdout.strip()


def test_readonly(image: Path, opened: Open) -> None:
    image.chmod(0o444)
    backend = opened(image, readonly=True)
    assert read(backend, 0, 512) == b"\xaa" * 512
    assert not backend.can_discard
    backend.flush()
    with pytest.raises(OSError, match="Bad file descriptor"):
        backend.write(memoryview(bytes(512)), 0, persist=False)


def test_whether_the_path_leads_to_another_file(image: Path, opened: Open) -> None:
    backend = opened(image)
    link = image.with_name("link")
    link.hardlink_to(image)
    assert backend.outdated() == ""
    image.write_bytes(b"other bytes, the same file")
    assert backend.outdated() == ""
    image.unlink()
    with pytest.raises(ConfigError, match=r"No such file or directory$"):
        backend.outdated()
    image.write_bytes(b"x" * SIZE)
    assert backend.outdated() == f"{image} was replaced by another file"
    link.unlink()
    assert f"and the old one has no name any more but /proc/{os.getpid()}/fd/" in backend.outdated()
    image.unlink()
    image.mkdir()
    with pytest.raises(ConfigError, match="Is a directory, and the old one has no name"):
        backend.outdated()


def test_whether_the_path_leads_to_another_disk(
    block_device: Path, image: Path, opened: Open
) -> None:
    link = image.with_name("link")
    link.symlink_to(block_device)
    backend = opened(link)
    assert backend.outdated() == ""
    link.unlink()
    link.symlink_to(image)
    assert backend.outdated() == f"{link} was replaced by another file"


@pytest.mark.parametrize("cache", CACHES)
def test_a_block_device_that_is_read_only(block_device: Path, opened: Open, cache: str) -> None:
    backend = opened(block_device, cache=cache)
    match = f"{block_device} is a block device that is read-only; readonly=yes would serve it"
    subprocess.run(["blockdev", "--setro", block_device], check=True)
    try:
        with pytest.raises(ConfigError, match=match):
            PosixOptions(str(block_device), cache=cache).open()
        with pytest.raises(ConfigError, match=match):
            backend.outdated()
        with pytest.raises(OSError, match="not permitted"):
            backend.write(memoryview(bytes(512)), 0, persist=False)
        assert opened(block_device, cache=cache, readonly=True).outdated() == ""
    finally:
        subprocess.run(["blockdev", "--setrw", block_device], check=True)


def test_a_file_system_that_becomes_read_only(small_disk: Path, opened: Open) -> None:
    path = small_disk / "disk.img"
    path.write_bytes(bytes(4096))
    backend = opened(path)
    backend.close()  # or it could not be mounted read-only
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(ConfigError, match="Read-only file system; readonly=yes would serve it"):
        PosixOptions(str(path)).open()
    assert read(opened(path, readonly=True), 0, 4096) == bytes(4096)


def test_locks(image: Path, opened: Open) -> None:
    one, two = opened(image), opened(image)
    one.claim()
    with pytest.raises(ConfigError, match="is locked by another target or another section"):
        two.claim()
    one.close()
    two.claim()
    with pytest.raises(ConfigError, match="serve it once, or everywhere with readonly=yes"):
        opened(image, readonly=True).claim()


def test_readers_share(image: Path, opened: Open) -> None:
    for _ in range(3):
        opened(image, readonly=True).claim()
    with pytest.raises(ConfigError, match="is locked"):
        opened(image).claim()


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, words in (
        (tmp_path / "gone", "No such file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "pipe", "neither a file nor a block device"),
        (Path("/dev/null"), "neither a file nor a block device"),
        (Path("/a\0b"), "cannot open"),
    ):
        with pytest.raises(ConfigError, match=words):
            PosixOptions(str(path)).open()


def test_a_file_that_may_only_be_read(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write everything; the refusal that others get is made here."""

    def refuse(path: str, flags: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ConfigError, match="Permission denied; readonly=yes would serve it"):
        PosixOptions(str(image)).open()


def test_no_direct_io() -> None:
    path = Path("/sys/kernel/notes")
    with pytest.raises(ConfigError, match="has no direct I/O; use cache=writethrough"):
        PosixOptions(str(path), readonly=True, cache="directsync").open()


def test_nothing_stays_open_after_a_failure(tmp_path: Path) -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    os.mkfifo(tmp_path / "pipe")
    before = count()
    for path in (str(tmp_path), str(tmp_path / "pipe"), "/dev/null"):
        with pytest.raises(ConfigError):
            PosixOptions(path).open()
    with pytest.raises(ConfigError):
        PosixOptions("/sys/kernel/notes", readonly=True, cache="directsync").open()
    assert count() == before
