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
from vof.decode.connection import PLAIN, Connection, Pending
from vof.decode.descriptors import keyed_descriptors, segment_descriptors
from vof.decode.message import Bytes, Direction, Kind, Message, Where
from vof.decode.requests import describe_answer, describe_request, may_hold_keys, secret_places
from vof.wire.constants import FIRST_RESERVED_COMMAND_ID, LaterOpcode, Opcode, Transport
from vof.wire.keyed import KEYED_DESCRIPTOR_SIZE
from vof.wire.structs import COMMAND_SIZE, COMPLETION_SIZE, DESCRIPTOR_SIZE, HEAD

_I2T, _T2I = Direction

_SEGMENTS = frozenset({Opcode.CONNECT, Opcode.VRING})


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
        if pending is None:
            message = self.message(Kind.COMMAND, where, _I2T)
            opcode, message.command_id = HEAD.unpack_from(head)
            message.problems.append(f"opcode {opcode:#06x} is not known")
            message.head = data.data
            return message
        message, opcode = pending.message, pending.form.opcode
        message.head = data.data
        segments = opcode in _SEGMENTS
        message.descriptors = (segment_descriptors if segments else keyed_descriptors)(rest)
        each_size = DESCRIPTOR_SIZE if segments else KEYED_DESCRIPTOR_SIZE
        if segments:
            pending.readable = Area(rules.readable(message.descriptors))
            pending.writable = Area(rules.writable(message.descriptors))
            count = message.fields["ndesc"]
            message.problems += rules.command_problems(opcode, message.descriptors)
        else:
            out_descs = message.fields.get("out_descs", 0)
            pending.readable = Area(message.descriptors[:out_descs])
            pending.writable = Area(message.descriptors[out_descs:])
            count = self._keyed_count(pending, len(rest) // each_size)
            message.problems += self._length_problems(pending)
        if len(rest) != count * each_size or data.lost:
            message.problems.append(
                f"the message has {len(rest)} bytes of descriptors instead of {count * each_size}"
            )
        pending.readable_size = pending.readable.size
        pending.writable_size = pending.writable.size
        if opcode == LaterOpcode.VQ_KEYED_EAGER_BUF:
            self._eager_command(pending)
        if pending.form.is_request:
            message.decoded["readable"] = pending.readable_size
            message.decoded["writable"] = pending.writable_size
            if pending.request:
                message.decoded["request"] = pending.request
        return message

    def _keyed_count(self, pending: Pending, there: int) -> int:
        """Return how many keyed descriptors follow a command, as it says."""
        fields = pending.message.fields
        if pending.form.opcode == LaterOpcode.VQ:
            return fields["out_descs"] + fields["in_descs"]
        if pending.form.opcode == LaterOpcode.VQ_KEYED_EAGER_BUF:
            return there  # as many as there are
        return 1 if pending.form.opcode == LaterOpcode.GET_KEYED_EAGER_BUF else 0

    def _length_problems(self, pending: Pending) -> list[str]:
        if not pending.form.is_request:
            return []
        fields = pending.message.fields
        problems = []
        eager = pending.form.opcode == LaterOpcode.VQ_KEYED_EAGER_BUF
        sides = [("in_length", pending.writable)]
        if not eager:
            sides.insert(0, ("out_length", pending.readable))
        for name, area in sides:
            if area.size != fields[name]:
                problems.append(f"{name} is {fields[name]}, its descriptors have {area.size} bytes")
        limit = self.association.max_descs.get(self.index, 255)
        most = max(len(area.descriptors) for area in (pending.readable, pending.writable))
        if most > limit:
            problems.append(f"{most} keyed descriptors in one direction, where {limit} are allowed")
        return problems

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
        message.name, message.command_id = pending.form.name, pending.command_id
        message.decoded["offset"] = place.offset
        if len(data.data) > place.room:
            message.problems.append(f"the buffer has {place.room} bytes from there on")
        area.move(place.offset, data)
        if writing:
            return
        if pending.form.opcode == Opcode.CONNECT:
            self.connect_body(pending.message, area.read(0, area.known), message)
        elif pending.form.is_request:
            self._readable_came(message, pending, area, place)

    def _readable_came(self, message: Message, pending: Pending, area: Area, place: Place) -> None:
        """Say what a request asks for, once that is known."""
        device = self.association.device
        known = area.read(0, area.known)
        request = describe_request(device, known, area.size, pending.writable_size)
        if request and request != pending.request:
            pending.request = message.decoded["request"] = request
        end = place.offset + len(message.payload.data)
        secret = [
            range(max(part.start, place.offset) - place.offset, min(part.stop, end) - place.offset)
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
        message = self.completion(head, pending, where, PLAIN)
        if len(data.data) != COMPLETION_SIZE:
            message.problems.append(f"the message has {len(data.data)} bytes instead of 16")
        if pending is None:
            return message
        if pending.form.opcode == LaterOpcode.GET_KEYED_EAGER_BUF:
            self._eager_buffers(message, pending)
        if pending.form.is_request:
            self._request_done(message, pending)
        return message

    def _request_done(self, message: Message, pending: Pending) -> None:
        fields, area = message.fields, pending.writable
        if pending.form.opcode == Opcode.VRING:
            written = fields["value"] & 0xFFFF_FFFF
            message.problems += rules.length_problems(written, 0, area.size)
        else:
            written = fields["used"] or fields["length"]
            message.decoded["written"] = written
            message.problems += rules.length_problems(fields["length"], fields["used"], area.size)
        answer = describe_answer(pending.request, area.read(0, area.size), written)
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
        message.decoded["descs"] = count
        message.decoded["buffers"] = buffers
        self.association.eager[pending.message.fields["vq_index"]] = Area(buffers, whole=True)
