# SPDX-License-Identifier: BSD-3-Clause
"""Work requests on their way to one initiator.

A chain is what is posted at once: the reads of one request's device-readable bytes, or the writes
of its device-writable ones and the completion behind them, which a reliable connection keeps in
order. Owns how many work requests the queue pair has room for, which chains wait for room, and when
each is over.

An answer that nobody waits for is silent: its end shows when a later chain ends, so that the thread
need not wake up for it. What silent answers hold is bounded, and ``hurry`` asks for their end. Must
not know commands. Belongs to one thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from vof.target.rdma.memory import Region
from vof.wire.structs import COMPLETION_SIZE
from vof.wire.v5 import KeyedDescriptor

SILENT_CHAINS = 16
SILENT_BYTES = 64 << 10
"""What answers may hold of whose end nobody is told."""

FIRST_IDENT = 1 << 32
"""Identities of chains begin here; smaller ones are the receives'."""

Done = Callable[[], None]


class Poster(Protocol):
    """Puts work requests on a queue pair."""

    def post_reads(
        self, pieces: Sequence[KeyedDescriptor], address: int, key: int, ident: int
    ) -> None:
        """Read the peer's ``pieces``, one behind the other, to ``address``."""

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
        """Write what is at ``address`` to the peer's ``pieces``, then send the 16 bytes that
        ``message`` names by address and key."""

    def post_marker(self, ident: int) -> None:
        """Post what does nothing but end, when the peer is there to see it."""


@dataclass
class Operations:
    """The work requests that one connection has posted."""

    reads: int = 0
    writes: int = 0
    sends: int = 0
    probes: int = 0
    posts: int = 0
    """Calls that posted any of these."""
    receives: int = 0
    """Messages that came."""


@dataclass(slots=True, eq=False)
class _Chain:
    pieces: Sequence[KeyedDescriptor]
    address: int
    key: int
    done: Done | None = None
    message: bytes | None = None
    """The completion; None where the chain is reads or a marker."""
    before: Done | None = None
    signalled: bool = True
    ident: int = 0

    @property
    def size(self) -> int:
        """Work requests of the chain."""
        return len(self.pieces) + (self.message is not None or not self.pieces)


class SendQueue:
    """The chains of one connection."""

    def __init__(self, poster: Poster, region: Region, offset: int, room: int) -> None:
        """``room`` is the number of work requests that may be posted at a time, not counting one
        that asks for an end; ``region`` has that many completions of 16 bytes from ``offset`` on.
        """
        self.operations = Operations()
        self._poster = poster
        self._region = region
        self._offset = offset
        self._slots = room
        self._room = room
        self._posted: deque[_Chain] = deque()
        self._waiting: deque[_Chain] = deque()
        self._next = 0
        self._silent = 0
        self._silent_bytes = 0
        self._telling = 0
        self._since = 0.0

    @property
    def idle(self) -> bool:
        """True where everything that was posted is over."""
        return not self._posted

    @property
    def waiting_since(self) -> float | None:
        """The time (monotonic) since which no chain has ended although one is to tell its end;
        None where none is."""
        return self._since if self._telling else None

    def read(self, pieces: Sequence[KeyedDescriptor], address: int, key: int, done: Done) -> None:
        """Read the peer's memory; call ``done`` when all of it is there."""
        self._add(_Chain(pieces, address, key, done))

    def answer(
        self,
        pieces: Sequence[KeyedDescriptor],
        address: int,
        key: int,
        message: bytes,
        *,
        before: Done | None = None,
        done: Done | None = None,
        held: int = 0,
        now: bool = False,
    ) -> None:
        """Write to the peer's memory and send a completion.

        ``before`` is called when there is room for that, at once as a rule: what the peer may do
        once it has the completion is to be possible then, and not earlier, or a peer that lets
        nothing be sent could go on. ``done`` is called some time after the peer has it, or soon
        where ``now`` says so. Until then ``held`` bytes are in use.
        """
        self._silent += 1
        self._silent_bytes += held
        loud = now or self._silent >= SILENT_CHAINS or self._silent_bytes > SILENT_BYTES
        self._add(_Chain(pieces, address, key, done, message, before, loud))

    def hurry(self) -> None:
        """See to it that the end of everything that was posted is told."""
        if self._posted:
            self.probe()

    def probe(self) -> None:
        """Ask whether the peer is still there: post what ends only if it is."""
        if not self._telling:
            # There is room for one such beyond all the others.
            self._post(_Chain((), 0, 0))

    def ended(self, ident: int) -> None:
        """The chain ``ident`` is over, and so are all that were posted before it."""
        self._since = time.monotonic()
        while self._posted and self._posted[0].ident <= ident:
            chain = self._posted.popleft()
            self._room += chain.size
            self._telling -= chain.signalled
            if chain.done:
                chain.done()
        while self._waiting and self._waiting[0].size <= self._room:
            self._post(self._waiting.popleft())

    def _add(self, chain: _Chain) -> None:
        assert chain.size <= self._slots
        if self._waiting or chain.size > self._room:
            self._waiting.append(chain)
            self.probe()  # one of those posted has to say when there is room again
        else:
            self._post(chain)

    def _post(self, chain: _Chain) -> None:
        self._next += 1
        chain.ident = ident = FIRST_IDENT + self._next
        self._posted.append(chain)
        self._room -= chain.size
        if chain.signalled:
            if not self._telling:
                self._since = time.monotonic()
            self._telling += 1
            self._silent = self._silent_bytes = 0
        self.operations.posts += 1
        if chain.message is not None:
            if chain.before:
                chain.before()
            # No other chain that was posted has this place: each takes room for one at least.
            start = self._offset + self._next % self._slots * COMPLETION_SIZE
            self._region.view[start : start + COMPLETION_SIZE] = chain.message
            self.operations.sends += 1
            self.operations.writes += len(chain.pieces)
            message = (self._region.address + start, self._region.local_key)
            self._poster.post_answer(
                chain.pieces, chain.address, chain.key, message, ident, signalled=chain.signalled
            )
        elif chain.pieces:
            self.operations.reads += len(chain.pieces)
            self._poster.post_reads(chain.pieces, chain.address, chain.key, ident)
        else:
            self.operations.probes += 1
            self._poster.post_marker(ident)


def pieces(descriptors: Sequence[KeyedDescriptor], largest: int) -> list[KeyedDescriptor]:
    """Return the same memory in as few pieces as can be: what is adjacent and has one key becomes
    one, and none is longer than ``largest``."""
    found: list[KeyedDescriptor] = []
    for item in descriptors:
        if found:
            addr, length, key = found[-1]
            if key == item.key and addr + length == item.addr:
                found[-1] = KeyedDescriptor(addr, length + item.length, key)
                continue
        found.append(item)
    if all(item.length <= largest for item in found):
        return found
    return [
        KeyedDescriptor(item.addr + start, min(largest, item.length - start), item.key)
        for item in found
        for start in range(0, item.length, largest)
    ]
