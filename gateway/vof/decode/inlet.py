# SPDX-License-Identifier: BSD-3-Clause
"""Feeds a parser of one direction of a stream, and finds its way again where bytes are missing.

A parser is a generator: it asks for a number of bytes and is sent them. Bytes that are missing in
the midst of a payload do no harm. Any others make it end; then messages are looked for where
segments begin, for that is where nearly all of them do. Must not know what a message is.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import NamedTuple

from vof.decode.budget import Budget
from vof.decode.message import Bytes, Where

MAX_HOLE = 1 << 20
"""Bytes that may be missing in one place of a payload: they are held as zeros, and must not cost
much where a file merely claims them."""


class Want(NamedTuple):
    """A number of bytes that a parser asks for."""

    size: int
    payload: bool = False
    """Some of it may be missing."""


class Cut(Exception):
    """Thrown into a parser: what it asked for does not come."""


Parser = Generator[Want, Bytes, None]


class Found(NamedTuple):
    """The bytes that were not understood before the place where a parser goes on."""

    lost: int
    """Bytes that are not in the capture."""
    skipped: int
    """Bytes in which no message was found."""


class Inlet:
    """One direction."""

    def __init__(
        self,
        parser: Callable[[], Parser],
        plausible: Callable[[bytes], bool],
        found: Callable[[Found], None],
        budget: Budget,
    ) -> None:
        """``plausible`` says whether a message may begin with these bytes; ``found`` is told when
        one did, after some were not understood."""
        self._make_parser = parser
        self._plausible = plausible
        self._found = found
        self._budget = budget
        self._held = 0  # taken from it
        self.where = Where(0)
        """The place of the latest bytes."""
        self._lost = self._skipped = 0
        self._buffer = bytearray()
        self._holes: list[range] = []
        self._want = Want(0)
        self._parser: Parser | None = None  # None while looking for a message

    def begin(self) -> None:
        """Note that the next bytes begin a message."""
        if self._lost or self._skipped:
            self._found(Found(self._lost, self._skipped))
            self._lost = self._skipped = 0
        self._parser = self._make_parser()
        self._want = next(self._parser)

    def data(self, data: bytes, where: Where) -> None:
        """Take the next bytes, which are those of a segment."""
        self.where = where
        if self._parser is None:
            if not self._plausible(data):
                self._skipped += len(data)
                return
            self.begin()
        self._buffer += data
        self._pump()
        self._settle()

    def lost(self, count: int, where: Where) -> None:
        """Take note that the next bytes are missing."""
        self.where = where
        end = len(self._buffer) + count
        within = self._want.payload and end <= self._want.size
        if self._parser and within and count <= MAX_HOLE:
            self._holes.append(range(len(self._buffer), end))
            self._buffer += bytes(count)
            self._pump()
            self._settle()
            return
        self._cut()
        self._lost += count

    def end(self) -> None:
        """Take note that nothing comes any more."""
        self._cut()
        if self._lost or self._skipped:
            self._found(Found(self._lost, self._skipped))
            self._lost = self._skipped = 0

    def rest(self) -> Bytes:
        """Return what there is of what was asked for; for a parser that was cut."""
        taken = Bytes(bytes(self._buffer), tuple(self._holes))
        self._buffer.clear()
        return taken

    def _pump(self) -> None:
        while self._parser and len(self._buffer) >= self._want.size:
            taken = Bytes(bytes(self._buffer[: self._want.size]), tuple(self._holes))
            del self._buffer[: self._want.size]
            self._holes.clear()
            try:
                self._want = self._parser.send(taken)
            except StopIteration:
                self._stray()

    def _settle(self) -> None:
        self._budget.left += self._held - len(self._buffer)
        self._held = len(self._buffer)
        if self._held and self._budget.spent:
            self._cut()

    def _cut(self) -> None:
        if self._parser is None:
            return
        try:
            self._parser.throw(Cut())
        except (StopIteration, Cut):
            pass
        self._stray()
        self._settle()

    def _stray(self) -> None:
        self._parser = None
        self._skipped += len(self._buffer)
        self._buffer.clear()
        self._holes.clear()
