# SPDX-License-Identifier: BSD-3-Clause
"""Registered memory for the requests of an association: slabs registered once, extents taken from
them.

Registering memory costs more than a request does, so it is never done for one. Slabs are made on
demand up to a limit and kept until the association ends; what a request sends and what it is to
receive are one extent, copied in once and out once. Whoever finds no room waits in the order of
arrival, so that a large request is not kept from its turn by small ones.

Must not know RDMA: ``register`` makes a key for memory, and ``Registration.close`` takes it back.
"""

from __future__ import annotations

import ctypes
import mmap
from collections import deque
from collections.abc import Callable
from threading import Condition
from typing import Protocol

from vof.errors import SessionLost, VofError
from vof.fabric.rdma.extents import Extents

SLAB_SIZE = (4 << 20) + (64 << 10)
"""Bytes that are registered at a time; the most that one extent can have: 4 MiB and what goes with
them."""

LIMIT = 16 * SLAB_SIZE
"""Bytes that an association registers at most."""


class Registration(Protocol):
    """Memory that a device may use."""

    @property
    def lkey(self) -> int:
        """Names it to our own device."""

    @property
    def rkey(self) -> int:
        """Names it to the peer."""

    def close(self) -> None:
        """Take the keys back: from now on nothing reads or writes the memory."""


Register = Callable[[int, int], Registration]
"""Registers memory by address and size; raises VofError."""


class Slab:
    """A piece of registered memory."""

    def __init__(self, size: int, register: Register) -> None:
        # The mapping lives as long as a view of it does.
        memory = mmap.mmap(-1, size)
        self.view = memoryview(memory)
        self.addr = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self.registration = register(self.addr, size)
        self.lkey = self.registration.lkey
        self.rkey = self.registration.rkey
        self.extents = Extents(size)


class Extent:
    """Bytes of registered memory, the taker's until given back."""

    __slots__ = ("addr", "length", "offset", "slab", "view")

    def __init__(self, slab: Slab, offset: int, length: int) -> None:
        self.slab = slab
        self.offset = offset
        self.length = length
        self.addr = slab.addr + offset
        self.view = slab.view[offset : offset + length]


class Pool:
    """Slabs, from any thread.

    ``slab_size`` is also the most bytes of an extent, ``limit`` how much is registered at most.
    Raises what ``register`` does if it refuses the first slab; a later refusal is the limit.
    """

    def __init__(self, register: Register, slab_size: int = SLAB_SIZE, limit: int = LIMIT) -> None:
        self.largest = slab_size
        """Bytes of the largest extent."""
        self._register = register
        self._limit = limit
        self._changed = Condition()
        self._waiting: deque[object] = deque()
        self._closed = False
        self._slabs = [Slab(slab_size, register)]

    def take(self, length: int, *, wait: bool) -> Extent | None:
        """Return ``length`` bytes, from 1 to ``largest``, with what was in them before.

        Without room: waits, or returns None if ``wait`` is false. Raises SessionLost once the pool
        is closed.
        """
        assert 0 < length <= self.largest
        with self._changed:
            if not self._waiting and (found := self._find(length)) is not None:
                return found
            if not wait:
                self._check()
                return None
            turn = object()
            self._waiting.append(turn)
            try:
                while self._waiting[0] is not turn or (found := self._find(length)) is None:
                    self._check()
                    self._changed.wait()
                return found
            finally:
                self._waiting.remove(turn)
                self._changed.notify_all()

    def give_back(self, extent: Extent) -> None:
        """Free what ``take`` returned; also after the pool was closed."""
        with self._changed:
            extent.slab.extents.give_back(extent.offset, extent.length)
            if self._waiting:
                self._changed.notify_all()

    @property
    def waiting(self) -> int:
        """Threads that wait for room."""
        return len(self._waiting)

    @property
    def registered(self) -> int:
        """Bytes registered."""
        return sum(len(slab.view) for slab in self._slabs)

    @property
    def taken(self) -> int:
        """Bytes given out, in whole units."""
        return sum(slab.extents.size - slab.extents.free for slab in self._slabs)

    def close(self) -> None:
        """Take all keys back. Idempotent; who waits for room gets SessionLost."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            for slab in self._slabs:
                slab.registration.close()
            self._changed.notify_all()

    def _check(self) -> None:
        if self._closed:
            raise SessionLost("the registered memory of the association is gone")

    def _find(self, length: int) -> Extent | None:
        self._check()
        for slab in self._slabs:
            offset = slab.extents.take(length)
            if offset is not None:
                return Extent(slab, offset, length)
        if self.registered + self.largest > self._limit:
            return None
        try:
            slab = Slab(self.largest, self._register)
        except VofError:
            # The user's limit on locked memory is below ours: what there is will do.
            self._limit = self.registered
            return None
        self._slabs.append(slab)
        offset = slab.extents.take(length)
        assert offset is not None
        return Extent(slab, offset, length)
