# SPDX-License-Identifier: BSD-3-Clause
"""The one place that knows how the published revisions of the protocol differ.

Three revisions exist: *proposal*, *v2* and *v5*. Each numbers the commands in its own way, and *v5*
has other records, other status values and another way to carry a virtqueue's buffers. A dialect
belongs to an association, and the first 16 bytes of each of its connections say which it is
(``connect``).

The numbers of *v2* are those of its author's branch of the days before, for the posted text gives
none; that of the transport features is in neither seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple

from vof.errors import CompletionError, ConfigError
from vof.wire import status as refusals
from vof.wire import v5
from vof.wire.constants import (
    REQUESTS,
    AsyncEvent,
    Command,
    DescriptorFlag,
    Transport,
    TransportFeature,
)
from vof.wire.status import Reason
from vof.wire.structs import (
    HEAD,
    Buffer,
    CommonCommand,
    Completion,
    ConfigCommand,
    ConnectCommand,
    FeatureCommand,
    QueueCommand,
    StatusCommand,
    VringCommand,
    pack,
    unpack,
)


class Framing(Enum):
    """The form of a virtqueue's request."""

    CHAINS = "chains"
    """*proposal*: the vring command, with a descriptor for each segment, chained as in a ring."""
    SEGMENTS = "segments"
    """*v2*: the same command and descriptors, which say whether they are keyed, not chained."""
    LENGTHS = "lengths"
    """*v5*: the vq command, with a length for each direction."""

    @property
    def has_descriptors(self) -> bool:
        """True where segment descriptors follow a request on a stream."""
        return self is not Framing.LENGTHS


class Form(NamedTuple):
    """The form of a command in one revision."""

    opcode: int
    command: type[NamedTuple]
    completion: type[NamedTuple] = Completion


@dataclass(frozen=True)
class Dialect:
    """Numbers and forms of one revision."""

    name: str
    forms: Mapping[Command, Form]
    """The commands that there are."""
    framing: Framing
    """How a virtqueue's requests travel."""
    refused: Callable[[str, int], CompletionError]
    """Returns the error for a command, by its name, that was answered with a status other than
    0."""
    describe_status: Callable[[int], str]
    """Returns the words for such a status."""
    oftypes: Mapping[Transport, int] | None = None
    """``oftype`` of a Connect, where there is such a field."""
    has_max_segs: bool = False
    """Transport features are numbers, of which 0 is the largest ndesc of a vring command; else they
    are bits."""
    has_stream_size: bool = False
    """Transport feature 1 is such a number too: the bytes that a command's stream descriptors have
    together."""
    has_async_events: bool = False
    """The target may send completions that belong to no command on the control queue."""
    transport_features: int = 0
    """The transport feature bits there are: ``TransportFeature``."""
    disconnects_virtqueues: bool = False
    """Each virtqueue is disconnected before the control queue."""
    has_status_list: bool = False
    """Status values are those of *v5*'s list; else they are errno numbers."""

    @cached_property
    def commands(self) -> Mapping[int, Command]:
        """The commands by opcode."""
        return {form.opcode: command for command, form in self.forms.items()}

    @cached_property
    def plain_opcodes(self) -> frozenset[int]:
        """The opcodes of commands which, on a stream, are their 16 bytes alone."""
        carrying = REQUESTS | {Command.CONNECT}
        return frozenset(
            form.opcode for command, form in self.forms.items() if command not in carrying
        )

    def has(self, command: Command) -> bool:
        """Return whether there is such a command."""
        return command in self.forms

    def command_of(self, head: Buffer) -> Command | None:
        """Return which command this is, None for an opcode that there is not."""
        return self.commands.get(HEAD.unpack_from(head)[0])

    def encode(self, command: Command, command_id: int, **fields: int) -> bytes:
        """Return the 16 bytes of a command."""
        form = self.forms[command]
        record: Any = form.command
        return pack(record(form.opcode, command_id, **fields))

    def decode(self, command: Command, head: Buffer) -> Any:
        """Return the record that the 16 bytes of a command are."""
        return unpack(self.forms[command].command, head)

    def complete(self, command: Command, command_id: int, status: int = 0, **fields: int) -> bytes:
        """Return the 16 bytes of a command's completion."""
        record: Any = self.forms[command].completion
        return pack(record(status, command_id, **fields))

    def decode_completion(self, command: Command, completion: Completion) -> Any:
        """Return the record that a completion of this command is."""
        kind: Any = self.forms[command].completion
        return completion if kind is Completion else unpack(kind, pack(completion))

    def status_of(self, reason: Reason) -> int:
        """Return the status that says why a command is refused."""
        return reason.number if self.has_status_list else reason.errno

    def event(self, event: AsyncEvent, generation: int = 0) -> bytes:
        """Return the completion that is an event; of a config change with the generation that is
        new, where there is a place for it."""
        if self.has_status_list and event is AsyncEvent.CONFIG_CHANGE:
            return pack(v5.NumberCompletion(0, event, generation & 0xFFFF_FFFF))
        return pack(Completion(0, event))


