# SPDX-License-Identifier: BSD-3-Clause
"""RDMA connections in RoCEv2 packets: from their making by the connection manager to their end.

A packet says at which queue pair it arrives and not where it comes from, so that a connection whose
making is not in the capture cannot be followed: its packets are counted. Must not know what the
operations carry.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from vof.decode import cm
from vof.decode.budget import without_oldest
from vof.decode.keyed import KeyedConnection
from vof.decode.message import Direction, Message, Where
from vof.decode.network import Datagram, Endpoint
from vof.decode.plausible import may_be_connect
from vof.decode.queue_pair import Done, Missing, Requester
from vof.decode.rocev2 import PORT, Operation, RocePacket, parse
from vof.wire.constants import Transport

_I2T, _T2I = Direction

Open = Callable[[Endpoint, Endpoint, Where], tuple[KeyedConnection, Message]]
"""Makes a connection of an initiator with a target: returned with the message that tells of it."""

# Upper bits of the syndrome in an acknowledgement, and the codes of negative ones (§9.7.5.2.8).
_NOT_READY, _NEGATIVE = 1, 3
_NEGATIVES = {
    1: "the other end calls a request invalid",
    2: "the other end refuses access to its memory",
    3: "the other end failed a request",
}


class _Link:
    """A connection, from its request on."""

    def __init__(self, initiator: Endpoint, target: Endpoint, request: cm.Request) -> None:
        self.initiator = initiator
        self.target = target
        self.request = request
        self.requesters = {_I2T: Requester(request.psn, request.mtu)}
        self.connection: KeyedConnection | None = None
        self.foreign = False  # carries something else


class RdmaConnections:
    """All that are in a capture."""

    def __init__(self, ports: frozenset[int], open_connection: Open) -> None:
        self._ports = ports
        self._open = open_connection
        self._targets: dict[Endpoint, None] = {}  # found by a Connect, whatever their port
        self._asked: dict[tuple[bytes, int], _Link] = {}  # by address and communication id
        self._links: dict[tuple[bytes, int], tuple[_Link, Direction]] = {}  # by queue pair
        self.unknown = 0
        """Packets of connections that cannot be followed."""

    def datagram(self, datagram: Datagram, where: Where) -> Iterator[Message]:
        """Take a UDP datagram; yield the messages that it completes."""
        if datagram.destination.port != PORT:
            return
        try:
            packet = parse(datagram)
            if packet is None:
                return
            if packet.opcode.operation is Operation.MANAGEMENT:
                yield from self._management(datagram, cm.parse(packet.payload.data), where)
                return
        except struct.error:
            return
        found = self._links.get((datagram.destination.address, packet.queue_pair))
        if found is None:
            self.unknown += 1
            return
        link, direction = found
        if not link.foreign:
            yield from self._packet(link, direction, packet, where)

    def end(self, where: Where) -> Iterator[Message]:
        """Yield what is left at the end of the capture."""
        for link, direction in self._links.values():
            for done in link.requesters[direction].end():
                yield from self._operation(link, direction, done, where)
        for link, direction in self._links.values():
            if direction is _I2T and link.connection:
                yield from link.connection.end()

    def _management(
        self, datagram: Datagram, mad: cm.Request | cm.Reply | cm.Ending | None, where: Where
    ) -> Iterator[Message]:
        source, destination = datagram.source.address, datagram.destination.address
        if isinstance(mad, cm.Request):
            # The initiator's own port is of no use here: RDMA names ends by queue pairs.
            link = _Link(Endpoint(source, mad.queue_pair), Endpoint(destination, mad.port), mad)
            previous = self._asked.get((source, mad.comm_id))
            if previous is None or previous.request != mad:
                self._asked[source, mad.comm_id] = link
                without_oldest(self._asked)
        elif isinstance(mad, cm.Reply):
            asked = self._asked.get((destination, mad.remote_comm_id))
            if asked is None or _T2I in asked.requesters:
                return
            asked.requesters[_T2I] = Requester(mad.psn, asked.request.mtu)
            self._links[asked.target.address, mad.queue_pair] = asked, _I2T
            self._links[asked.initiator.address, asked.request.queue_pair] = asked, _T2I
            self._asked[source, mad.comm_id] = asked
            without_oldest(self._asked)
            without_oldest(self._links)
            if asked.target.port in self._ports or asked.target in self._targets:
                yield self._opened(asked, where)
        elif isinstance(mad, cm.Ending):
            ended = self._asked.get((source, mad.comm_id))
            ended = ended or self._asked.get((destination, mad.remote_comm_id))
            if ended and ended.connection:
                direction = _I2T if source == ended.initiator.address else _T2I
                how = mad.attribute.name.lower()
                yield from ended.connection.closed(direction, how, where)

    def _opened(self, link: _Link, where: Where) -> Message:
        link.connection, message = self._open(link.initiator, link.target, where)
        return message

    def _packet(
        self, link: _Link, direction: Direction, packet: RocePacket, where: Where
    ) -> Iterator[Message]:
        operation = packet.opcode.operation
        if operation is Operation.ACKNOWLEDGE:
            text = _refusal(packet.syndrome)
            if text and link.connection:
                yield from link.connection.note(direction, text, where)
            return
        asker = direction.other if operation is Operation.READ_RESPONSE else direction
        requester = link.requesters[asker]
        take = requester.answer if operation is Operation.READ_RESPONSE else requester.request
        for done in take(packet):
            yield from self._operation(link, asker, done, where)

    def _operation(
        self, link: _Link, direction: Direction, done: Done | Missing, where: Where
    ) -> Iterator[Message]:
        if link.connection is None and isinstance(done, Done):
            # Whatever its port: the first message of our protocol can be told.
            if not may_be_connect(done.data.data, Transport.RDMA):
                link.foreign = True
                return
            self._targets[link.target] = None
            without_oldest(self._targets)
            yield self._opened(link, where)
        connection = link.connection
        if connection is None:
            return
        if isinstance(done, Missing):
            yield from connection.lost(direction, done.packets, where)
        elif done.operation is Operation.SEND:
            yield from connection.send(direction, done.data, where)
        elif done.operation is Operation.WRITE:
            yield from connection.write(direction, done.addr, done.key, done.data, where)
        else:
            yield from connection.read(direction, done.addr, done.key, done.data, where)


def _refusal(syndrome: int) -> str:
    """Return what an acknowledgement says that is none."""
    kind, code = syndrome >> 5 & 3, syndrome & 0x1F
    if kind == _NOT_READY:
        return "the other end is not ready to receive"
    return _NEGATIVES.get(code, "") if kind == _NEGATIVE else ""
