# SPDX-License-Identifier: BSD-3-Clause
"""A connection over TCP: commands and completions on two streams.

Owns what follows the 16 bytes of each (*proposal*, examples 1.1 and 1.2; *v5*, "Stream
Transmission"). A completion is read as its command says, which the other direction has brought.

Two defects of the reference target are followed: completions with command id 0, whatever their
command had, and descriptors and data behind a refusal that says it has none.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace

from vof.decode import descriptors as rules
from vof.decode import plausible
from vof.decode.association import Associations
from vof.decode.budget import MAX_DATA, Budget
from vof.decode.buffers import Area
from vof.decode.connection import CONTROL, Connection, Pending
from vof.decode.descriptors import Descriptor, segment_descriptors, total
from vof.decode.inlet import Cut, Found, Inlet, Parser, Want
from vof.decode.message import NO_BYTES, Bytes, Direction, Kind, Message, Where
from vof.decode.plausible import looks_returned
from vof.decode.requests import describe_answer, describe_request, secret_places
from vof.wire.constants import FIRST_RESERVED_COMMAND_ID, Command, Transport
from vof.wire.dialect import DIALECTS, V5, Dialect, Framing
from vof.wire.structs import (
    COMMAND_SIZE,
    COMPLETION_SIZE,
    CONNECT_BODY_SIZE,
    DESCRIPTOR_SIZE,
    HEAD,
    Completion,
    unpack,
)

_I2T, _T2I = Direction

_LE32 = 0xFFFF_FFFF

Possible = Callable[[bytes, Sequence[Dialect]], tuple[Dialect, ...]]


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
        self._is_virtqueue = False  # a request came, or its answer
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
        return self._one_of(plausible.of_command, data)

    def _may_be_completion(self, data: bytes) -> bool:
        found = self._one_of(plausible.of_completion, data)
        # Where there is no descriptor, only data can follow it.
        self._is_virtqueue |= found and self._is_v5 and len(data) > COMPLETION_SIZE
        return found

    def _one_of(self, possible: Possible, data: bytes) -> bool:
        """Return whether it may be a message; take note of the dialects in which it may."""
        association = self.association
        found = possible(data, association.dialects)
        if not found and not association.certain:
            found = possible(data, DIALECTS)
        association.dialects = found or association.dialects
        return bool(found)

    @property
    def _by_length(self) -> bool:
        """The completion of a command that was not seen has a length, not descriptors."""
        return self._is_v5 and (self._is_virtqueue or self.queue not in {"", CONTROL})

    @property
    def _is_v5(self) -> bool:
        return self.association.dialect is V5

    # Commands.

    def _commands(self) -> Parser:
        inlet = self._inlets[_I2T]
        while True:
            pending = self.command((yield Want(COMMAND_SIZE)).data, inlet.where)
            self._is_virtqueue |= pending.is_request
            whole = yield from self._command_body(pending)
            self._command_done(pending)
            if not whole:
                return

    def _command_body(self, pending: Pending) -> Generator[Want, Bytes, bool]:
        """Read what follows the 16 bytes of a command; return False where it did not all come."""
        message, fields = pending.message, pending.message.fields
        match pending.command:
            case None:  # in the last dialect it is 16 bytes, in the others nobody knows
                return self.association.certain and pending.dialect is V5
            case Command.CONNECT | Command.VRING if "ndesc" in fields:
                table = yield from self._table(fields["ndesc"], message)
                if table is None:
                    return False
                message.problems += rules.command_problems(pending.command, message.descriptors)
                there = message.descriptors
                if pending.dialect.framing is Framing.SEGMENTS:
                    there = rules.unkeyed(there)
                    if len(there) != len(message.descriptors):
                        message.problems.append("there are no keyed descriptors on a stream")
                pending.readable = Area(rules.readable(there))
                pending.writable = Area(rules.writable(there))
                pending.readable_size = pending.readable.size
                pending.writable_size = pending.writable.size
            case Command.CONNECT if fields["length"] not in {0, CONNECT_BODY_SIZE}:
                return False  # nobody knows what it is
            case Command.CONNECT:
                pending.readable_size = fields["length"]
            case Command.VQ:
                pending.readable_size = fields["out_length"]
                pending.writable_size = fields["in_length"]
            case Command.VQ_KEYED_EAGER_BUF | Command.GET_KEYED_EAGER_BUF:
                message.problems.append("there are no eager buffers on a stream")
                pending.writable_size = fields.get("in_length", 0)
        return (yield from self._payload(pending.readable_size, message))

    def _command_done(self, pending: Pending) -> None:
        message = pending.message
        message.where = self._inlets[_I2T].where
        if pending.command is Command.CONNECT and pending.readable_size:
            self.connect_body(message.payload, message)
        elif pending.is_request:
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
        command = self._looks_like(pending, ndesc)
        size: int | None = 0
        if command is Command.VRING:
            table = yield from self._table(ndesc, draft)
            size = None if table is None else total(draft.descriptors)
        pending = self._command_of(command_id, pending, draft.descriptors)
        message = self.completion(head, pending, inlet.where, command)
        message.head += draft.head
        message.descriptors = draft.descriptors
        message.problems += draft.problems
        if command is Command.VQ:
            size = message.fields.get("length", 0)  # none where it was taken for another's
        whole = False
        if size is not None:
            whole = yield from self._payload(size, message)
            self._completion_done(pending, message)
        message.where = inlet.where
        self._out.append(message)
        return whole

    def _looks_like(self, pending: Pending | None, ndesc: int) -> Command | None:
        """Return whose a completion looks like, which is by itself where its command is not
        known."""
        dialect = pending.dialect if pending else self.association.dialect
        if pending and (pending.is_request or not ndesc or dialect is V5):
            return pending.command
        if dialect is V5:
            return Command.VQ if self._by_length else None
        return Command.VRING if ndesc else None

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
        if pending is None or not pending.is_request:
            return
        fields, size = message.fields, len(message.payload.data)
        if pending.command is Command.VRING:
            if fields["status"] and not fields["ndesc"]:
                self._refused = pending
            else:
                message.problems += rules.completion_problems(
                    pending.writable.descriptors, message.descriptors, fields["value"] & _LE32
                )
        else:
            size = pending.writable_size
            message.problems += rules.room_problems(fields["length"], size)
        answer = describe_answer(pending.request, message.payload, size, pending.written)
        if answer:
            message.decoded["answer"] = answer

    def _after_refusal(self, head: bytes, refused: Pending) -> Generator[Want, Bytes, bool]:
        """Read what follows the refusal of a vring command that says that nothing does."""
        message = self.message(Kind.NOTE, self._inlets[_T2I].where, _T2I)
        message.name, message.command_id = refused.message.name, refused.command_id
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