_SHARED = {
    Command.CONNECT: ConnectCommand,
    Command.GET_FEATURE: FeatureCommand,
    Command.SET_FEATURE: FeatureCommand,
    Command.GET_DEVICE_FEATURE: FeatureCommand,
    Command.SET_DRIVER_FEATURE: FeatureCommand,
    Command.GET_QUEUE_SIZE: QueueCommand,
    Command.SET_QUEUE_SIZE: QueueCommand,
    Command.GET_CONFIG: ConfigCommand,
    Command.SET_CONFIG: ConfigCommand,
    Command.VRING: VringCommand,
}
"""The records of *v2*'s commands that are not the common one; but for set_status *proposal*'s."""


def _earlier(opcodes: Mapping[Command, int], **others: type[NamedTuple]) -> dict[Command, Form]:
    """Return the forms of a revision before *v5*."""
    return {
        command: Form(opcode, others.get(command.value) or _SHARED.get(command) or CommonCommand)
        for command, opcode in opcodes.items()
    }


PROPOSAL = Dialect(
    "proposal",
    _earlier(
        {
            Command.CONNECT: 0x0000,
            Command.DISCONNECT: 0x0001,
            Command.KEEPALIVE: 0x0002,
            Command.GET_FEATURE: 0x0003,
            Command.SET_FEATURE: 0x0004,
            Command.GET_VENDOR_ID: 0x1000,
            Command.GET_DEVICE_ID: 0x1001,
            Command.GET_GENERATION: 0x1002,
            Command.GET_STATUS: 0x1003,
            Command.SET_STATUS: 0x1004,
            Command.GET_DEVICE_FEATURE: 0x1005,
            Command.SET_DRIVER_FEATURE: 0x1006,
            Command.GET_NUM_QUEUES: 0x1007,
            Command.GET_QUEUE_SIZE: 0x1008,
            Command.SET_QUEUE_SIZE: 0x1009,
            Command.GET_CONFIG: 0x100A,
            Command.SET_CONFIG: 0x100B,
            Command.GET_CONFIG_CHANGED: 0x100C,
            Command.VRING: 0x2000,
        },
        set_status=StatusCommand,
    ),
    framing=Framing.CHAINS,
    refused=refusals.refused_by_errno,
    describe_status=refusals.describe_errno_status,
    oftypes={Transport.TCP: 0, Transport.RDMA: 1},
    has_max_segs=True,
)
"""What the reference target and the Linux initiator speak."""

V2 = Dialect(
    "v2",
    _earlier(
        {
            Command.CONNECT: 0x0000,
            Command.DISCONNECT: 0x0001,
            Command.GET_FEATURE: 0x0002,
            Command.SET_FEATURE: 0x0003,
            Command.KEEPALIVE: 0x0004,
            Command.VRING: 0x0FFF,
            Command.GET_VENDOR_ID: 0x1000,
            Command.GET_DEVICE_ID: 0x1001,
            Command.GET_GENERATION: 0x1002,
            Command.GET_STATUS: 0x1004,
            Command.SET_STATUS: 0x1005,
            Command.GET_DEVICE_FEATURE: 0x1006,
            Command.SET_DRIVER_FEATURE: 0x1007,
            Command.GET_NUM_QUEUES: 0x1008,
            Command.GET_QUEUE_SIZE: 0x100A,
            Command.GET_CONFIG: 0x100C,
            Command.SET_CONFIG: 0x100D,
        }
    ),
    framing=Framing.SEGMENTS,
    refused=refusals.refused_by_errno,
    describe_status=refusals.describe_errno_status,
    oftypes={Transport.TCP: 1, Transport.RDMA: 2},
    has_max_segs=True,
    has_stream_size=True,
    has_async_events=True,
)
"""The command set of *v2*."""

