# SPDX-License-Identifier: BSD-3-Clause
"""Leases of a virtqueue's eager range: where in the target's memory a request's bytes may go.

*v5* "Get Keyed Eager Buffers Command": the buffers a target exposes make one logical range, in
their order; ``out_offset`` counts from its start. A lease is a part of that range which no other
request has; it may lie in several buffers, and is then written piece by piece.

Pure. What the target says of its buffers is checked here. Must not know how bytes get there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from threading import Lock

from vof.errors import RemoteProtocolError
from vof.fabric.rdma.extents import Extents
from vof.wire.v5 import KeyedDescriptor

MAX_PIECES = 4
"""Pieces of one lease: RDMA WRITEs of one request. What would take more goes by descriptors."""

_MAX_RANGE = 1 << 32
"""``out_offset`` and ``out_length`` have 32 bits."""


class Lease:
    """A part of the range, a request's until it is released."""

    __slots__ = ("length", "offset", "pieces")

    def __init__(self, offset: int, length: int, pieces: Sequence[KeyedDescriptor]) -> None:
        self.offset = offset
        """Where it begins in the range."""
        self.length = length
        self.pieces = pieces
        """The target's memory that it is, in order."""


class EagerRange:
    """The eager buffers of one virtqueue, from any thread.

    Raises RemoteProtocolError for buffers that cannot be: without bytes, beyond the last address,
    one over another under the same key, more bytes than an offset can name.
    """

    def __init__(self, buffers: Sequence[KeyedDescriptor]) -> None:
        _check(buffers)
        self._buffers = buffers
        self._starts: list[int] = []
        total = 0
        for item in buffers:
            self._starts.append(total)
            total += item.length
        self.size = total
        """Bytes of the whole range."""
        self._mutex = Lock()
        self._extents = Extents(total)

    @property
    def leased(self) -> int:
        """Bytes leased, in whole units."""
        return self._extents.size - self._extents.free

    def lease(self, length: int) -> Lease | None:
        """Return a lease of ``length`` bytes (at least 1), None where there is no room for them."""
        with self._mutex:
            offset = self._extents.take(length)
        if offset is None:
            return None
        pieces = self._pieces(offset, length)
        if len(pieces) > MAX_PIECES:
            with self._mutex:
                self._extents.give_back(offset, length)
            return None
        return Lease(offset, length, pieces)

    def release(self, lease: Lease) -> None:
        """Give a lease back, once the target has done with its bytes."""
        with self._mutex:
            self._extents.give_back(lease.offset, lease.length)

    def _pieces(self, offset: int, length: int) -> list[KeyedDescriptor]:
        pieces: list[KeyedDescriptor] = []
        place = bisect_right(self._starts, offset) - 1
        while length and len(pieces) <= MAX_PIECES:
            buffer = self._buffers[place]
            within = offset - self._starts[place]
            part = min(length, buffer.length - within)
            pieces.append(KeyedDescriptor(buffer.addr + within, part, buffer.key))
            offset += part
            length -= part
            place += 1
        return pieces


def _check(buffers: Sequence[KeyedDescriptor]) -> None:
    for item in buffers:
        if not item.length:
            raise RemoteProtocolError("an eager buffer has length zero")
        if item.addr + item.length > 1 << 64:
            raise RemoteProtocolError("an eager buffer goes beyond the last address")
    total = sum(item.length for item in buffers)
    if total > _MAX_RANGE:
        raise RemoteProtocolError(
            f"the eager buffers add up to {total} bytes; an offset can name {_MAX_RANGE}"
        )
    in_order = sorted(buffers, key=lambda item: (item.key, item.addr))
    for one, other in pairwise(in_order):
        if one.key == other.key and one.addr + one.length > other.addr:
            raise RemoteProtocolError("one eager buffer lies over another")
