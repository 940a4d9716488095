# SPDX-License-Identifier: BSD-3-Clause
"""Turns a file into messages: finds out its kind, and what is to be done with each part.

Owns the numbers of connections. Must not know how messages are shown.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader

from vof.decode.association import Associations
from vof.decode.budget import Budget, without_oldest
from vof.decode.capture import Packet, is_capture, read_capture
from vof.decode.flows import TcpConnections
from vof.decode.keyed import KeyedConnection
from vof.decode.message import Bytes, Direction, Kind, Message, Where
from vof.decode.network import Datagram, Endpoint, Segment, dissect
from vof.decode.queue_pair import MAX_READS
from vof.decode.recording import Line, is_recording, read_recording
from vof.decode.roce import RdmaConnections
from vof.decode.stream import StreamConnection
from vof.errors import ConfigError
from vof.wire.constants import DEFAULT_PORT, V5_PORT

_I2T, _T2I = Direction


DEFAULT_PORTS = frozenset({DEFAULT_PORT, V5_PORT})
"""Of targets: the reference target's, and that of the text."""


@dataclass(frozen=True)
class Assumptions:
    """The answers to be assumed where the file does not tell."""

    ports: frozenset[int] = DEFAULT_PORTS
    """Of targets."""
    device_id: int | None = None
    """The device type where it was not asked for."""


def decode(file: BufferedReader, assumptions: Assumptions) -> Iterator[Message]:
    """Yield what is in a capture or a recording.

    Raises ConfigError where it is neither, where it is damaged or cut off, and where nothing of
    this protocol is in it; what was found before is yielded first.
    """
    beginning = file.peek(4)
    if not beginning:
        raise ConfigError("the file is empty")
    if is_capture(beginning):
        return _Capture(file, assumptions).messages()
    if is_recording(beginning):
        return _Recording(file, assumptions).messages()
    raise ConfigError("neither a capture (pcap, pcapng) nor a recording (JSON Lines)")


class _Capture:
    """Packets."""

    def __init__(self, file: BufferedReader, assumptions: Assumptions) -> None:
        self._file = file
        self._associations = Associations(assumptions.device_id)
        self._budget = Budget()
        self._tcp = TcpConnections(assumptions.ports, self._open_stream, self._budget)
        self._rdma = RdmaConnections(assumptions.ports, self._open_keyed)
        self._connections = 0
        self._packets = 0

    def messages(self) -> Iterator[Message]:
        where = Where(0)
        cut: ConfigError | None = None
        packets = read_capture(self._file)
        while True:
            try:
                packet = next(packets, None)
            except ConfigError as error:
                cut, packet = error, None
            if packet is None:
                break
            if not self._packets:
                yield Message(Kind.CAPTURE, Where(0, packet.time))
            self._packets = packet.number
            where = Where(packet.number, packet.time)
            yield from self._packet(packet, where)
        yield from self._tcp.end(where)
        yield from self._rdma.end(where)
        if self._rdma.unknown:
            message = Message(Kind.LOST, where)
            message.decoded["packets"] = self._rdma.unknown
            message.problems.append("RDMA packets of connections whose beginning is not here")
            yield message
        if cut:
            raise cut
        if not self._connections:
            raise ConfigError(
                f"no Virtio-over-Fabrics connection is in it ({self._packets} packets); if the "
                "target has another port, name it with --port"
            )

    def _packet(self, packet: Packet, where: Where) -> Iterator[Message]:
        carried = dissect(packet)
        if isinstance(carried, Segment):
            yield from self._tcp.segment(carried, where)
        elif isinstance(carried, Datagram):
            yield from self._rdma.datagram(carried, where)

    def _open_stream(
        self, initiator: Endpoint, target: Endpoint, begins: bool, where: Where
    ) -> tuple[StreamConnection, Message]:
        connection = StreamConnection(
            self._connections,
            str(target),
            self._associations,
            begins=begins,
            budget=self._budget,
        )
        return connection, self._opened(connection, str(initiator), where)

    def _open_keyed(
        self, initiator: Endpoint, target: Endpoint, where: Where
    ) -> tuple[KeyedConnection, Message]:
        connection = KeyedConnection(
            self._connections, str(target), self._associations, begins=True
        )
        address = str(initiator).rpartition(":")[0]
        return connection, self._opened(connection, address, where)

    def _opened(
        self, connection: StreamConnection | KeyedConnection, initiator: str, where: Where
    ) -> Message:
        self._connections += 1
        message = connection.opened(initiator, where)
        if not connection.begins:
            message.problems.append("its beginning is not in the capture")
        return message


class _Recording:
    """Lines."""

    def __init__(self, file: BufferedReader, assumptions: Assumptions) -> None:
        self._file = file
        self._assumptions = assumptions
        self._associations = Associations(assumptions.device_id)
        self._connections: dict[int, StreamConnection | KeyedConnection] = {}
        self._reads: dict[int, deque[tuple[int, int]]] = {}
        self._transport = ""

    def messages(self) -> Iterator[Message]:
        about, lines = read_recording(self._file)
        self._transport = about["transport"]
        message = Message(Kind.CAPTURE, Where(1))
        message.decoded |= about
        yield message
        for line in lines:
            if line.begins:
                yield from self._end()
                self._associations = Associations(self._assumptions.device_id)
            if line.note:
                message = Message(Kind.NOTE, line.where, line.connection)
                message.decoded["note"] = line.note
                yield message
            elif line.connection is not None:
                yield from self._line(line, line.connection)
        yield from self._end()

    def _end(self) -> Iterator[Message]:
        for connection in self._connections.values():
            yield from connection.end()
        self._connections.clear()

    def _line(self, line: Line, number: int) -> Iterator[Message]:
        connection = self._connections.get(number)
        if connection is None:
            kind = StreamConnection if self._transport == "tcp" else KeyedConnection
            connection = kind(number, "", self._associations, begins=True)
            self._connections[number] = connection
            if oldest := without_oldest(self._connections):
                yield from oldest.end()
            message = connection.message(Kind.CONNECTION, line.where)
            message.decoded["transport"] = self._transport
            yield message
        if line.direction is None:
            message = connection.message(Kind.NOTE, line.where)
            message.decoded["note"] = line.event
            yield message
        elif line.event in {"fin", "rst"}:
            yield from connection.closed(line.direction, line.event, line.where)
        elif isinstance(connection, StreamConnection):
            yield from connection.data(line.direction, line.data, line.where)
        else:
            yield from self._operation(connection, line, line.direction)

    def _operation(
        self, connection: KeyedConnection, line: Line, direction: Direction
    ) -> Iterator[Message]:
        data, where = Bytes(line.data), line.where
        reads = self._reads.setdefault(connection.number, deque(maxlen=MAX_READS))
        match line.op:
            case "SEND":
                yield from connection.send(direction, data, where)
            case "READ_REQ":
                reads.append((line.remote_addr, line.rkey))
            case "READ_RESP" if reads:
                yield from connection.read(direction.other, *reads.popleft(), data, where)
            case "WRITE":
                yield from connection.write(direction, line.remote_addr, line.rkey, data, where)
            case "CM_DREQ" | "CM_DREP" | "CM_REJ":
                how = line.op.removeprefix("CM_").lower()
                yield from connection.closed(direction, how, where)
            case "CM_REQ" | "CM_REP" | "CM_RTU":
                pass
            case _:
                raise ConfigError(f"line {where.number} of the recording: op {line.op!r}")
