# SPDX-License-Identifier: BSD-3-Clause
"""One connection, which is one queue: commands in flight, and what each completion belongs to.

Owns what is the same over both transports: the commands' and completions' own 16 bytes, what they
mean, the rules that they may break, and what they tell of the association. Must not know how they
were found, nor what follows them: ``stream`` and ``keyed`` do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from vof.decode import meanings
from vof.decode.association import Association, Associations
from vof.decode.budget import without_oldest
from vof.decode.buffers import Area
from vof.decode.fields import (
    command_fields,
    completion_fields,
    completion_form,
    event_fields,
    value_in,
)
from vof.decode.message import UNKNOWN, Bytes, Direction, Kind, Message, Where, named
from vof.decode.requests import Description
from vof.errors import RemoteProtocolError
from vof.wire.connect import CONNECT, ForeignConnect, Names, decode_connect
from vof.wire.constants import (
    CONTROL_QUEUE_DEPTH,
    CONTROL_QUEUE_TARGET_ID,
    FIRST_RESERVED_COMMAND_ID,
    REQUESTS,
    AsyncEvent,
    Command,
    Transport,
    TransportFeature,
)
from vof.wire.dialect import DIALECTS, V5, Dialect
from vof.wire.names import NAME_SIZE
from vof.wire.structs import CONNECT_BODY_SIZE, HEAD, ConnectCommand, unpack

CONTROL = "control"

MAX_IN_FLIGHT = 4096
"""Commands in flight that are remembered: more than any queue in use holds."""

MAX_NAMED = 10
"""Commands in flight at the end that are told by their ids."""


@dataclass(eq=False)
class Pending:
    """A command in flight."""

    command: Command | None
    """Which it is; None for an opcode that its dialect does not have."""
    dialect: Dialect
    """As which it was read."""
    message: Message
    readable: Area = field(default_factory=Area)
    """The buffers that its descriptors name, where it has such."""
    writable: Area = field(default_factory=Area)
    readable_size: int = 0
    """Bytes of its device-readable buffers, however they travel."""
    writable_size: int = 0
    written: int = 0
    """Of these, how many its completion says were written."""
    request: Description = field(default_factory=dict)

    @property
    def is_request(self) -> bool:
        """True for a virtqueue's."""
        return self.command in REQUESTS

    @property
    def command_id(self) -> int:
        """Its id."""
        return self.message.command_id or 0


