# SPDX-License-Identifier: BSD-3-Clause
"""A connection over RDMA: commands and completions in messages, data by key.

Owns which command's buffer a READ or WRITE is for (*proposal*, examples 2.1 and 2.2), and the eager
buffers of a virtqueue (*v5*). What a request asks for is known once the target has read its header;
with eager buffers at once, since the initiator wrote that before.
"""

from __future__ import annotations

from vof.decode import descriptors as rules
from vof.decode.association import Associations
from vof.decode.buffers import Area, Place
from vof.decode.connection import Connection, Pending
from vof.decode.descriptors import keyed_descriptors, segment_descriptors, total
from vof.decode.message import Bytes, Direction, Kind, Message, Where
from vof.decode.requests import describe_answer, describe_request, may_hold_keys, secret_places
from vof.wire.constants import FIRST_RESERVED_COMMAND_ID, Command, Transport
from vof.wire.dialect import V5, Framing
from vof.wire.structs import COMMAND_SIZE, COMPLETION_SIZE, DESCRIPTOR_SIZE, HEAD
from vof.wire.v5 import KEYED_DESCRIPTOR_SIZE

_I2T, _T2I = Direction

_WITH_KEYED = frozenset(
    {Command.CONNECT, Command.VQ, Command.VQ_KEYED_EAGER_BUF, Command.GET_KEYED_EAGER_BUF}
)


