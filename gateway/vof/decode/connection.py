# SPDX-License-Identifier: BSD-3-Clause
"""One connection, which is one queue: commands in flight, and what each completion belongs to.

Owns what is the same over both transports: the commands' and completions' own 16 bytes, what they
mean, the rules that they may break, and what they tell of the association. Must not know how they
were found, nor what follows them: ``stream`` and ``keyed`` do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from vof.decode import meanings
from vof.decode.association import Association, Associations, Names
from vof.decode.budget import without_oldest
from vof.decode.buffers import Area
from vof.decode.commands import Form, fields_of, foreign_form, form_of
from vof.decode.message import UNKNOWN, Bytes, Direction, Kind, Message, Named, Where, named
from vof.decode.requests import Description
from vof.wire.constants import (
    CONTROL_QUEUE_TARGET_ID,
    FIRST_RESERVED_COMMAND_ID,
    AsyncEvent,
    LaterOpcode,
    Opcode,
    Transport,
    TransportFeature,
)
from vof.wire.dialect import Dialect, dialects_by_oftype
from vof.wire.names import NAME_SIZE
from vof.wire.structs import CONNECT_BODY_SIZE, HEAD

CONTROL = "control"

MAX_IN_FLIGHT = 4096
"""Commands in flight that are remembered: more than any queue in use holds."""

MAX_NAMED = 10
"""Commands in flight at the end that are told by their ids."""


@dataclass(eq=False)
class Pending:
    """A command in flight."""

    form: Form
    message: Message
    readable: Area = field(default_factory=Area)
    """The buffers that its descriptors name, where it has such."""
    writable: Area = field(default_factory=Area)
    readable_size: int = 0
    """Bytes of its device-readable buffers, however they travel."""
    writable_size: int = 0
    request: Description = field(default_factory=dict)

    @property
    def command_id(self) -> int:
        """Its id."""
        return self.message.command_id or 0


class Connection:
    """What both transports share."""

    transport: Transport

    def __init__(
        self, number: int, target: str, associations: Associations, *, begins: bool
    ) -> None:
        """``begins`` is false where the beginning of the connection was not seen."""
        self.number = number
        self.target = target
        self.begins = begins
        self.queue = ""
        self.association: Association = associations.unknown(target)
        self._associations = associations
        self._pending: dict[int, Pending] = {}
        self._asked = self._connected = not begins

    @property
    def index(self) -> int:
        """Of the virtqueue; -1 if it is none, or not known."""
        return int(self.queue) if self.queue.isdecimal() else -1

    def message(self, kind: Kind, where: Where, direction: Direction | None = None) -> Message:
        """Return a new message of this connection."""
        return Message(kind, where, self.number, self.queue, direction)

    def opened(self, initiator: str, where: Where) -> Message:
        """Return the message that tells of the connection; ``initiator`` is its address."""
        message = self.message(Kind.CONNECTION, where)
        message.decoded |= {
            "transport": self.transport.value,
            "initiator": initiator,
            "target": self.target,
        }
        return message

    # Commands.

    def command(self, head: bytes, where: Where) -> Pending | None:
        """Take the 16 bytes of a command; return it, now in flight.

        None where its opcode is not known at all.
        """
        opcode, command_id = HEAD.unpack_from(head)
        association = self.association
        known = association.admit(opcode)
        form = form_of(opcode, association.dialects) or foreign_form(opcode)
        if form is None:
            return None
        message = self.message(Kind.COMMAND, where, Direction.I2T)
        message.name, message.command_id, message.head = form.name, command_id, head
        message.fields = fields_of(form.command, head)
        if not known:
            message.problems.append(
                f"opcode {opcode:#06x} is not one of dialect {_names(association.dialects)}"
            )
        message.problems += self._command_problems(form, command_id)
        message.decoded |= meanings.of_command(form.name, message.fields, association)
        if opcode == Opcode.CONNECT:
            self._connect_head(message)
        pending = Pending(form, message)
        # The later of two with the same id counts; the list of those in flight is in order.
        self._pending.pop(command_id, None)
        self._pending[command_id] = pending
        without_oldest(self._pending, MAX_IN_FLIGHT)
        return pending

    def _command_problems(self, form: Form, command_id: int) -> list[str]:
        problems = []
        if form.opcode == Opcode.CONNECT:
            if self._connected and self.begins:
                problems.append("the queue is connected already")
            self._asked = True
        elif not self._asked:
            problems.append("it comes before the Connect")
        if command_id >= FIRST_RESERVED_COMMAND_ID:
            problems.append(f"command id {command_id:#06x} is reserved")
        if command_id in self._pending:
            problems.append(f"command id {command_id} is in flight already")
        if form.is_request and form.opcode != Opcode.VRING and self.queue == CONTROL:
            problems.append("it is for virtqueues only")
        if feature := _NEEDS.get(form.opcode):
            in_force = self.association.transport_features
            if in_force is not None and not in_force & feature:
                problems.append(f"the transport feature {feature.name} is not in force")
        return problems

    def _connect_head(self, message: Message) -> None:
        """Say what queue a Connect is for, and in which dialects it can be."""
        oftype, target_id = message.fields["oftype"], message.fields["target_id"]
        self.queue = message.queue = (
            CONTROL if target_id == CONTROL_QUEUE_TARGET_ID else str(message.fields["queue_id"])
        )
        dialects = dialects_by_oftype(self.transport, oftype)
        message.decoded["transport"] = Named(oftype, self.transport.value if dialects else UNKNOWN)
        message.decoded["dialects"] = [dialect.name for dialect in dialects]
        if not dialects:
            message.problems.append(f"oftype {oftype} is no dialect's for {self.transport.value}")

    def connect_body(self, connect: Message, body: Bytes, message: Message) -> None:
        """Take the connect body of a Connect, which ``message`` brings."""
        if len(body.data) != CONNECT_BODY_SIZE:
            message.problems.append(f"the connect body has {len(body.data)} bytes instead of 1024")
        names = None
        if body.has(0, 2 * NAME_SIZE):
            names = Names(_name(body.data[:NAME_SIZE]), _name(body.data[NAME_SIZE : 2 * NAME_SIZE]))
            message.decoded |= names._asdict()
        dialects = dialects_by_oftype(self.transport, connect.fields["oftype"])
        known = self._associations
        if self.queue == CONTROL:
            self.association = known.control(self.target, names, tuple(dialects))
            return
        target_id = connect.fields["target_id"]
        self.association = known.virtqueue(self.target, target_id, names, tuple(dialects))
        if dialects and not set(dialects) & set(self.association.dialects):
            message.problems.append("its oftype is not that of the control queue")

    # Completions.

    def pending(self, command_id: int) -> Pending | None:
        """Return the command in flight with this id."""
        return self._pending.get(command_id)

    def oldest(self, accepts: Callable[[Pending], bool] = lambda _pending: True) -> Pending | None:
        """Return the command that is in flight for longest, of those that ``accepts`` takes."""
        return next(filter(accepts, self._pending.values()), None)

    def event(self, head: bytes, where: Where) -> Message:
        """Return a completion that belongs to no command."""
        _status, command_id = HEAD.unpack_from(head)
        message = self.message(Kind.EVENT, where, Direction.T2I)
        message.command_id, message.head = command_id, head
        message.fields = fields_of(PLAIN.completion, head)
        message.name = named(AsyncEvent, command_id, lower=True).name
        if message.name == UNKNOWN:
            message.problems.append(f"command id {command_id:#06x} is reserved")
        if self.queue not in {"", CONTROL}:
            message.problems.append("an event on a virtqueue")
        if not any(dialect.has_async_events for dialect in self.association.dialects):
            message.problems.append(f"dialect {_names(self.association.dialects)} has no events")
        return message

    def completion(
        self, head: bytes, pending: Pending | None, where: Where, form: Form | None = None
    ) -> Message:
        """Return the completion with these 16 bytes; ``pending`` is its command, if known.

        ``form`` is how to read it where that is not its command's.
        """
        form = pending.form if pending else form or PLAIN
        message = self.message(Kind.COMPLETION, where, Direction.T2I)
        message.head = head
        message.fields = fields_of(form.completion, head)
        message.command_id = message.fields["command_id"]
        message.decoded["status"] = meanings.completion_status(message.fields["status"])
        if pending is None:
            if self.begins:
                message.problems.append("no command with this id is in flight")
            return message
        self._pending.pop(pending.command_id, None)
        message.name = form.name
        message.answers = pending.message.where
        if message.command_id != pending.command_id:
            message.problems.append(
                f"command id {message.command_id} is not in flight; taken for the completion of "
                f"{pending.command_id}"
            )
        if not message.fields["status"]:
            self._succeeded(pending, message)
        return message

    def _succeeded(self, pending: Pending, message: Message) -> None:
        """Learn from a completion, and say what its value means."""
        command = pending.message.fields
        association = self.association
        value = message.fields.get("value", 0) & (1 << pending.form.bits) - 1
        match pending.form.name:
            case "connect":
                self._connected = True
                if self.queue == CONTROL:
                    self._associations.allocated(association, value)
            case "get_device_id":
                association.device = association.device._replace(device_id=value)
            case "set_driver_feature":
                association.device = association.device._replace(features=command["value"])
            case "set_feature" if not association.dialects[-1].has_max_segs:
                association.transport_features = command["value"]
            case "get_keyed_num_descs":
                association.max_descs[command["queue_id"]] = value
            case "get_config":
                value &= (1 << command["bytes"] * 8) - 1
        if pending.form.bits and "value" in message.fields:
            message.decoded |= meanings.of_value(pending.form.name, value, association)

    def left_over(self) -> list[Message]:
        """Return a note of the commands that have no completion at the end of the capture."""
        if not self._pending:
            return []
        latest = max(each.message.where for each in self._pending.values())
        message = self.message(Kind.NOTE, latest)
        message.decoded |= self.in_flight()
        return [message]

    def in_flight(self) -> Description:
        """Return the commands that were never completed."""
        waiting = list(self._pending.values())
        if not waiting:
            return {}
        ids = [f"{each.form.name} {each.command_id}" for each in waiting[:MAX_NAMED]]
        return {"in_flight": len(waiting), "commands": ids}


PLAIN = Form("", -1)
"""A completion whose command is not known."""

_NEEDS = {
    int(LaterOpcode.GET_KEYED_NUM_DESCS): TransportFeature.KEYED_NUM_DESCS,
    int(LaterOpcode.GET_KEYED_EAGER_BUF): TransportFeature.KEYED_EAGER_BUF,
    int(LaterOpcode.VQ_KEYED_EAGER_BUF): TransportFeature.KEYED_EAGER_BUF,
}
"""The transport feature that a command belongs to."""


def _name(field_of_256: bytes) -> str:
    return field_of_256.split(b"\0", 1)[0].decode(errors="backslashreplace")


def _names(dialects: tuple[Dialect, ...]) -> str:
    return " or ".join(dialect.name for dialect in dialects)
