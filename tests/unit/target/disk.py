# SPDX-License-Identifier: BSD-3-Clause
"""A backend that notes what it is asked to do, and fails where a test says so."""

from __future__ import annotations

import errno
import os

from vof.target.backends.block_interface import BlockBackend
from vof.wire.blk import Lifetime


class NotingBackend(BlockBackend):
    """Bytes in memory. ``calls`` has what was asked; ``failing`` is the errno of every call from
    now on.
    """

    can_discard = True
    can_secure_erase = True

    def __init__(self, size: int = 1 << 16, *, write_through: bool = False) -> None:
        self.size = size
        self.write_through = write_through
        self.data = bytearray(b"\xaa" * size)
        self.calls: list[tuple[object, ...]] = []
        self.failing = 0
        self.closed = False

    def claim(self) -> None:
        self._note("claim")

    def read(self, buffer: memoryview, offset: int) -> None:
        # Part of it has arrived when the disk fails.
        buffer[: len(buffer) // 2] = self.data[offset : offset + len(buffer) // 2]
        self._note("read", offset, len(buffer))
        buffer[:] = self.data[offset : offset + len(buffer)]

    def write(self, data: memoryview, offset: int, *, persist: bool) -> None:
        self._note("write", offset, len(data), persist)
        self.data[offset : offset + len(data)] = data

    def flush(self) -> None:
        self._note("flush")

    def discard(self, offset: int, length: int) -> None:
        self._note("discard", offset, length)

    def write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        self._note("write_zeroes", offset, length, unmap)
        self.data[offset : offset + length] = bytes(length)

    def secure_erase(self, offset: int, length: int) -> None:
        self._note("secure_erase", offset, length)

    def lifetime(self) -> Lifetime:
        return Lifetime(1, 2, 3)

    def close(self) -> None:
        self.closed = True

    def _note(self, *call: object) -> None:
        self.calls.append(call)
        if self.failing:
            raise OSError(self.failing, os.strerror(self.failing))


EIO = errno.EIO