class KeyedConnection(Connection):
    """RDMA operations of both ends in, messages out."""

    transport = Transport.RDMA

    def __init__(
        self, number: int, target: str, associations: Associations, *, begins: bool
    ) -> None:
        super().__init__(number, target, associations, begins=begins)
        self._latest: Pending | None = None  # the command whose buffer was used last
        self._open = set(Direction)

    # Operations.

    def send(self, direction: Direction, data: Bytes, where: Where) -> list[Message]:
        """Take a SEND."""
        size, kind = COMPLETION_SIZE, Kind.COMPLETION
        if direction is _I2T:
            size, kind = COMMAND_SIZE, Kind.COMMAND
        if not data.has(0, size):
            message = self.message(kind, where, direction)
            message.payload = data
            short = len(data.data) < size
            message.problems.append(
                f"a message of {len(data.data)} bytes; the shortest has {size}"
                if short
                else f"its first {size} bytes are not all there"
            )
            return [message]
        return [self._command(data, where) if direction is _I2T else self._answer(data, where)]

    def read(
        self, direction: Direction, addr: int, key: int, data: Bytes, where: Where
    ) -> list[Message]:
        """Take a READ and what it brought. ``direction`` is of who asked."""
        message = self.message(Kind.READ, where, direction)
        message.payload = data
        if direction is _T2I:
            self._by_key(message, addr, key, writing=False)
        else:
            message.decoded |= {"addr": addr, "key": key, "bytes": len(data.data)}
            message.problems.append("an initiator has nothing to read by key")
        return [message]

    def write(
        self, direction: Direction, addr: int, key: int, data: Bytes, where: Where
    ) -> list[Message]:
        """Take a WRITE."""
        message = self.message(Kind.WRITE, where, direction)
        message.payload = data
        if direction is _T2I:
            self._by_key(message, addr, key, writing=True)
        else:
            self._eager_write(message, addr, key)
        return [message]

    def lost(self, direction: Direction, packets: int, where: Where) -> list[Message]:
        """Take note that packets of a direction are missing."""
        message = self.message(Kind.LOST, where, direction)
        message.decoded["packets"] = packets
        return [message]

    def note(self, direction: Direction, text: str, where: Where) -> list[Message]:
        """Take note of what the transport has to say."""
        message = self.message(Kind.NOTE, where, direction)
        message.decoded["note"] = text
        return [message]

    def closed(self, direction: Direction, how: str, where: Where) -> list[Message]:
        """Take note that an end asked for the end of the connection, or agreed to it."""
        if direction not in self._open:
            return []
        self._open.remove(direction)
        message = self.message(Kind.CLOSED, where, direction)
        message.decoded["how"] = how
        if not self._open:
            message.decoded |= self.in_flight()
        return [message]

    def end(self) -> list[Message]:
        """Return what is left at the end of the capture."""
        return self.left_over() if self._open else []

    # Commands.

    def _command(self, data: Bytes, where: Where) -> Message:
        head, rest = data.data[:COMMAND_SIZE], data.data[COMMAND_SIZE:]
        pending = self.command(head, where)
        message = pending.message
        message.head = data.data
        size = 0
        if "ndesc" in message.fields:
            size = self._segments(pending, rest)
        elif pending.command in _WITH_KEYED:
            size = self._keyed(pending, rest)
        elif pending.command is None:
            size = len(rest)  # of what nobody knows
        if len(rest) != size or data.lost:
            message.problems.append(
                f"the message has {len(rest)} bytes of descriptors instead of {size}"
            )
        pending.readable_size = pending.readable.size
        pending.writable_size = pending.writable.size
        if pending.command is Command.VQ_KEYED_EAGER_BUF:
            self._eager_command(pending)
        if pending.is_request and not pending.readable_size:
            self._readable_known(message, pending)  # nothing comes by READ
        if pending.is_request:
            message.decoded["readable"] = pending.readable_size
            message.decoded["writable"] = pending.writable_size
        return message

    def _segments(self, pending: Pending, rest: bytes) -> int:
        """Take the segment descriptors of a command; return the bytes that should be there."""
        message = pending.message
        size: int = message.fields["ndesc"] * DESCRIPTOR_SIZE
        message.descriptors = segment_descriptors(rest[:size])
        message.problems += rules.command_problems(pending.command, message.descriptors)
        readable, writable = (
            part(message.descriptors) for part in (rules.readable, rules.writable)
        )
        pending.readable, pending.writable = Area(readable), Area(writable)
        if pending.dialect.framing is Framing.SEGMENTS and rules.unkeyed(readable):
            return size + self._inline(pending, rest[size:])
        return size

    def _inline(self, pending: Pending, data: bytes) -> int:
        """Take the bytes of *v2*'s descriptors that are not keyed, which are in the message (ours);
        return how many there should be."""
        message = pending.message
        place = start = 0
        for each in pending.readable.descriptors:
            if rules.unkeyed([each]):
                part = data[place : place + each["length"]]
                pending.readable.move(start, Bytes(part))
                place += each["length"]
            start += each["length"]
        message.head, message.payload = message.head[: -len(data) or None], Bytes(data)
        self._readable_known(message, pending)
        return place

    def _keyed(self, pending: Pending, rest: bytes) -> int:
        """The same with keyed descriptors."""
        message = pending.message
        fields = message.fields
        message.descriptors = keyed_descriptors(rest)
        count = len(message.descriptors)
        out_length = fields.get("out_length", 0)
        match pending.command:
            case Command.CONNECT:
                count, out_length = int(fields["length"] > 0), fields["length"]
                said = out_length
            case Command.VQ:
                said = out_length + fields["in_length"]
            case Command.VQ_KEYED_EAGER_BUF:
                out_length, said = 0, fields["in_length"]
            case _:
                count, out_length, said = 1, 0, total(message.descriptors)
        readable, writable = rules.divided(message.descriptors, out_length)
        pending.readable, pending.writable = Area(readable), Area(writable)
        if total(message.descriptors) != said:
            there = total(message.descriptors)
            message.problems.append(f"it says {said} bytes, its descriptors have {there}")
        limit = self.association.max_descs
        if pending.is_request and limit and count > limit:
            message.problems.append(f"{count} keyed descriptors, where {limit} are allowed")
        return count * KEYED_DESCRIPTOR_SIZE

    def _eager_command(self, pending: Pending) -> None:
        """Say what a request asks for that is in the eager buffers, and check that it is there."""
        message = pending.message
        offset, length = message.fields["out_offset"], message.fields["out_length"]
        pending.readable_size = length
        eager = self.association.eager.get(self.index)
        if eager is None:
            return
        if offset + length > eager.size:
            message.problems.append(
                f"{length} bytes at {offset} are not within the eager buffers of {eager.size}"
            )
        for other in self._pending.values():
            fields = other.message.fields
            if other is pending or "out_offset" not in fields:
                continue
            if fields["out_offset"] < offset + length and (
                offset < fields["out_offset"] + fields["out_length"]
            ):
                message.problems.append(f"its eager bytes overlap those of {other.command_id}")
        pending.request = describe_request(
            self.association.device, eager.read(offset, length), length, pending.writable_size
        )
        if pending.request:
            message.decoded["request"] = pending.request

    # Data.

    def _by_key(self, message: Message, addr: int, key: int, *, writing: bool) -> None:
        """Find the command whose buffer the target used, and take note of the data."""
        data = message.payload
        message.decoded |= {"addr": addr, "key": key, "bytes": len(data.data)}
        pending, area, place = self._find(addr, key, writing=writing)
        if pending is None or area is None or place is None:
            message.problems.append("no command in flight names this memory")
            return
        self._latest = pending
        message.name, message.command_id = pending.message.name, pending.command_id
        message.decoded["offset"] = place.offset
        if len(data.data) > place.room:
            message.problems.append(f"the buffer has {place.room} bytes from there on")
        area.move(place.offset, data)
        if writing:
            return
        if pending.command is Command.CONNECT:
            self.connect_body(area.read(0, area.known), message)
        elif pending.is_request:
            self._readable_known(message, pending, place.offset)

    def _readable_known(self, message: Message, pending: Pending, offset: int = 0) -> None:
        """Say what a request asks for, once that is known; the payload begins at ``offset`` of its
        device-readable bytes."""
        device, area = self.association.device, pending.readable
        known = area.read(0, area.known)
        request = describe_request(device, known, area.size, pending.writable_size)
        if request and request != pending.request:
            pending.request = message.decoded["request"] = request
        end = offset + len(message.payload.data)
        secret = [
            range(max(part.start, offset) - offset, min(part.stop, end) - offset)
            for part in secret_places(device, known)
        ]
        message.payload = message.payload._replace(secret=tuple(part for part in secret if part))

    def _find(
        self, addr: int, key: int, *, writing: bool
    ) -> tuple[Pending | None, Area | None, Place | None]:
        for pending in self._pending.values():
            area = pending.writable if writing else pending.readable
            if place := area.find(addr, key):
                return pending, area, place
        return None, None, None

    def _eager_write(self, message: Message, addr: int, key: int) -> None:
        """Take note of what the initiator wrote ahead of its command."""
        data = message.payload
        message.name = "vq_keyed_eager_buf"
        message.decoded |= {"addr": addr, "key": key, "bytes": len(data.data)}
        # Its command, which tells what of it may be a key, comes later.
        if may_hold_keys(self.association.device):
            message.payload = data._replace(secret=(range(len(data.data)),))
        eager = self.association.eager.get(self.index)
        place = eager.find(addr, key) if eager else None
        if eager is None or place is None:
            message.problems.append("no eager buffer is there")
            return
        message.decoded["offset"] = place.offset
        if len(data.data) > place.room:
            message.problems.append(f"the eager buffer has {place.room} bytes from there on")
        eager.move(place.offset, data)

    # Completions.

    def _answer(self, data: Bytes, where: Where) -> Message:
        head = data.data[:COMPLETION_SIZE]
        _status, command_id = HEAD.unpack_from(head)
        pending = self.pending(command_id)
        if command_id >= FIRST_RESERVED_COMMAND_ID and pending is None:
            return self.event(head, where)
        if pending is None and not command_id:
            # The reference target's, of a crypto device or a refused Connect.
            pending = self._latest if self._latest in self._pending.values() else self.oldest()
        looks_like = Command.VQ if self.association.dialect is V5 and self.index >= 0 else None
        message = self.completion(head, pending, where, looks_like)
        if rest := data.data[COMPLETION_SIZE:]:
            v2 = pending and pending.dialect.framing is Framing.SEGMENTS
            if pending and v2 and rules.unkeyed(pending.writable.descriptors):
                message.payload = Bytes(rest)
            else:
                message.problems.append(f"the message has {len(data.data)} bytes instead of 16")
        if pending is None:
            return message
        if pending.command is Command.GET_KEYED_EAGER_BUF:
            self._eager_buffers(message, pending)
        if pending.is_request:
            self._request_done(message, pending)
        return message

    def _request_done(self, message: Message, pending: Pending) -> None:
        area, written = pending.writable, pending.written
        message.problems += rules.room_problems(written, area.size)
        known = area.read(0, area.known)
        answer = describe_answer(pending.request, known, area.size, written)
        if answer:
            message.decoded["answer"] = answer

    def _eager_buffers(self, message: Message, pending: Pending) -> None:
        """Learn of a virtqueue's eager buffers."""
        count = message.fields["descs"]
        size = count * KEYED_DESCRIPTOR_SIZE
        if count > pending.message.fields["descs"]:
            message.problems.append(f"{pending.message.fields['descs']} descriptors were asked for")
        content = pending.writable.read(0, size)
        if message.fields["status"] or not content.has(0, size):
            return
        buffers = keyed_descriptors(content.data)
        message.decoded["buffers"] = buffers
        self.association.eager[pending.message.fields["vq_index"]] = Area(buffers, whole=True)
