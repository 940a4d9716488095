# SPDX-License-Identifier: BSD-3-Clause
"""TCP connections in a capture, and which of them carry Virtio-over-Fabrics.

Those of a port that is known do; of the others those that begin with a Connect, if their beginning
is in the capture, and all others of the same target. Must not know what the streams carry beyond
that.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

from vof.decode.budget import Budget, without_oldest
from vof.decode.message import Direction, Message, Where
from vof.decode.network import Endpoint, Segment
from vof.decode.plausible import may_be_connect
from vof.decode.stream import StreamConnection
from vof.decode.tcp import HalfStream, Piece
from vof.wire.constants import Transport
from vof.wire.structs import COMMAND_SIZE, DESCRIPTOR_SIZE

_I2T, _T2I = Direction

_CONNECT_HEAD = COMMAND_SIZE + DESCRIPTOR_SIZE

Open = Callable[[Endpoint, Endpoint, bool, Where], tuple[StreamConnection, Message]]
"""Makes a connection of an initiator with a target, whose beginning was seen or not: returned with
the message that tells of it."""


class _Flow:
    """One TCP connection."""

    def __init__(
        self, initiator: Endpoint, target: Endpoint, budget: Budget, *, begins: bool
    ) -> None:
        self.initiator = initiator
        self.target = target
        self.begins = begins
        self.halves = {direction: HalfStream(budget) for direction in Direction}
        self.connection: StreamConnection | None = None
        self.held: list[Piece] = []  # of the initiator, until it is known what this is
        self.foreign = False  # carries something else

    def direction(self, segment: Segment) -> Direction:
        return _I2T if segment.source == self.initiator else _T2I


class TcpConnections:
    """All that are in a capture."""

    def __init__(self, ports: frozenset[int], open_connection: Open, budget: Budget) -> None:
        self._ports = ports
        self._budget = budget
        self._open = open_connection
        self._flows: dict[frozenset[Endpoint], _Flow] = {}
        self._targets: dict[Endpoint, None] = {}  # found by a Connect, whatever their port

    def segment(self, segment: Segment, where: Where) -> Iterator[Message]:
        """Take a segment; yield the messages that it completes."""
        ends = frozenset((segment.source, segment.destination))
        flow = self._flows.pop(ends, None)
        if segment.syn:
            flow = yield from self._syn(segment, flow, where)
        elif flow is None:
            flow = self._begun_before(segment)
        self._flows[ends] = flow  # the latest that something was seen of
        if oldest := without_oldest(self._flows):
            yield from self._end(oldest, where)
        if not segment.syn:
            yield from self._segment(flow, segment, where)

    def _segment(self, flow: _Flow, segment: Segment, where: Where) -> Iterator[Message]:
        if flow.foreign:
            return
        if flow.connection is None and self._known(flow.target):
            yield self._opened(flow, where)
        direction = flow.direction(segment)
        if segment.acknowledged is not None:
            half = flow.halves[direction.other]
            for piece in half.acknowledged(segment.acknowledged, where):
                yield from self._piece(flow, direction.other, piece)
        half = flow.halves[direction]
        for piece in half.segment(segment.sequence, segment.payload, segment.size, where):
            yield from self._piece(flow, direction, piece)
        if segment.fin or segment.rst:
            for piece in half.end(where):
                yield from self._piece(flow, direction, piece)
            if flow.connection:
                how = "fin" if segment.fin else "rst"
                yield from flow.connection.closed(direction, how, where)

    def end(self, where: Where) -> Iterator[Message]:
        """Yield what is left at the end of the capture."""
        for flow in self._flows.values():
            yield from self._end(flow, where)

    def _end(self, flow: _Flow, where: Where) -> Iterator[Message]:
        for direction, half in flow.halves.items():
            for piece in half.end(where):
                yield from self._piece(flow, direction, piece)
        if flow.connection:
            yield from flow.connection.end()

    def _syn(
        self, segment: Segment, flow: _Flow | None, where: Where
    ) -> Generator[Message, None, _Flow]:
        """Return the connection that a segment with SYN belongs to; yield the end of another."""
        answer = segment.acknowledged is not None
        if flow is None or (not answer and not flow.halves[_I2T].began(segment.sequence + 1)):
            # A new connection, of the same ports perhaps.
            if flow:
                yield from self._end(flow, where)
            initiator, target = segment.source, segment.destination
            if answer:
                initiator, target = target, initiator
            flow = _Flow(initiator, target, self._budget, begins=True)
        flow.halves[flow.direction(segment)].begin(segment.sequence + 1)
        if segment.acknowledged is not None:
            flow.halves[_I2T].begin(segment.acknowledged)
        return flow

    def _begun_before(self, segment: Segment) -> _Flow:
        """Return the flow of a connection whose beginning was not seen."""
        initiator, target = segment.source, segment.destination
        if not self._known(target):
            initiator, target = target, initiator
        flow = _Flow(initiator, target, self._budget, begins=False)
        flow.foreign = not self._known(target)
        return flow

    def _known(self, target: Endpoint) -> bool:
        return target.port in self._ports or target in self._targets

    def _opened(self, flow: _Flow, where: Where) -> Message:
        flow.connection, message = self._open(flow.initiator, flow.target, flow.begins, where)
        return message

    def _piece(self, flow: _Flow, direction: Direction, piece: Piece) -> Iterator[Message]:
        if flow.connection:
            yield from _hand_over(flow.connection, direction, piece)
            return
        if flow.foreign:
            return
        flow.held.append(piece)
        head = b"".join(each.data for each in flow.held)
        if direction is _T2I or piece.lost or len(head) >= _CONNECT_HEAD:
            if direction is _T2I or piece.lost or not may_be_connect(head, Transport.TCP):
                flow.foreign = True
                flow.held.clear()
                return
            self._targets[flow.target] = None
            without_oldest(self._targets)
            yield self._opened(flow, piece.where)
            held, flow.held = flow.held, []
            for each in held:
                if flow.connection:
                    yield from _hand_over(flow.connection, _I2T, each)


def _hand_over(
    connection: StreamConnection, direction: Direction, piece: Piece
) -> Iterator[Message]:
    if piece.lost:
        yield from connection.lost(direction, piece.lost, piece.where)
    else:
        yield from connection.data(direction, piece.data, piece.where)
