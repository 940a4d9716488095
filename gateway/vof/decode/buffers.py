# SPDX-License-Identifier: BSD-3-Clause
"""Buffers that descriptors name, one behind the other, and what was seen moving through them.

The device-readable bytes of a keyed command, its device-writable ones, and the eager buffers of a
virtqueue (*v5*) are such areas. Owns the way from an address and a key to an offset. Must not know
connections or commands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from vof.decode.descriptors import Descriptor, total
from vof.decode.message import Bytes

MAX_KNOWN = 64 << 20
"""Bytes of an area of which anything is known; what is behind them counts as missing."""

PAGE = 4096
"""Bytes that are kept together."""

HEAD = 16 * PAGE
"""Bytes at the beginning of a command's area that are kept. Headers and keys are within them; a
status is in the last page."""


class Place(NamedTuple):
    """The beginning of an operation by key, in an area."""

    descriptor: int
    """Index of the descriptor in the area."""
    offset: int
    room: int
    """Bytes of the buffer from there on."""


class Area:
    """The buffers of these descriptors."""

    def __init__(self, descriptors: Sequence[Descriptor] = (), *, whole: bool = False) -> None:
        """All of their content is kept if ``whole``, or else what tells of a request."""
        self.descriptors = descriptors
        self.size = total(descriptors)
        self.known = 0
        """The end of what is known, or was."""
        self._whole = whole
        # By number: a page's content, and behind it a byte for each, 1 where it is known. What a
        # file claims to be far away must not cost what lies before it.
        self._pages: dict[int, bytearray] = {}

    def find(self, addr: int, key: int) -> Place | None:
        """Return the place of an address; None if it is in none of the buffers."""
        start = 0
        for index, each in enumerate(self.descriptors):
            offset = addr - each["addr"]
            if key == each["key"] and 0 <= offset < each["length"]:
                return Place(index, start + offset, each["length"] - offset)
            start += each["length"]
        return None

    def move(self, offset: int, data: Bytes) -> None:
        """Take note of bytes that were read or written at ``offset``."""
        end = offset + len(data.data)
        if end > MAX_KNOWN:
            return
        self.known = max(self.known, end)
        there = bytearray(b"\1" * len(data.data))
        for hole in data.missing:
            there[hole.start : hole.stop] = bytes(len(hole))
        for number, start, stop in _pages(offset, end):
            if not self._keeps(number):
                continue
            page = self._pages.setdefault(number, bytearray(2 * PAGE))
            place, size = start - number * PAGE, stop - start
            page[place : place + size] = data.data[start - offset : stop - offset]
            page[PAGE + place : PAGE + place + size] = there[start - offset : stop - offset]

    def _keeps(self, number: int) -> bool:
        return self._whole or number * PAGE < HEAD or (number + 1) * PAGE >= self.size

    def read(self, offset: int, length: int) -> Bytes:
        """Return what is known of a part."""
        length = min(length, MAX_KNOWN)
        content, there = bytearray(length), bytearray(length)
        for number, start, stop in _pages(offset, offset + length):
            if page := self._pages.get(number):
                place, size = start - number * PAGE, stop - start
                content[start - offset : stop - offset] = page[place : place + size]
                there[start - offset : stop - offset] = page[PAGE + place : PAGE + place + size]
        return Bytes(bytes(content), _zeros(there))


def _pages(start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield each page that has some of the bytes, with the first and the end of these."""
    for number in range(start // PAGE, -(-end // PAGE)):
        yield number, max(start, number * PAGE), min(end, (number + 1) * PAGE)


def _zeros(there: bytearray) -> tuple[range, ...]:
    """Return the runs of zeros."""
    found = []
    start = there.find(0)
    while start >= 0:
        end = there.find(1, start)
        end = len(there) if end < 0 else end
        found.append(range(start, end))
        start = there.find(0, end)
    return tuple(found)
