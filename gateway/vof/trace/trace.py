# SPDX-License-Identifier: BSD-3-Clause
"""The live end of ``vof.decode``: what passes through each connection in, lines out.

Owns the numbers of connections, the clock, and the order: one lock, for connections of an
association are told of each other. Nothing that is decoded may harm who talks: a connection that
cannot be followed is told in a line, and from then on is not followed. Must not know sockets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from threading import Lock

from vof.decode.association import Associations
from vof.decode.budget import Budget
from vof.decode.keyed import KeyedConnection
from vof.decode.message import Bytes, Direction, Kind, Message, Where
from vof.decode.stream import StreamConnection
from vof.decode.text import Text
from vof.implementation import use_python
from vof.logline import describe
from vof.trace.place import Write, bounded, writer

MAX_HELD = 64 << 20
"""Bytes of messages that are not complete, of all connections together."""

_MESSAGES_ONLY = "its messages alone: what moves by key is not seen"

Feed = Callable[[Where], Iterable[Message]]


class Trace:
    """A program's trace."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._lock = Lock()
        self._text = Text(with_bytes=False, with_keys=False)
        self._associations = Associations()
        self._budget = Budget(MAX_HELD)
        self._connections = 0
        self._tell(Message(Kind.CAPTURE, _now()))

    def stream(self, initiator: str, target: str, ours: Direction) -> Tap:
        """Return the way in for a TCP connection between these addresses; ``ours`` is the
        direction in which this program sends."""
        with self._lock:
            connection = StreamConnection(
                self._next(), target, self._associations, begins=True, budget=self._budget
            )
            self._tell(connection.opened(initiator, _now()))
        return Tap(self, connection, ours)

    def keyed(self, initiator: str, target: str, ours: Direction) -> Tap:
        """Return the way in for a connection over RDMA."""
        with self._lock:
            connection = KeyedConnection(self._next(), target, self._associations, begins=True)
            self._tell(connection.opened(initiator, _now()))
            for note in connection.note(ours, _MESSAGES_ONLY, _now()):
                self._tell(note)
        return Tap(self, connection, ours)

    def follow(self, number: int, feed: Feed) -> bool:
        """Tell the messages that ``feed`` returns for this moment; False where it cannot go on."""
        with self._lock:
            try:
                for message in feed(_now()):
                    self._tell(message)
            except Exception as error:  # noqa: BLE001 - a trace must not harm what it shows
                self._write(bounded(f"connection {number} is not followed: {describe(error)}"))
                return False
        return True

    def _next(self) -> int:
        number, self._connections = self._connections, self._connections + 1
        return number

    def _tell(self, message: Message) -> None:
        for line in self._text.show(message).splitlines():
            self._write(bounded(line))


class Tap:
    """One connection's way into the trace. Whoever has it calls ``sent`` before the peer can have
    the bytes, and ``received`` before anything is done with them, so that an answer comes behind
    what it answers."""

    def __init__(
        self, trace: Trace, connection: StreamConnection | KeyedConnection, ours: Direction
    ) -> None:
        self._trace = trace
        self._connection: StreamConnection | KeyedConnection | None = connection
        self._ours = ours

    def sent(self, data: bytes) -> None:
        """Take what goes to the peer: a stretch of the stream, or a message."""
        self._passed(self._ours, data)

    def received(self, data: bytes) -> None:
        """Take what has come from the peer; nothing is the end of the stream."""
        self._passed(self._ours.other, data)

    def closed(self) -> None:
        """Take note that this end has closed the connection. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:

            def feed(where: Where) -> Iterable[Message]:
                yield from connection.closed(self._ours, "fin", where)
                yield from connection.end()

            self._trace.follow(connection.number, feed)

    def _passed(self, direction: Direction, data: bytes) -> None:
        connection = self._connection
        if connection is None:
            return

        def feed(where: Where) -> Iterable[Message]:
            if not data:
                return connection.closed(direction, "fin", where)
            if isinstance(connection, StreamConnection):
                return connection.data(direction, data, where)
            return connection.send(direction, Bytes(data), where)

        if not self._trace.follow(connection.number, feed):
            self._connection = None


def open_trace(place: str) -> Trace:
    """Return a trace that goes to such a place, and have the data path in Python used.

    Raises VofError."""
    use_python("a trace")
    return Trace(writer(place))


def _now() -> Where:
    return Where(0, time.time_ns())
