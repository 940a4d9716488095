# SPDX-License-Identifier: BSD-3-Clause
"""Direct I/O (O_DIRECT) on a file or block device, for ``cache=directsync``.

Direct I/O wants offsets, lengths and addresses aligned; a peer's requests come in units of 512
bytes and from any address. Owns the aligned bounce buffers (one a thread) and the way round for
requests that the medium's unit does not divide. Must not know who is served.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_BOUNCE = 1 << 20
_BLKSSZGET = 0x1268
CUT_SHORT = "the file is shorter than it was"


class SharedLock:
    """A lock that many may share or one may have alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sharing = 0
        self._alone = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the lock together with others."""
        with self._changed:
            while self._alone:
                self._changed.wait()
            self._sharing += 1
        try:
            yield
        finally:
            with self._changed:
                self._sharing -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the lock with nobody else."""
        with self._changed:
            while self._alone or self._sharing:
                self._changed.wait()
            self._alone = True
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()


class DirectFile:
    """Reads and writes past the page cache; every write is on the medium when it returns.

    ``buffered`` is an open descriptor of the same file, for requests that are not aligned. Such a
    write reads and rewrites the rest of its unit, so it runs alone: a direct write of that rest
    must not fall in between.
    """

    def __init__(self, fd: int, buffered: int) -> None:
        """``fd``, opened with O_DIRECT, belongs to this object from now on. Raises OSError."""
        self._fd = fd
        self._buffered = buffered
        self._lock = SharedLock()
        self._local = threading.local()
        self.unit = self._find_unit()

    def read(self, buffer: memoryview, offset: int) -> None:
        """Fill ``buffer`` or raise OSError."""
        if self._aligned(offset, len(buffer)):
            bounce = self._bounce()
            for start in range(0, len(buffer), _BOUNCE):
                part = bounce[: min(_BOUNCE, len(buffer) - start)]
                read_all(self._fd, part, offset + start)
                buffer[start : start + len(part)] = part
        else:
            read_all(self._buffered, buffer, offset)

    def write(self, data: memoryview, offset: int) -> None:
        """Write all of ``data`` to the medium or raise OSError."""
        if self._aligned(offset, len(data)):
            bounce = self._bounce()
            with self._lock.shared():
                for start in range(0, len(data), _BOUNCE):
                    part = bounce[: min(_BOUNCE, len(data) - start)]
                    part[:] = data[start : start + len(part)]
                    write_all(self._fd, part, offset + start, persist=True)
        else:
            with self._lock.alone():
                write_all(self._buffered, data, offset, persist=True)

    def close(self) -> None:
        """Close the direct descriptor."""
        os.close(self._fd)

    def _aligned(self, offset: int, length: int) -> bool:
        return not (offset | length) & (self.unit - 1)

    def _bounce(self) -> memoryview:
        try:
            buffer: memoryview = self._local.buffer
        except AttributeError:
            buffer = self._local.buffer = memoryview(mmap.mmap(-1, _BOUNCE))
        return buffer

    def _find_unit(self) -> int:
        if stat.S_ISBLK(os.fstat(self._fd).st_mode):
            answer = fcntl.ioctl(self._fd, _BLKSSZGET, bytes(4))
            return int(struct.unpack("i", answer)[0])
        for unit in (512, 1024, 2048, 4096):
            try:
                os.preadv(self._fd, [self._bounce()[:unit]], 0)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
            else:
                return unit
        raise OSError(errno.EINVAL, "direct I/O works in none of the usual units here")


def read_all(fd: int, buffer: memoryview, offset: int) -> None:
    """Fill ``buffer`` from ``offset``. A file that ends inside it is an I/O error, never silent
    zeros.
    """
    while buffer:
        count = os.preadv(fd, [buffer], offset)
        if not count:
            raise OSError(errno.EIO, CUT_SHORT)
        buffer = buffer[count:]
        offset += count


def write_all(fd: int, data: memoryview, offset: int, *, persist: bool) -> None:
    """Write all of ``data``, with ``persist`` to the medium."""
    flags = os.RWF_DSYNC if persist else 0
    while data:
        try:
            count = os.pwritev(fd, [data], offset, flags)
        except OSError as error:
            if not flags or error.errno != errno.EOPNOTSUPP:
                raise
            count = os.pwrite(fd, data, offset)
            os.fdatasync(fd)
        if not count:
            raise OSError(errno.EIO, "a write made no progress")
        data = data[count:]
        offset += count
