# SPDX-License-Identifier: BSD-3-Clause
"""A connection before its Connect (*v5* "Connect Command"): everything else is a violation.

Owns the non-blocking socket until the Connect succeeds. Its first 16 bytes say which revision it is
of, and so how much belongs to it; not a byte beyond is read, so that what a peer sends behind it is
left for the connection's own thread. Must not know threads.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from vof.errors import RemoteProtocolError
from vof.target.association import ConnectedQueue
from vof.target.association_table import AssociationTable, Refusal
from vof.target.connecting import MAX_REFUSALS, answer_connect, answer_foreign
from vof.target.tcp.connection import StreamConnection
from vof.wire.connect import (
    Connect,
    ForeignConnect,
    check_opcode,
    decode_connect,
    decode_stream_rest,
    stream_rest,
)
from vof.wire.constants import Transport
from vof.wire.structs import COMMAND_SIZE, CONNECT_BODY_SIZE, DESCRIPTOR_SIZE, HEAD

_FOREIGN_REST = DESCRIPTOR_SIZE + CONNECT_BODY_SIZE
"""Bytes behind a Connect of the earlier form, whatever its ``oftype``."""


class PeerClosed(OSError):
    """The peer closed the connection."""


class Handshake:
    """One connection that is not connected to anything yet."""

    def __init__(
        self, sock: socket.socket, table: AssociationTable, connection: StreamConnection
    ) -> None:
        """``connection`` is what it is to become, on the same socket."""
        self.peer = connection.peer
        self._sock = sock
        self._table = table
        self._connection = connection
        self._refusals = 0
        self._begin()

    def _begin(self) -> None:
        self._received = bytearray()
        self._wanted = COMMAND_SIZE
        self._connect: Connect | ForeignConnect | None = None

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def advance(self, refused: Callable[[str], None]) -> StreamConnection | None:
        """Take what has arrived; return the connection once a Connect has succeeded.

        ``refused`` is told why a Connect was refused. Raises RemoteProtocolError or OSError where
        the connection is to be closed.
        """
        try:
            data = self._sock.recv(self._wanted - len(self._received))
        except (BlockingIOError, InterruptedError):
            return None
        if not data:
            raise PeerClosed
        self._received += data
        if len(self._received) >= HEAD.size:
            # At once, and not when all of a command is there: it might never come.
            check_opcode(self._received)
        if len(self._received) == COMMAND_SIZE and self._connect is None:
            self._take_head()
        if self._connect is None or len(self._received) < self._wanted:
            return None
        return self._answered(self._connect, refused)

    def _take_head(self) -> None:
        try:
            connect = decode_connect(self._received, Transport.TCP)
        except ForeignConnect as foreign:
            self._connect = foreign
            self._wanted += _FOREIGN_REST
        else:
            self._connect = connect
            self._wanted += stream_rest(connect)

    def _answered(
        self, connect: Connect | ForeignConnect, refused: Callable[[str], None]
    ) -> StreamConnection | None:
        rest = bytes(memoryview(self._received)[COMMAND_SIZE:])
        self._begin()
        outcome: ConnectedQueue | Refusal
        if isinstance(connect, ForeignConnect):
            completion, outcome = answer_foreign(connect)
        else:
            names = decode_stream_rest(connect, rest)
            completion, outcome = answer_connect(
                self._table, Transport.TCP, connect, names, self._connection
            )
        if isinstance(outcome, Refusal):
            self._answer(completion)
            self._refusals += 1
            if self._refusals >= MAX_REFUSALS:
                raise RemoteProtocolError(f"{self._refusals} Connects were refused: {outcome}")
            refused(str(outcome))
            return None
        try:
            self._answer(completion)
        except BaseException:
            self._table.release(outcome)
            raise
        self._connection.connect(outcome)
        return self._connection

    def _answer(self, data: bytes) -> None:
        # Few bytes into an empty socket buffer: where they do not fit, the peer does not read its
        # answers.
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            raise RemoteProtocolError("the answers to refused Connects are not being read")
