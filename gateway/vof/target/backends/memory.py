# SPDX-License-Identifier: BSD-3-Clause
"""``driver=block-memory``: a disk that lives in the target's memory and is gone with it.

Memory is taken as it is written; what was discarded is given back. There is no medium behind it, so
a write is as persistent as it ever gets, and a flush has nothing to do.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from vof.errors import ConfigError
from vof.target.backends.block_interface import BlockBackend, NativeLimits
from vof.target.values import MAX_SIZE, Values, size_within
from vof.wire.blk import Lifetime

if TYPE_CHECKING:
    from vof.target import native

_PAGE = mmap.PAGESIZE
_ZEROS = bytes(1 << 16)
_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)  # in Python's mmap only from 3.12 on


class MemoryBackend(BlockBackend):
    """Anonymous memory. Private, because only that can be given back page by page."""

    can_discard = True
    can_secure_erase = True

    def __init__(self, length: int) -> None:
        self.size = length
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE
        self._map = mmap.mmap(-1, length, flags=flags)
        self._view = memoryview(self._map)

    def read(self, buffer: memoryview, offset: int) -> None:
        buffer[:] = self._view[offset : offset + len(buffer)]

    def write(self, data: memoryview, offset: int, *, persist: bool) -> None:
        self._view[offset : offset + len(data)] = data

    def flush(self) -> None:
        """Nothing to do: there is no medium behind the memory."""

    def discard(self, offset: int, length: int) -> None:
        self.write_zeroes(offset, length, unmap=True)

    def write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        end = offset + length
        first, last = -(-offset // _PAGE) * _PAGE, end // _PAGE * _PAGE
        if not unmap or first >= last:
            self._zero(offset, end)
            return
        self._zero(offset, first)
        self._map.madvise(mmap.MADV_DONTNEED, first, last - first)
        self._zero(last, end)

    def secure_erase(self, offset: int, length: int) -> None:
        # Overwritten first: pages that are only given back keep their bytes until someone else gets
        # them.
        self._zero(offset, offset + length)
        self.write_zeroes(offset, length, unmap=True)

    def lifetime(self) -> Lifetime:
        return Lifetime(0, 0, 0)

    def open_native(self, limits: NativeLimits) -> native.Device | None:
        from vof.target import native  # noqa: PLC0415 - it may not be built

        return native.Device.on_memory(
            self._view,
            readonly=limits.readonly,
            capacity=limits.capacity,
            max_discard_sectors=limits.max_discard_sectors,
            max_write_zeroes_sectors=limits.max_write_zeroes_sectors,
            max_segments=limits.max_segments,
        )

    def close(self) -> None:
        self._view.release()
        self._map.close()

    def _zero(self, start: int, end: int) -> None:
        while start < end:
            count = min(end - start, len(_ZEROS))
            self._view[start : start + count] = _ZEROS[:count]
            start += count


@dataclass(frozen=True)
class MemoryOptions:
    """Keys of ``driver=block-memory``."""

    length: int

    @classmethod
    def take(cls, values: Values) -> Self:
        """Take the backend's keys."""
        return cls(length=values.take("size", size_within(1, MAX_SIZE)))

    def open(self) -> BlockBackend:
        try:
            return MemoryBackend(self.length)
        except OSError as error:
            raise ConfigError(
                f"cannot get size={self.length} bytes of memory: {error.strerror}; set fewer"
            ) from None
