# SPDX-License-Identifier: BSD-3-Clause
"""Registered memory for the data of requests: taken in chunks out of few large regions.

Owns the bound of what one connection can cost, and which bytes are free. Regions are registered
when they are needed for the first time and kept while work goes on, so that no request registers
anything in the long run; ``trim`` lets go of all but the first. Must not know what is in a chunk,
nor how memory is registered. Belongs to one thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple, Protocol

GRAIN = 64
"""Chunks are multiples of this many bytes: no two of them share a cache line."""

PAGE = 4096


class NotRegistered(Exception):
    """The system does not let us register memory."""

    def __init__(self, size: int, reason: str) -> None:
        super().__init__(
            f"cannot register {size} bytes of memory: {reason}; raise the limit of locked memory "
            "(ulimit -l, or LimitMEMLOCK= of a systemd unit)"
        )


class Region(Protocol):
    """Memory that an RDMA device may use."""

    @property
    def view(self) -> memoryview:
        """All of its bytes."""

    @property
    def address(self) -> int:
        """The address of its first byte, as work requests and peers say it."""

    @property
    def local_key(self) -> int:
        """The key by which our own work requests name it."""

    @property
    def remote_key(self) -> int:
        """The key by which a peer's work requests name it, where they may."""

    def close(self) -> None:
        """Revoke both keys; once this has returned no device touches the memory any more."""


class Chunk(NamedTuple):
    """Bytes of a region that belong to one request."""

    region: Region
    offset: int
    size: int

    @property
    def address(self) -> int:
        """The address of its first byte."""
        return self.region.address + self.offset

    @property
    def view(self) -> memoryview:
        """Its bytes, with whatever they hold."""
        return self.region.view[self.offset : self.offset + self.size]


class Space:
    """Keeps the free ones of a number of bytes."""

    def __init__(self, size: int) -> None:
        self._size = size
        # The free stretches in order, no two of them adjacent.
        self._starts = [0]
        self._sizes = [size]

    @property
    def unused(self) -> bool:
        """True where everything is free."""
        return self._sizes == [self._size]

    def take(self, size: int) -> int | None:
        """Return where ``size`` bytes are that were free; None where no stretch is long enough."""
        for place, free in enumerate(self._sizes):
            if free < size:
                continue
            start = self._starts[place]
            if free == size:
                del self._starts[place], self._sizes[place]
            else:
                self._starts[place] += size
                self._sizes[place] -= size
            return start
        return None

    def give(self, start: int, size: int) -> None:
        """Make bytes free that were taken."""
        place = bisect_left(self._starts, start)
        if place < len(self._starts) and start + size == self._starts[place]:
            size += self._sizes[place]
            del self._starts[place], self._sizes[place]
        if place and self._starts[place - 1] + self._sizes[place - 1] == start:
            self._sizes[place - 1] += size
            return
        self._starts.insert(place, start)
        self._sizes.insert(place, size)


class Pool:
    """The chunks of one connection."""

    def __init__(self, register: Callable[[int], Region], *, first: int, budget: int) -> None:
        """``register`` makes a region of a size and raises NotRegistered. ``first`` bytes are kept
        always; ``budget`` is the largest chunk, and what all other regions may have together.
        """
        self._register = register
        self._step = first
        self._budget = round_up(budget, PAGE)
        self._extra = 0
        self._regions: list[tuple[Region, Space]] = []
        self._add(round_up(first, PAGE))

    @property
    def size(self) -> int:
        """Bytes that are registered."""
        return sum(len(region.view) for region, _space in self._regions)

    def take(self, size: int) -> Chunk | None:
        """Return ``size`` bytes; None while so many are not to be had.

        Raises NotRegistered where the system does not let us have them, and there is nothing to
        wait for.
        """
        need = round_up(size, GRAIN)
        for region, space in self._regions:
            start = space.take(need)
            if start is not None:
                return Chunk(region, start, size)
        return self._take_more(need, size)

    def give(self, chunk: Chunk) -> None:
        """Take back a chunk."""
        for region, space in self._regions:
            if region is chunk.region:
                space.give(chunk.offset, round_up(chunk.size, GRAIN))
                return

    def trim(self) -> None:
        """Let go of every region that is not in use, but the first."""
        self._drop(self._extra)

    def close(self) -> None:
        """Let go of all of it."""
        for region, _space in self._regions:
            region.close()
        self._regions.clear()

    def _take_more(self, need: int, size: int) -> Chunk | None:
        wanted = round_up(need, PAGE)
        if wanted > self._budget - self._extra:
            self._drop(wanted - (self._budget - self._extra))
        room = self._budget - self._extra
        if wanted > room:
            return None
        try:
            # Somewhat more than is needed now: the next one may be as large.
            self._add(min(room, max(wanted, round_up(4 * self._step, PAGE))))
        except NotRegistered:
            if all(space.unused for _region, space in self._regions):
                raise
            return None
        self._extra += len(self._regions[-1][0].view)
        region, space = self._regions[-1]
        start = space.take(need)
        assert start is not None
        return Chunk(region, start, size)

    def _add(self, size: int) -> None:
        self._regions.append((self._register(size), Space(size)))

    def _drop(self, size: int) -> None:
        """Let go of unused regions until ``size`` bytes are gone, or there are no more."""
        for item in self._regions[1:]:
            if size <= 0:
                return
            region, space = item
            if space.unused:
                self._regions.remove(item)
                length = len(region.view)
                region.close()
                self._extra -= length
                size -= length


def round_up(size: int, unit: int) -> int:
    """Return the smallest multiple of ``unit`` that is not less than ``size``."""
    return -(-size // unit) * unit