V5 = Dialect(
    "v5",
    {
        Command.CONNECT: Form(0x0000, v5.InstanceConnectCommand, v5.ConnectCompletion),
        Command.DISCONNECT: Form(0x0001, v5.PlainCommand, v5.PlainCompletion),
        Command.KEEPALIVE: Form(0x0002, v5.PlainCommand, v5.PlainCompletion),
        Command.GET_FEATURE: Form(0x0004, FeatureCommand, v5.FeatureCompletion),
        Command.SET_FEATURE: Form(0x0005, FeatureCommand, v5.PlainCompletion),
        Command.GET_KEYED_NUM_DESCS: Form(0x0100, v5.PlainCommand, v5.DescsCompletion),
        Command.GET_KEYED_EAGER_BUF: Form(0x0102, v5.GetKeyedEagerBufCommand, v5.DescsCompletion),
        Command.VQ_KEYED_EAGER_BUF: Form(0x0FFE, v5.VqKeyedEagerBufCommand, v5.NumberCompletion),
        Command.VQ: Form(0x0FFF, v5.VqCommand, v5.VqCompletion),
        Command.GET_VENDOR_ID: Form(0x1000, v5.PlainCommand, v5.NumberCompletion),
        Command.GET_DEVICE_ID: Form(0x1001, v5.PlainCommand, v5.NumberCompletion),
        Command.RESET_DEVICE: Form(0x1003, v5.PlainCommand, v5.PlainCompletion),
        Command.GET_STATUS: Form(0x1004, v5.PlainCommand, v5.NumberCompletion),
        Command.SET_STATUS: Form(0x1005, StatusCommand, v5.PlainCompletion),
        Command.GET_DEVICE_FEATURE: Form(0x1006, FeatureCommand, v5.FeatureCompletion),
        Command.SET_DRIVER_FEATURE: Form(0x1009, FeatureCommand, v5.PlainCompletion),
        Command.GET_VQ_SIZE: Form(0x100A, v5.VqSizeCommand, v5.VqSizeCompletion),
        Command.GET_CONFIG: Form(0x100C, ConfigCommand, v5.ConfigCompletion),
        Command.SET_CONFIG: Form(0x100D, ConfigCommand, v5.PlainCompletion),
    },
    framing=Framing.LENGTHS,
    refused=refusals.refused_by_v5,
    describe_status=refusals.describe_v5_status,
    has_async_events=True,
    # A number: the complement of a flag knows no other bits.
    transport_features=int(TransportFeature.KEYED_NUM_DESCS | TransportFeature.KEYED_EAGER_BUF),
    disconnects_virtqueues=True,
    has_status_list=True,
)
"""The last published text, whole."""

DIALECTS = (PROPOSAL, V2, V5)

AUTO = "auto"

FEATURE_SELECT_MAX_SEGS = 0
"""``feature_select`` of the most descriptors of one vring command."""

FEATURE_SELECT_STREAM_SIZE = 1
"""``feature_select`` of *v2*: the most bytes that a command's stream descriptors have together."""

FEATURE_SELECT_BITS = 0
"""``feature_select`` of *v5*'s first 64 transport feature bits."""

DIALECT_NAMES = (AUTO, *(dialect.name for dialect in DIALECTS))


def dialect_by_name(name: str) -> Dialect | None:
    """Return the dialect that a user names, None for ``auto``.

    Raises ConfigError with the names there are.
    """
    for dialect in DIALECTS:
        if dialect.name == name:
            return dialect
    if name == AUTO:
        return None
    raise ConfigError(f"dialect={name}: not known; use one of {', '.join(DIALECT_NAMES)}")


def next_flag(framing: Framing) -> int:
    """Return the flag of each segment descriptor of a command but the last."""
    return int(DescriptorFlag.NEXT) if framing is Framing.CHAINS else 0


def keyed_flag(framing: Framing) -> int:
    """Return the flag of a segment descriptor whose buffer is named by key."""
    return int(DescriptorFlag.KEYED) if framing is Framing.SEGMENTS else 0


def vring_of(framing: Framing) -> int:
    """Return the opcode of the vring command where requests are framed so."""
    dialect = PROPOSAL if framing is Framing.CHAINS else V2
    return dialect.forms[Command.VRING].opcode