class Connection:
    """The part of a connection that both transports share."""

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
        self._asks_for: tuple[int, tuple[Dialect, ...]] = 0, DIALECTS  # target id, dialects
        self._changed = False  # an event said so, and no get_config came since

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

    def command(self, head: bytes, where: Where) -> Pending:
        """Take the 16 bytes of a command; return it, now in flight."""
        opcode, command_id = HEAD.unpack_from(head)
        message = self.message(Kind.COMMAND, where, Direction.I2T)
        message.command_id, message.head = command_id, head
        if opcode == CONNECT:
            self._connect(head, message)
        else:
            self.association.admit(head)
        association = self.association
        dialect = association.dialect
        command = dialect.commands.get(opcode)
        message.fields = command_fields(dialect, command, head)
        pending = Pending(command, dialect, message)
        message.problems += self._command_problems(pending, opcode)
        if command is Command.GET_CONFIG:
            self._changed = False
        if command:
            message.name = command.value
            meaning = meanings.of_command(command, message.fields, association)
            message.decoded = meaning | message.decoded
        others = {
            each.name: each.commands[opcode].value
            for each in association.dialects
            if each.commands.get(opcode) not in {None, command}
        }
        if others:
            message.decoded["or"] = others
        # The later of two with the same id counts; the list of those in flight is in order.
        self._pending.pop(command_id, None)
        self._pending[command_id] = pending
        without_oldest(self._pending, MAX_IN_FLIGHT)
        return pending

    def _command_problems(self, pending: Pending, opcode: int) -> list[str]:
        problems = []
        command, command_id = pending.command, pending.command_id
        if command is None:
            names = _names(self.association.dialects)
            tls = opcode & 0xFF == _TLS_HANDSHAKE and not self._asked
            problems.append(
                f"opcode {opcode:#06x} is not one of dialect {names}"
                + ("; TLS begins so, and what is in it cannot be read" if tls else "")
            )
        if command is Command.CONNECT:
            if self._connected and self.begins:
                problems.append("the queue is connected already")
            self._asked = True
        elif not self._asked:
            problems.append("it comes before the Connect")
        if command_id >= FIRST_RESERVED_COMMAND_ID:
            problems.append(f"command id {command_id:#06x} is reserved")
        if command_id in self._pending:
            problems.append(f"command id {command_id} is in flight already")
        elif self._is_v5_control and len(self._pending) >= CONTROL_QUEUE_DEPTH:
            problems.append(f"more than {CONTROL_QUEUE_DEPTH} commands are in flight")
        if pending.is_request and command is not Command.VRING and self.queue == CONTROL:
            problems.append("it is for virtqueues only")
        if command and (feature := _NEEDS.get(command)):
            in_force = self.association.transport_features
            if in_force is not None and not in_force & feature:
                problems.append(f"the transport feature {feature.name} is not in force")
        return problems

    @property
    def _is_v5_control(self) -> bool:
        return self.queue == CONTROL and self.association.dialect is V5

    def _connect(self, head: bytes, message: Message) -> None:
        """Learn from a Connect what queue it is for, and which dialect is spoken from now on."""
        dialects: tuple[Dialect, ...] = DIALECTS
        has_body = True
        # Where these are, all dialects agree.
        _opcode, _id, target_id, index, *_rest = unpack(ConnectCommand, head)
        self.queue = CONTROL if target_id == CONTROL_QUEUE_TARGET_ID else str(index)
        message.queue = self.queue
        try:
            connect = decode_connect(head, self.transport)
        except ForeignConnect as error:
            message.problems.append(f"{error} in any dialect")
            dialects = tuple(dialect for dialect in DIALECTS if dialect.oftypes)
        except RemoteProtocolError as error:
            message.problems.append(f"it has the form of no dialect: {error}")
        else:
            dialects, has_body = (connect.dialect,), connect.has_body
            message.decoded["dialect"] = connect.dialect.name
            if self.queue == CONTROL and not has_body:
                message.problems.append("the Connect of a control queue has no body")
        self._asks_for = target_id, dialects
        self._join(None, message)
        if self.association.names and not has_body:
            message.decoded |= self.association.names._asdict()

    def connect_body(self, body: Bytes, message: Message) -> None:
        """Take the connect body, which ``message`` brings."""
        if len(body.data) != CONNECT_BODY_SIZE:
            message.problems.append(f"the connect body has {len(body.data)} bytes instead of 1024")
        if not body.has(0, 2 * NAME_SIZE):
            return
        names = Names(_name(body.data[:NAME_SIZE]), _name(body.data[NAME_SIZE : 2 * NAME_SIZE]))
        message.decoded |= names._asdict()
        if self.association.names != names:
            self._join(names, message)

    def _join(self, names: Names | None, message: Message) -> None:
        """Find the association that a Connect belongs to."""
        known = self._associations
        target_id, dialects = self._asks_for
        if self.queue == CONTROL:
            self.association = known.control(self.target, names, dialects)
            return
        joined = known.virtqueue(self.target, target_id, names, dialects)
        if not any(each in joined.dialects for each in dialects):
            message.problems.append("its dialect is not that of the control queue")
            joined = replace(joined, dialects=dialects)
        elif len(dialects) == 1:
            joined.dialects, joined.certain = dialects, True
        self.association = joined

    # Completions.

    def pending(self, command_id: int) -> Pending | None:
        """Return the command in flight with this id."""
        return self._pending.get(command_id)

    def oldest(self, accepts: Callable[[Pending], bool] = lambda _pending: True) -> Pending | None:
        """Return the command that is in flight for longest, of those that ``accepts`` takes."""
        return next(filter(accepts, self._pending.values()), None)

    def event(self, head: bytes, where: Where) -> Message:
        """Return a completion that belongs to no command."""
        dialects = self.association.dialects
        _status, command_id = HEAD.unpack_from(head)
        message = self.message(Kind.EVENT, where, Direction.T2I)
        message.command_id, message.head = command_id, head
        message.fields = event_fields(dialects[-1], command_id, head)
        message.name = named(AsyncEvent, command_id, lower=True).name
        if message.name == UNKNOWN:
            message.problems.append(f"command id {command_id:#06x} is reserved")
        if self.queue not in {"", CONTROL}:
            message.problems.append("an event on a virtqueue")
        if not any(dialect.has_async_events for dialect in dialects):
            message.problems.append(f"dialect {_names(dialects)} has no events")
        if "generation" in message.fields:
            message.decoded["generation"] = message.fields["generation"]
            if self._changed:
                message.problems.append("no get_config came since the event before")
            self._changed = True
        return message

    def completion(
        self, head: bytes, pending: Pending | None, where: Where, command: Command | None = None
    ) -> Message:
        """Return the completion with these 16 bytes; ``pending`` is its command, if known.

        ``command`` is whose it looks like, where that is not known.
        """
        dialect = pending.dialect if pending else self.association.dialect
        command = pending.command if pending else command
        message = self.message(Kind.COMPLETION, where, Direction.T2I)
        message.head = head
        message.fields = completion_fields(dialect, command, head)
        message.command_id = message.fields["command_id"]
        status = message.fields["status"]
        message.decoded["status"] = meanings.completion_status(status, dialect)
        if pending is None:
            if self.begins:
                message.problems.append("no command with this id is in flight")
            return message
        self._pending.pop(pending.command_id, None)
        message.name = pending.message.name
        message.answers = pending.message.where
        if message.command_id != pending.command_id:
            message.problems.append(
                f"command id {message.command_id} is not in flight; taken for the completion of "
                f"{pending.command_id}"
            )
        if command and not status:
            record = unpack(completion_form(dialect, command), head)
            self._succeeded(command, pending, getattr(record, "value", 0), message)
        return message

    def _succeeded(self, command: Command, pending: Pending, value: int, message: Message) -> None:
        """Learn from a completion, and say what its value means."""
        asked, association = pending.message.fields, self.association
        match command:
            case Command.CONNECT:
                self._connected = True
                if self.queue == CONTROL:
                    self._associations.allocated(association, value & 0xFFFF)
            case Command.GET_DEVICE_ID:
                device_id = value & 0xFFFF_FFFF
                association.device = association.device._replace(device_id=device_id)
            case Command.SET_DRIVER_FEATURE if not asked["feature_select"]:
                features = value_in(asked)
                association.device = association.device._replace(features=features)
            case Command.SET_FEATURE if pending.dialect is V5 and not asked["feature_select"]:
                association.transport_features = value_in(asked)
            case Command.GET_KEYED_NUM_DESCS:
                association.max_descs = value
            case Command.VRING | Command.VQ | Command.VQ_KEYED_EAGER_BUF:
                pending.written = value & 0xFFFF_FFFF
        message.decoded |= meanings.of_value(command, value, asked, association)
        if "generation" in message.fields:
            message.decoded["generation"] = message.fields["generation"]

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
        ids = [f"{each.message.name or '?'} {each.command_id}" for each in waiting[:MAX_NAMED]]
        return {"in_flight": len(waiting), "commands": ids}


_TLS_HANDSHAKE = 0x16

_NEEDS = {
    Command.GET_KEYED_NUM_DESCS: TransportFeature.KEYED_NUM_DESCS,
    Command.GET_KEYED_EAGER_BUF: TransportFeature.KEYED_EAGER_BUF,
    Command.VQ_KEYED_EAGER_BUF: TransportFeature.KEYED_EAGER_BUF,
}
"""The transport feature that a command belongs to."""


def _name(field_of_256: bytes) -> str:
    return field_of_256.split(b"\0", 1)[0].decode(errors="backslashreplace")


def _names(dialects: tuple[Dialect, ...]) -> str:
    return " or ".join(dialect.name for dialect in dialects)
