# SPDX-License-Identifier: BSD-3-Clause
"""``driver=block-posix``: a file or a block device.

The length may change under the target: ``measure`` finds out, and until then a file that was cut
short gives I/O errors beyond its new end. An advisory lock (flock, shared where read-only) keeps
two targets from writing one image. What cannot be written is served only where ``readonly`` says
so: a driver would learn it from failed writes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from vof.errors import ConfigError
from vof.target.backends.block_interface import BlockBackend, NativeLimits
from vof.target.backends.direct import DirectFile, read_all, write_all
from vof.target.backends.fallocate import punch_hole, zero_range
from vof.target.backends.named_file import changed, is_readonly
from vof.target.values import Values, not_empty, one_of

if TYPE_CHECKING:
    from vof.target import native

WRITEBACK, WRITETHROUGH, DIRECTSYNC = "writeback", "writethrough", "directsync"

_ZEROS = memoryview(bytes(1 << 20))
# A block device says EINVAL where the range is not a multiple of its own block.
_CANNOT = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class PosixBackend(BlockBackend):
    """An open file or block device."""

    def __init__(self, options: PosixOptions, fd: int, direct: DirectFile | None) -> None:
        """``fd`` and ``direct`` belong to this object from now on."""
        self._options = options
        self._fd = fd
        self._direct = direct
        self._readonly = options.readonly
        self._closed = False
        self.size = self.measure()
        self.write_through = options.cache != WRITEBACK
        self.can_discard = not options.readonly and self._probe_discard()
        self._can_zero_range = True

    def claim(self) -> None:
        operation = fcntl.LOCK_SH if self._readonly else fcntl.LOCK_EX
        try:
            fcntl.flock(self._fd, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{self._options.path} is locked by another target or another section; "
                "serve it once, or everywhere with readonly=yes"
            ) from None
        except OSError as error:
            # Some network file systems have no locks at all: no reason not to serve.
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                path = self._options.path
                raise ConfigError(f"cannot lock {path}: {error.strerror}") from None

    def outdated(self) -> str:
        return changed(self._options.path, self._fd, self._options.open_file)

    def measure(self) -> int:
        # Of a block device too, whose stat has no size. Nothing else uses the file's position.
        return os.lseek(self._fd, 0, os.SEEK_END)

    def read(self, buffer: memoryview, offset: int) -> None:
        if self._direct:
            self._direct.read(buffer, offset)
        else:
            read_all(self._fd, buffer, offset)

    def write(self, data: memoryview, offset: int, *, persist: bool) -> None:
        if self._direct:
            self._direct.write(data, offset)
        else:
            write_all(self._fd, data, offset, persist=persist or self.write_through)

    def flush(self) -> None:
        if not self._readonly:
            os.fdatasync(self._fd)

    def discard(self, offset: int, length: int) -> None:
        try:
            punch_hole(self._fd, offset, length)
        except OSError as error:
            # A hint that cannot be followed is not an error.
            if error.errno not in _CANNOT:
                raise

    def write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        if unmap and self.can_discard:
            try:
                punch_hole(self._fd, offset, length)
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
            else:
                return
        if self._can_zero_range:
            try:
                zero_range(self._fd, offset, length)
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
                # EINVAL may be about this range only; the other two are about the file.
                self._can_zero_range = error.errno == errno.EINVAL
            else:
                return
        end = offset + length
        while offset < end:
            part = _ZEROS[: min(len(_ZEROS), end - offset)]
            self.write(part, offset, persist=False)
            offset += len(part)

    def open_native(self, limits: NativeLimits) -> native.Device | None:
        if self._direct:
            return None
        from vof.target import native  # noqa: PLC0415 - it may not be built

        return native.Device.on_file(
            self._fd,
            readonly=limits.readonly,
            write_through=self.write_through,
            can_discard=self.can_discard,
            capacity=limits.capacity,
            max_discard_sectors=limits.max_discard_sectors,
            max_write_zeroes_sectors=limits.max_write_zeroes_sectors,
            max_segments=limits.max_segments,
        )

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            if self._direct:
                self._direct.close()
            os.close(self._fd)

    def _probe_discard(self) -> bool:
        # Beyond the end there is nothing to lose: every file system that knows the mode has nothing
        # to do there, and a block device answers EINVAL.
        try:
            punch_hole(self._fd, -(-self.size // 4096) * 4096, 4096)
        except OSError as error:
            return error.errno == errno.EINVAL
        return True


@dataclass(frozen=True)
class PosixOptions:
    """Keys of ``driver=block-posix``."""

    path: str
    readonly: bool = False
    cache: str = WRITEBACK

    @classmethod
    def take(cls, values: Values, *, readonly: bool) -> Self:
        """Take the backend's keys."""
        return cls(
            path=values.take("path", not_empty),
            readonly=readonly,
            cache=values.take("cache", one_of((WRITEBACK, WRITETHROUGH, DIRECTSYNC)), WRITEBACK),
        )

    def open(self) -> BlockBackend:
        fd = self.open_file()
        direct = None
        try:
            if self.cache == DIRECTSYNC:
                direct = self._open_direct(fd)
            return PosixBackend(self, fd, direct)
        except BaseException:
            if direct:
                direct.close()
            os.close(fd)
            raise

    def open_file(self) -> int:
        """Return a descriptor of the file, through the page cache. Raises ConfigError where it
        cannot be served."""
        # Without O_NONBLOCK the open of a named pipe would wait for its other end.
        fd = self._open(self._flags | os.O_NONBLOCK)
        mode = os.fstat(fd).st_mode
        reason = ""
        if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
            reason = "is neither a file nor a block device"
        elif not self.readonly and is_readonly(fd):
            # Not every driver refuses to open it for writing.
            reason = "is a block device that is read-only; readonly=yes would serve it"
        if reason:
            os.close(fd)
            raise ConfigError(f"{self.path} {reason}")
        return fd

    @property
    def _flags(self) -> int:
        return os.O_CLOEXEC | (os.O_RDONLY if self.readonly else os.O_RDWR)

    def _open(self, flags: int) -> int:
        try:
            return os.open(self.path, flags)
        except ValueError as error:  # a NUL in the path
            raise ConfigError(f"cannot open {self.path!r}: {error}") from None
        except OSError as error:
            advice = ""
            if not self.readonly and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                advice = "; readonly=yes would serve it read-only"
            reason = f"cannot open {self.path}: {error.strerror}{advice}"
            raise ConfigError(reason) from None

    def _open_direct(self, buffered: int) -> DirectFile:
        reason = "has no direct I/O; use cache=writethrough"
        try:
            # The same file, whatever its path leads to by now.
            fd = os.open(f"/proc/self/fd/{buffered}", self._flags | os.O_DIRECT)
        except OSError as error:
            raise ConfigError(f"{self.path} {reason} ({error.strerror})") from None
        try:
            return DirectFile(fd, buffered)
        except OSError as error:
            os.close(fd)
            raise ConfigError(f"{self.path} {reason} ({error.strerror})") from None
