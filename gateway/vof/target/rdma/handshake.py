# SPDX-License-Identifier: BSD-3-Clause
"""A connection before its Connect (*v5* "Connect Command"): everything else is a violation.

The first message is a Connect, whose body, if it has one, is read from the initiator's memory. One
receive is posted, so that what a peer sends behind it waits for the connection's own thread. Owns
the memory that this needs, which is also where completions are sent from later. Must not know
threads.
"""

from __future__ import annotations

from collections.abc import Callable

from vof.errors import RemoteProtocolError
from vof.target.association import ConnectedQueue, TransportOffer
from vof.target.association_table import AssociationTable, Refusal
from vof.target.connecting import MAX_REFUSALS, answer_connect, answer_foreign
from vof.target.rdma.connection import KeyedConnection
from vof.target.rdma.endpoint import SEND_ROOM
from vof.target.rdma.memory import PAGE, round_up
from vof.target.rdma.send_queue import FIRST_IDENT, SendQueue
from vof.target.rdma.work_completions import check
from vof.wire.connect import (
    Connect,
    ForeignConnect,
    Names,
    check_opcode,
    decode_body,
    decode_connect,
    decode_keyed_rest,
)
from vof.wire.constants import Transport
from vof.wire.structs import COMMAND_SIZE, COMPLETION_SIZE, CONNECT_BODY_SIZE, HEAD

MESSAGE_SIZE = 256
"""Bytes that the receive for a Connect has room for."""

_BODY = 1024
_COMPLETIONS = _BODY + CONNECT_BODY_SIZE
_DESK = round_up(_COMPLETIONS + SEND_ROOM * COMPLETION_SIZE, PAGE)


class Handshake:
    """One connection that is not connected to anything yet."""

    def __init__(
        self, table: AssociationTable, connection: KeyedConnection, offer: TransportOffer
    ) -> None:
        """Let the connection come about; ``connection`` is what it is to become. Raises OSError or
        NotRegistered."""
        self.endpoint = endpoint = connection.endpoint
        self.peer = connection.peer
        self._table = table
        self._connection = connection
        self._offer = offer
        self._refusals = 0
        self._refused: Callable[[str], None]
        self._connected = False
        self._desk = endpoint.register(_DESK)
        self._sends = SendQueue(endpoint, self._desk, _COMPLETIONS, SEND_ROOM)
        endpoint.make_receives(self._desk, 0, MESSAGE_SIZE, 1)
        endpoint.post_receive(0)
        endpoint.arm()
        endpoint.accept()

    def fileno(self) -> int:
        """Return the descriptor that is readable when something was completed."""
        return self.endpoint.fileno()

    def close(self) -> None:
        """Close the endpoint."""
        self.endpoint.close()

    def advance(self, refused: Callable[[str], None]) -> KeyedConnection | None:
        """Take what was completed; return the connection once a Connect has succeeded.

        ``refused`` is told why a Connect was refused. Raises RemoteProtocolError or OSError where
        the connection is to be closed.
        """
        self._refused = refused
        self.endpoint.disarm()
        self.endpoint.arm()
        for item in self.endpoint.reap():
            check(item, MESSAGE_SIZE)
            if item.wr_id >= FIRST_IDENT:
                self._sends.ended(item.wr_id)
            else:
                self._received(item.byte_len)
        return self._connection if self._connected else None

    def _received(self, length: int) -> None:
        message = self._desk.view[:length]
        if length >= HEAD.size:
            check_opcode(message)
        if length < COMMAND_SIZE:
            raise RemoteProtocolError(f"a command of {length} bytes; the shortest has 16")
        try:
            connect = decode_connect(message, Transport.RDMA)
        except ForeignConnect as foreign:
            self._refuse(*answer_foreign(foreign))
            return
        named = decode_keyed_rest(connect, message[COMMAND_SIZE:])
        if named is None:
            self._answer(connect, None)
            return
        desk = self._desk
        self._sends.read(
            [named], desk.address + _BODY, desk.local_key, lambda: self._body_is_read(connect)
        )

    def _body_is_read(self, connect: Connect) -> None:
        self._answer(
            connect, decode_body(bytes(self._desk.view[_BODY : _BODY + CONNECT_BODY_SIZE]))
        )

    def _answer(self, connect: Connect, names: Names | None) -> None:
        completion, outcome = answer_connect(
            self._table, Transport.RDMA, connect, names, self._connection, self._offer
        )
        if isinstance(outcome, ConnectedQueue):
            self._connection.connect(outcome, completion, self._sends)
            self._connected = True
            return
        self._refuse(completion, outcome)

    def _refuse(self, completion: bytes, refusal: Refusal) -> None:
        self._refusals += 1
        if self._refusals >= MAX_REFUSALS:
            raise RemoteProtocolError(f"{self._refusals} Connects were refused: {refusal}")
        self.endpoint.post_receive(0)
        self._sends.answer((), 0, 0, completion)
        self._refused(str(refusal))
