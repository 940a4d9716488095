# SPDX-License-Identifier: BSD-3-Clause
"""One direction of a TCP connection: segments in, the stream in order out.

Owns what was sent twice, what came out of order, and what is missing: a capture may begin in the
middle, lose packets, or have the first bytes of each only. That bytes are missing and will not come
is known when the receiver acknowledges them. Must not know what the stream carries.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import NamedTuple

from vof.decode.budget import Budget
from vof.decode.message import Where

MAX_WAITING = 16 << 20
"""Bytes that are kept for the sake of some that are missing; then these are given up."""

SEGMENT_COST = 256
"""Bytes that a segment costs beside its data."""

_HALF = 1 << 31
_MODULUS = 1 << 32


class Piece(NamedTuple):
    """The next piece of the stream: bytes, or a number of lost ones."""

    data: bytes
    lost: int
    where: Where


class HalfStream:
    """A direction. Sequence numbers are made positions, which do not wrap around."""

    def __init__(self, budget: Budget | None = None) -> None:
        self._budget = budget or Budget()
        self._next: int | None = None  # position of the byte that comes next
        self._first: int | None = None  # sequence number of the first byte of all
        self._waiting: list[tuple[int, int, bytes, Where]] = []  # a heap: position, size, data
        self._kept = 0

    def begin(self, sequence: int) -> None:
        """Note that the byte with this sequence number comes first."""
        if self._next is None:
            self._next = self._first = sequence % _MODULUS

    def began(self, sequence: int) -> bool:
        """True if the byte with this sequence number came first."""
        return self._first == sequence % _MODULUS

    def segment(self, sequence: int, data: bytes, size: int, where: Where) -> Iterator[Piece]:
        """Take a segment of ``size`` bytes, of which ``data`` is there; yield what it completes."""
        if not size:
            return
        if self._next is None:
            self._next = sequence
        heappush(self._waiting, (self._position(sequence), size, data, where))
        self._keep(len(data) + SEGMENT_COST)
        yield from self._deliver()
        while self._waiting and (self._kept > MAX_WAITING or self._budget.spent):
            yield from self._give_up(self._waiting[0][0], where)

    def acknowledged(self, sequence: int, where: Where) -> Iterator[Piece]:
        """Take note that the receiver has all before ``sequence``; yield what that settles."""
        if self._next is None:
            self._next = sequence
            return
        position = self._position(sequence)
        while self._next < position:
            first = self._waiting[0][0] if self._waiting else position
            yield from self._give_up(min(first, position), where)

    def end(self, where: Where) -> Iterator[Piece]:
        """Yield what is left, now that no more segments come."""
        while self._waiting:
            yield from self._give_up(self._waiting[0][0], where)

    def _keep(self, size: int) -> None:
        self._kept += size
        self._budget.left -= size

    def _position(self, sequence: int) -> int:
        assert self._next is not None
        distance = (sequence - self._next) % _MODULUS
        return self._next + distance - (_MODULUS if distance >= _HALF else 0)

    def _give_up(self, position: int, where: Where) -> Iterator[Piece]:
        assert self._next is not None
        missing = position - self._next
        if missing > 0:
            self._next = position
            yield Piece(b"", missing, where)
        yield from self._deliver()

    def _deliver(self) -> Iterator[Piece]:
        assert self._next is not None
        while self._waiting and self._waiting[0][0] <= self._next:
            position, size, data, where = heappop(self._waiting)
            self._keep(-len(data) - SEGMENT_COST)
            old = self._next - position
            if old >= size:
                continue  # sent once more
            self._next = position + size
            if data[old:]:
                yield Piece(data[old:], 0, where)
            if cut := size - max(old, len(data)):
                yield Piece(b"", cut, where)
