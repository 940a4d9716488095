# SPDX-License-Identifier: BSD-3-Clause
"""A virtio-blk as the file ``disk``: a regular file of the device's size.

Requests wait in worker threads, for ``Disk`` and the block driver are made for threads. Owns what
regular files do and disks do not: the end of the file, openings for writing, O_SYNC, holes.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Sequence

import trio

from vof.drivers.block import WANTED, BlockDriver
from vof.drivers.block_geometry import read_block_config
from vof.gateways.disk import Disk
from vof.gateways.fuse.contents import Contents, Facts
from vof.gateways.fuse.nodes import Access, File, Handle, Opening
from vof.gateways.sessions.log import log_resized
from vof.initiator.session import Session
from vof.wire.blk import FIELDS_BY_FEATURE, Feature
from vof.wire.layout import valid_fields

MAX_THREADS = 16
"""Requests of one disk that are worked on at once."""

MAX_ZEROED = 256 << 20
"""Bytes that are zeroed between looks whether the caller is still interested."""

KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 0x01, 0x02, 0x10
"""Modes of fallocate(2)."""


def open_block(session: Session) -> Contents:
    """Return what a virtio-blk shows."""
    driver = BlockDriver.attach(session)
    try:
        config = _config_facts(session, driver.features)
    except BaseException:
        session.close()
        raise

    def facts() -> Facts:
        yield "size", disk.size
        yield "read_only", "yes" if driver.read_only else "no"
        yield from config

    disk = Disk(driver)
    driver.on_resize = functools.partial(log_resized, session.tvqn)
    return Contents(
        children={"disk": DiskFile(disk)},
        facts=facts,
    )


def _config_facts(session: Session, features: Feature) -> Sequence[tuple[str, object]]:
    """Return the fields of the config space that the features make valid."""
    config = read_block_config(session, features)
    return [
        (f"config.{name}", getattr(config, name))
        for name in valid_fields(FIELDS_BY_FEATURE, features & WANTED)
    ]


class DiskFile(File):
    """The device's bytes. The kernel caches them, so that loop devices and mmap(2) work."""

    cached = True

    def __init__(self, disk: Disk) -> None:
        super().__init__()
        self.access = Access.READ if disk.driver.read_only else Access.BOTH
        self._disk = disk
        self._threads = trio.CapacityLimiter(MAX_THREADS)

    @property
    def size(self) -> int:
        return self._disk.size

    def check(self, opening: Opening) -> None:
        if opening.write and not self.access & 0o200:
            raise OSError(errno.EROFS, "the device is read-only")

    async def open(self, opening: Opening) -> Handle:
        return _DiskHandle(self._disk, self._threads, opening)


class _DiskHandle(Handle):
    def __init__(self, disk: Disk, threads: trio.CapacityLimiter, opening: Opening) -> None:
        self._disk = disk
        self._threads = threads
        self._synchronous = opening.synchronous

    async def read(self, offset: int, size: int) -> bytes:
        size = max(0, min(size, self._disk.size - offset))
        return await trio.to_thread.run_sync(self._read, offset, size, limiter=self._threads)

    async def write(self, offset: int, data: bytes) -> int:
        room = self._disk.size - offset
        if room <= 0 and data:
            raise OSError(errno.ENOSPC, "beyond the end of the device")
        part = memoryview(data)[:room]
        await trio.to_thread.run_sync(self._write, offset, part, limiter=self._threads)
        return len(part)

    async def allocate(self, mode: int, offset: int, length: int) -> None:
        """Zero a range: PUNCH_HOLE may deallocate it at the target, ZERO_RANGE must not. As for a
        block device; and both read as zeroes afterwards, which a discard (virtio 1.2 §5.2.6.2) does
        not promise.
        """
        unmap = mode == PUNCH_HOLE | KEEP_SIZE
        if not (unmap or mode | KEEP_SIZE == ZERO_RANGE | KEEP_SIZE):
            raise OSError(errno.EOPNOTSUPP, "a device has its size, and all of it")
        if not self._disk.driver.features & Feature.WRITE_ZEROES:
            raise OSError(errno.EOPNOTSUPP, "the device does not offer WRITE_ZEROES")
        if offset + length > self._disk.size:
            if not mode & KEEP_SIZE:
                raise OSError(errno.EINVAL, "the size cannot be changed")
            length = max(0, self._disk.size - offset)
        for place in range(offset, offset + length, MAX_ZEROED):
            count = min(MAX_ZEROED, offset + length - place)
            await trio.to_thread.run_sync(self._zero, place, count, unmap, limiter=self._threads)

    async def fsync(self) -> None:
        await trio.to_thread.run_sync(self._disk.flush, limiter=self._threads)

    def _read(self, offset: int, size: int) -> bytes:
        data = bytearray(size)
        if size:
            self._disk.read(offset, memoryview(data))
        return bytes(data)

    def _zero(self, offset: int, length: int, unmap: bool) -> None:
        self._disk.write_zeroes(offset, length, unmap=unmap)
        if self._synchronous:
            self._disk.flush()

    def _write(self, offset: int, data: memoryview) -> None:
        if data:
            self._disk.write(offset, data)
            if self._synchronous:
                self._disk.flush()
