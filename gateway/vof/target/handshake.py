# SPDX-License-Identifier: BSD-3-Clause
"""A connection before its Connect (*proposal*, "Connect"): everything else is a violation.

Owns the non-blocking socket until the Connect succeeds. Reads not a byte beyond one Connect, so
that what a peer sends behind it is left for the connection's own thread. Must not know threads.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from vof.errors import RemoteProtocolError
from vof.target.association import AssociationTable, Attachment, Link, Refusal
from vof.target.connecting import MAX_REFUSALS, answer_connect
from vof.wire.constants import Opcode, Transport
from vof.wire.dialect import PROPOSAL
from vof.wire.stream import CommandParser, ReceivedCommand, StreamLimits
from vof.wire.structs import (
    COMMAND_SIZE,
    CONNECT_BODY_SIZE,
    DESCRIPTOR_SIZE,
    HEAD,
    Completion,
    ConnectBody,
    ConnectCommand,
    pack,
    unpack,
)

CONNECT_SIZE = COMMAND_SIZE + DESCRIPTOR_SIZE + CONNECT_BODY_SIZE
"""Bytes of a whole Connect on the stream."""

_NOTHING_ELSE = StreamLimits(max_ndesc=1, max_transfer=CONNECT_BODY_SIZE)


class PeerClosed(Exception):
    """The peer closed the connection."""


class Handshake:
    """One connection that is not connected to anything yet."""

    def __init__(self, sock: socket.socket, peer: str, table: AssociationTable, link: Link) -> None:
        """``link`` is this connection as its association is to know it."""
        self.sock = sock
        self.peer = peer
        self._table = table
        self._link = link
        self._refusals = 0
        self._begin()

    def _begin(self) -> None:
        self._received = bytearray()
        self._parser = CommandParser(
            PROPOSAL, _NOTHING_ELSE
        )  # a Connect is the same in all dialects

    def readable(self, refused: Callable[[str], None]) -> Attachment | None:
        """Take what has arrived; return the connection's place once a Connect has succeeded.

        ``refused`` is told why a Connect was refused. Raises RemoteProtocolError, PeerClosed or
        OSError where the connection is to be closed.
        """
        try:
            data = self.sock.recv(CONNECT_SIZE - len(self._received))
        except (BlockingIOError, InterruptedError):
            return None
        if not data:
            raise PeerClosed
        self._received += data
        if len(self._received) >= HEAD.size:
            # At once, and not when all of a command is there: it might never come.
            opcode, _command_id = HEAD.unpack_from(self._received)
            if opcode != Opcode.CONNECT:
                raise RemoteProtocolError(f"opcode {opcode:#06x} before a Connect")
        for command in self._parser.feed(data):
            self._begin()
            return self._connect(command, refused)
        return None

    def _connect(
        self, command: ReceivedCommand, refused: Callable[[str], None]
    ) -> Attachment | None:
        completion, outcome = answer_connect(
            self._table,
            Transport.TCP,
            unpack(ConnectCommand, command.head),
            unpack(ConnectBody, command.payload),
            self._link,
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
        return outcome

    def _answer(self, completion: Completion) -> None:
        # Few bytes into an empty socket buffer: where they do not fit, the peer does not read its
        # answers.
        data = pack(completion)
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            raise RemoteProtocolError("the answers to refused Connects are not being read")
