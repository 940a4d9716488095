# SPDX-License-Identifier: BSD-3-Clause
"""Keeps the free parts of a range of bytes: first fit, neighbours joined.

For registered memory (``memory``) and for the eager range of a target's virtqueue (``eager``)
alike. Must not know what the bytes are, nor who else looks: whoever owns one keeps it to one thread
at a time.
"""

from __future__ import annotations

from bisect import bisect_left

ALIGNMENT = 64
"""Extents begin at multiples of this many bytes, so that no two share a cache line."""


class Extents:
    """The free extents of ``size`` bytes; all of them are free at first."""

    def __init__(self, size: int) -> None:
        self.size = size - size % ALIGNMENT
        """Bytes that can be given out; what does not fill a unit at the end is left over."""
        self.free = self.size
        """Bytes that are free, maybe not in one piece."""
        self._starts = [0] if self.size else []
        self._lengths = [self.size] if self.size else []

    def take(self, length: int) -> int | None:
        """Return the offset of ``length`` bytes (at least 1) that are free no more, or None."""
        length = rounded(length)
        for place, found in enumerate(self._lengths):
            if found >= length:
                start = self._starts[place]
                if found == length:
                    del self._starts[place], self._lengths[place]
                else:
                    self._starts[place] = start + length
                    self._lengths[place] = found - length
                self.free -= length
                return start
        return None

    def give_back(self, start: int, length: int) -> None:
        """Free what ``take`` returned for ``length`` bytes."""
        length = rounded(length)
        place = bisect_left(self._starts, start)
        self.free += length
        if place < len(self._starts) and start + length == self._starts[place]:
            length += self._lengths[place]
            del self._starts[place], self._lengths[place]
        if place and self._starts[place - 1] + self._lengths[place - 1] == start:
            self._lengths[place - 1] += length
        else:
            self._starts.insert(place, start)
            self._lengths.insert(place, length)


def rounded(length: int) -> int:
    """Return the bytes that ``length`` bytes occupy."""
    return -(-length // ALIGNMENT) * ALIGNMENT
