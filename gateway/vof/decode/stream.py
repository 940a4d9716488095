# SPDX-License-Identifier: BSD-3-Clause
"""A connection over TCP: commands and completions on two streams.

Owns what follows the 16 bytes of each (*proposal*, examples 1.1 and 1.2; *v5*, the vq command). A
completion is read as its command says, which the other direction has brought.

Two defects of the reference target are followed: completions with command id 0, whatever their
command had, and descriptors and data behind a refusal that says it has none.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

from vof.decode import descriptors as rules
from vof.decode.association import Associations
from vof.decode.budget import MAX_DATA, Budget
from vof.decode.buffers import Area
from vof.decode.commands import Form, form_of
from vof.decode.connection import CONTROL, PLAIN, Connection, Pending
from vof.decode.descriptors import Descriptor, segment_descriptors, total
from vof.decode.inlet import Cut, Found, Inlet, Parser, Want
from vof.decode.message import NO_BYTES, Bytes, Direction, Kind, Message, Where
from vof.decode.plausible import looks_returned, may_be_command, may_be_completion
from vof.decode.requests import describe_answer, describe_request, secret_places
from vof.wire.constants import FIRST_RESERVED_COMMAND_ID, LaterOpcode, Opcode, Transport
from vof.wire.dialect import V2, V5
from vof.wire.structs import (
    COMMAND_SIZE,
    COMPLETION_SIZE,
    DESCRIPTOR_SIZE,
    HEAD,
    Completion,
    unpack,
)

_WITH_DESCRIPTORS = frozenset({Opcode.CONNECT, Opcode.VRING})
_BY_LENGTH = frozenset({LaterOpcode.VQ, LaterOpcode.VQ_KEYED_EAGER_BUF})

_I2T, _T2I = Direction


class StreamConnection(Connection):
    """Bytes of both directions in, messages out."""

    transport = Transport.TCP

    def __init__(
        self,
        number: int,
        target: str,
        associations: Associations,
        *,
        begins: bool,
        budget: Budget | None = None,
    ) -> None:
        super().__init__(number, target, associations, begins=begins)
        self._out: list[Message] = []
        budget = budget or Budget()
        self._inlets = {
            _I2T: Inlet(
                self._commands, self._may_be_command, lambda gap: self._found(_I2T, gap), budget
            ),
            _T2I: Inlet(
                self._completions,
                self._may_be_completion,
                lambda gap: self._found(_T2I, gap),
                budget,
            ),
        }
        self._refused: Pending | None = None
        self._open = set(Direction)
        if begins:
            for inlet in self._inlets.values():
                inlet.begin()

    def data(self, direction: Direction, data: bytes, where: Where) -> list[Message]:
        """Take the next bytes of a direction; return the messages they complete."""
        self._inlets[direction].data(data, where)
        return self._taken()

    def lost(self, direction: Direction, count: int, where: Where) -> list[Message]:
        """Take note that ``count`` bytes of a direction are missing."""
        self._inlets[direction].lost(count, where)
        return self._taken()

    def closed(self, direction: Direction, how: str, where: Where) -> list[Message]:
        """Take note that a direction has ended, by ``fin``, or both have by ``rst``."""
        if direction not in self._open:
            return []
        ended = {direction} if how == "fin" else set(self._open)
        for each in ended:
            self._inlets[each].end()
        self._open -= ended
        message = self.message(Kind.CLOSED, where, direction)
        message.decoded["how"] = how
        if not self._open:
            message.decoded |= self.in_flight()
        self._out.append(message)
        return self._taken()

    def end(self) -> list[Message]:
        """Return what is left at the end of the capture."""
        for direction in self._open:
            self._inlets[direction].end()
        if self._open:
            self._out += self.left_over()
        return self._taken()

    def _taken(self) -> list[Message]:
        taken, self._out = self._out, []
        return taken

    def _found(self, direction: Direction, gap: Found) -> None:
        message = self.message(Kind.LOST, self._inlets[direction].where, direction)
        message.decoded |= {"lost": gap.lost, "skipped": gap.skipped}
        self._out.append(message)

    def _may_be_command(self, data: bytes) -> bool:
        return may_be_command(data, self.association.dialects)

    def _may_be_completion(self, data: bytes) -> bool:
        return may_be_completion(data, by_length=self._by_length)

    @property
    def _by_length(self) -> bool:
        """The completion of a command that was not seen has a length, not descriptors."""
        return self.queue != CONTROL and self.association.dialect is V5

    # Commands.

    def _commands(self) -> Parser:
        inlet = self._inlets[_I2T]
        while True:
            head = (yield Want(COMMAND_SIZE)).data
            pending = self.command(head, inlet.where)
            if pending is None:
                message = self.message(Kind.COMMAND, inlet.where, _I2T)
                opcode, message.command_id = HEAD.unpack_from(head)
                message.head = head
                message.problems.append(f"opcode {opcode:#06x} is not known")
                self._out.append(message)
                return
            whole = yield from self._command_body(pending)
            self._command_done(pending)
            if not whole:
                return

    def _command_body(self, pending: Pending) -> Generator[Want, Bytes, bool]:
        """Read what follows the 16 bytes of a command; return False where it did not all come."""
        message, opcode = pending.message, pending.form.opcode
        if opcode in _WITH_DESCRIPTORS:
            table = yield from self._table(message.fields["ndesc"], message)
            if table is None:
                return False
            message.problems += rules.command_problems(opcode, message.descriptors)
            pending.readable = Area(rules.readable(message.descriptors))
            pending.writable = Area(rules.writable(message.descriptors))
            pending.readable_size = pending.readable.size
            pending.writable_size = pending.writable.size
        elif opcode in _BY_LENGTH:
            pending.readable_size = message.fields["out_length"]
            pending.writable_size = message.fields["in_length"]
            if opcode != LaterOpcode.VQ:
                message.problems.append("there are no eager buffers on a stream")
                pending.readable_size = 0
            elif message.fields["out_descs"] or message.fields["in_descs"]:
                message.problems.append("there are no keyed descriptors on a stream")
        return (yield from self._payload(pending.readable_size, message))

    def _command_done(self, pending: Pending) -> None:
        message = pending.message
        message.where = self._inlets[_I2T].where
        if pending.form.opcode == Opcode.CONNECT:
            self.connect_body(message, message.payload, message)
        elif pending.form.is_request:
            device = self.association.device
            message.decoded["readable"] = pending.readable_size
            message.decoded["writable"] = pending.writable_size
            pending.request = describe_request(
                device, message.payload, pending.readable_size, pending.writable_size
            )
            if pending.request:
                message.decoded["request"] = pending.request
            secret = secret_places(device, message.payload)
            message.payload = message.payload._replace(secret=secret)
        self._out.append(message)
        # In flight it may be for long: the data is not needed any more.
        pending.message = replace(message, payload=NO_BYTES, head=b"", descriptors=[])

    # What both directions have behind their 16 bytes.

    def _table(self, count: int, message: Message) -> Generator[Want, Bytes, bytes | None]:
        """Read descriptors; return None where they did not all come."""
        try:
            table = (yield Want(count * DESCRIPTOR_SIZE)).data if count else b""
        except Cut:
            message.problems.append(f"its {count} descriptors are not all there")
            return None
        message.head += table
        message.descriptors = segment_descriptors(table)
        return table

    def _payload(self, size: int, message: Message) -> Generator[Want, Bytes, bool]:
        """Read the data of a message; return False where it did not all come."""
        if size > MAX_DATA:
            message.problems.append(f"{size} bytes cannot follow it")
            return False
        try:
            if size:
                message.payload = yield Want(size, payload=True)
        except Cut:
            direction = message.direction or _I2T
            message.payload = self._inlets[direction].rest()
            there = len(message.payload.data) - message.payload.lost
            message.problems.append(f"of its {size} bytes of data {there} are there")
            return False
        if lost := message.payload.lost:
            message.problems.append(f"of its {size} bytes of data {size - lost} are there")
        return True

    # Completions.

    def _completions(self) -> Parser:
        inlet = self._inlets[_T2I]
        while True:
            head = (yield Want(COMPLETION_SIZE)).data
            _status, command_id = HEAD.unpack_from(head)
            refused, self._refused = self._refused, None
            if refused and looks_returned(head, refused.writable.descriptors):
                whole = yield from self._after_refusal(head, refused)
            elif command_id >= FIRST_RESERVED_COMMAND_ID and not self.pending(command_id):
                self._out.append(self.event(head, inlet.where))
                continue
            else:
                whole = yield from self._completion(head)
            if not whole:
                return

    def _completion(self, head: bytes) -> Generator[Want, Bytes, bool]:
        """Read and tell a completion; return False where it did not all come."""
        inlet = self._inlets[_T2I]
        _status, command_id, ndesc, _reserved, _value = unpack(Completion, head)
        pending = self.pending(command_id)
        draft = self.message(Kind.COMPLETION, inlet.where, _T2I)
        form = self._form(pending, ndesc)
        size: int | None = 0
        if form.opcode == Opcode.VRING:
            table = yield from self._table(ndesc, draft)
            size = None if table is None else total(draft.descriptors)
        pending = self._command_of(command_id, pending, draft.descriptors)
        message = self.completion(head, pending, inlet.where, form)
        message.head += draft.head
        message.descriptors = draft.descriptors
        message.problems += draft.problems
        if form.opcode in _BY_LENGTH:
            size = message.fields.get("length", 0)  # none where it was taken for another's
        whole = False
        if size is not None:
            whole = yield from self._payload(size, message)
            self._completion_done(pending, message)
        message.where = inlet.where
        self._out.append(message)
        return whole

    def _form(self, pending: Pending | None, ndesc: int) -> Form:
        """Return how to read a completion; by itself where its command is not known."""
        if pending and (pending.form.is_request or not ndesc):
            return pending.form
        if pending is None and self._by_length:
            return form_of(LaterOpcode.VQ, [V5]) or PLAIN
        if ndesc:
            return form_of(Opcode.VRING, [V2]) or PLAIN
        return PLAIN

    def _command_of(
        self, command_id: int, pending: Pending | None, returned: Sequence[Descriptor]
    ) -> Pending | None:
        """Return the command of a completion, which may have command id 0 in place of its own."""
        if command_id:
            return pending
        if not returned:
            return pending or self.oldest()
        ids = {each["id"] for each in returned}

        def fits(other: Pending) -> bool:
            return ids <= {each["id"] for each in other.writable.descriptors}

        return pending if pending and fits(pending) else self.oldest(fits) or pending

    def _completion_done(self, pending: Pending | None, message: Message) -> None:
        if pending is None or not pending.form.is_request:
            return
        fields = message.fields
        if pending.form.opcode == Opcode.VRING:
            written = fields["value"] & 0xFFFF_FFFF
            if fields["status"] and not fields["ndesc"]:
                self._refused = pending
            else:
                message.problems += rules.completion_problems(
                    pending.writable.descriptors, message.descriptors, written
                )
        else:
            written = fields["used"] or fields["length"]
            message.decoded["written"] = written
            message.problems += rules.length_problems(
                fields["length"], fields["used"], pending.writable_size
            )
        answer = describe_answer(pending.request, message.payload, written)
        if answer:
            message.decoded["answer"] = answer

    def _after_refusal(self, head: bytes, refused: Pending) -> Generator[Want, Bytes, bool]:
        """Read what follows the refusal of a vring command that says that nothing does."""
        message = self.message(Kind.NOTE, self._inlets[_T2I].where, _T2I)
        message.name, message.command_id = refused.form.name, refused.command_id
        message.problems.append("descriptors and data of a refused command, whose ndesc is 0")
        rest = len(refused.writable.descriptors) * DESCRIPTOR_SIZE - len(head)
        whole = False
        try:
            message.head = head + (yield Want(rest)).data
            message.descriptors = segment_descriptors(message.head)
            whole = yield from self._payload(total(message.descriptors), message)
        except Cut:
            message.problems.append("its descriptors are not all there")
        message.where = self._inlets[_T2I].where
        self._out.append(message)
        return whole
