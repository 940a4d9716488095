# SPDX-License-Identifier: BSD-3-Clause
"""Registered memory without a device, and a queue pair that moves bytes when it is told to."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import count

from vof.target.rdma.memory import NotRegistered
from vof.wire.v5 import KeyedDescriptor

_BASE = 1 << 32


class Memory:
    """A region."""

    def __init__(self, number: int, size: int) -> None:
        self.view = memoryview(bytearray(size))
        self.address = number << 40
        self.local_key = number
        self.remote_key = number + 1000
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Heap:
    """Makes regions, as many bytes of them as ``limit`` lets there be."""

    def __init__(self, limit: int = 1 << 40) -> None:
        self.limit = limit
        self.regions: list[Memory] = []
        self._numbers = count(1)

    @property
    def size(self) -> int:
        return sum(len(item.view) for item in self.regions if not item.closed)

    def register(self, size: int) -> Memory:
        if self.size + size > self.limit:
            raise NotRegistered(size, "too much")
        self.regions.append(Memory(next(self._numbers), size))
        return self.regions[-1]

    def bytes_at(self, address: int, key: int, size: int) -> memoryview:
        """Return memory of ours as a work request names it."""
        [region] = [item for item in self.regions if item.local_key == key]
        assert not region.closed
        start = address - region.address
        assert 0 <= start <= start + size <= len(region.view)
        return region.view[start : start + size]


class QueuePair:
    """A poster. What is posted is executed, in order, by ``complete``."""

    def __init__(self, heap: Heap, size: int = 1 << 16) -> None:
        self.heap = heap
        self.memory = bytearray(size)
        """The initiator's, from address ``_BASE`` on with key 7."""
        self.posted: deque[tuple[str, int]] = deque()
        """What was posted and is not complete: its kind and identity."""
        self.messages: list[bytes] = []
        """What the initiator was sent."""
        self.signalled: list[int] = []
        self._jobs: deque[tuple[list[tuple[memoryview, int]], bool, memoryview | None]] = deque()

    def part(self, offset: int, length: int) -> KeyedDescriptor:
        return KeyedDescriptor(_BASE + offset, length, 7)

    def post_reads(
        self, pieces: Sequence[KeyedDescriptor], address: int, key: int, ident: int
    ) -> None:
        self._post("read", pieces, address, key, None, ident, signalled=True)

    def post_answer(
        self,
        pieces: Sequence[KeyedDescriptor],
        address: int,
        key: int,
        message: tuple[int, int],
        ident: int,
        *,
        signalled: bool,
    ) -> None:
        text = self.heap.bytes_at(*message, 16)
        self._post("answer", pieces, address, key, text, ident, signalled=signalled)

    def post_marker(self, ident: int) -> None:
        self._post("marker", (), 0, 0, None, ident, signalled=True)

    def _post(
        self,
        kind: str,
        pieces: Sequence[KeyedDescriptor],
        address: int,
        key: int,
        message: memoryview | None,
        ident: int,
        *,
        signalled: bool,
    ) -> None:
        moves = []
        for piece in pieces:
            assert piece.key == 7
            moves.append((self.heap.bytes_at(address, key, piece.length), piece.addr - _BASE))
            address += piece.length
        self.posted.append((kind, ident))
        self._jobs.append((moves, kind == "read", message))
        if signalled:
            self.signalled.append(ident)

    def complete(self) -> list[int]:
        """Execute everything; return the identities that this is told of."""
        while self._jobs:
            moves, reads, message = self._jobs.popleft()
            for local, place in moves:
                there = memoryview(self.memory)[place : place + len(local)]
                if reads:
                    local[:] = there
                else:
                    there[:] = local
            if message is not None:
                self.messages.append(bytes(message))
        self.posted.clear()
        told, self.signalled = self.signalled, []
        return told
