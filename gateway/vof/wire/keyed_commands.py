# SPDX-License-Identifier: BSD-3-Clause
"""Keyed transmission (RDMA) as the target has it: commands out of messages, and their completions.

Owns the bounds of what is taken from a peer. Pure: whether a key is good is for the fabric to find
out. Must not know queues, regions or devices; *v5*, *proposal*, and ours as ``keyed`` says. Of
*v2*'s segment descriptors only keyed ones are taken: a target that says a stream size of 0 has no
room for others in a message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vof.errors import RemoteProtocolError
from vof.wire.constants import Command, DescriptorFlag
from vof.wire.dialect import Dialect, Framing, keyed_flag
from vof.wire.layout import layout_of
from vof.wire.structs import (
    COMMAND_SIZE,
    DESCRIPTOR_SIZE,
    HEAD,
    Buffer,
    Completion,
    SegmentDescriptor,
    VringCommand,
    pack,
    unpack,
)
from vof.wire.v5 import KEYED_DESCRIPTOR_SIZE, KeyedDescriptor, VqCommand, VqKeyedEagerBufCommand

_WRITE = int(DescriptorFlag.WRITE)

_KEYED = layout_of(KeyedDescriptor)
_SEGMENT = layout_of(SegmentDescriptor)

NO_BUFFERS: Sequence[KeyedDescriptor] = ()


class KeyedLimits(NamedTuple):
    """The limits of one message, beyond which a target calls it a violation."""

    max_ndesc: int
    """Segment descriptors of a vring command."""
    max_descs: int
    """Keyed descriptors of a command: what get_keyed_num_descs answers."""
    max_transfer: int
    """Bytes of all buffers of a command together."""

    @property
    def message_size(self) -> int:
        """Bytes of the largest message there can be."""
        return COMMAND_SIZE + max(
            self.max_ndesc * DESCRIPTOR_SIZE, self.max_descs * KEYED_DESCRIPTOR_SIZE
        )


class KeyedCommand(NamedTuple):
    """A command and the buffers it names."""

    opcode: int
    command: Command | None
    """Which command it is; None for an opcode that there is not."""
    command_id: int
    head: bytes
    """The 16 bytes of the command."""
    readable: Sequence[KeyedDescriptor] = NO_BUFFERS
    writable: Sequence[KeyedDescriptor] = NO_BUFFERS

    @property
    def out_length(self) -> int:
        """Device-readable bytes that are to be read by key."""
        return sum(item.length for item in self.readable)

    @property
    def in_length(self) -> int:
        """Device-writable bytes."""
        return sum(item.length for item in self.writable)


def decode_keyed(message: Buffer, dialect: Dialect, limits: KeyedLimits) -> KeyedCommand:
    """Return the command in one message of an initiator that speaks ``dialect``.

    Raises RemoteProtocolError for an opcode that the dialect does not have, unless that has a
    status for it; for a second Connect, a message shorter or longer than its command says,
    descriptors beyond the limits or of length zero.
    """
    view = memoryview(message)
    if len(view) < COMMAND_SIZE:
        raise RemoteProtocolError(f"a command of {len(view)} bytes; the shortest has 16")
    head, rest = bytes(view[:COMMAND_SIZE]), view[COMMAND_SIZE:]
    opcode, command_id = HEAD.unpack_from(head)
    command = KeyedCommand(opcode, dialect.commands.get(opcode), command_id, head)
    match command.command:
        case Command.CONNECT:
            raise RemoteProtocolError("a second Connect on one connection")
        case Command.VRING:
            return _take_vring(command, rest, limits, keyed_flag(dialect.framing))
        case Command.VQ:
            return _take_vq(command, rest, limits)
        case Command.VQ_KEYED_EAGER_BUF:
            return _take_eager(command, rest, limits)
        case Command.GET_KEYED_EAGER_BUF:
            return command._replace(writable=_keyed_descriptors(rest, 1, "get_keyed_eager_buf"))
        case None if dialect.has_status_list:
            return command
        case None:
            raise RemoteProtocolError(f"opcode {opcode:#06x} is not one of dialect {dialect.name}")
    if rest:
        raise RemoteProtocolError(
            f"the message of command {opcode:#06x} has {len(rest)} bytes too many"
        )
    return command


def _take_vring(
    command: KeyedCommand, rest: memoryview, limits: KeyedLimits, keyed: int
) -> KeyedCommand:
    """``keyed`` is the flag that each descriptor has to have."""
    ndesc = unpack(VringCommand, command.head).ndesc
    if not 0 < ndesc <= limits.max_ndesc:
        raise RemoteProtocolError(
            f"a vring command has {ndesc} descriptors; 1 to {limits.max_ndesc} are allowed"
        )
    segments = _segment_descriptors(rest, ndesc, "vring command")
    if len({item.id for item in segments}) != ndesc:
        raise RemoteProtocolError("a descriptor id is used twice in one command")
    if keyed and not all(item.flags & keyed for item in segments):
        raise RemoteProtocolError("a descriptor is not keyed, and there is no room for its bytes")
    readable: list[KeyedDescriptor] = []
    writable: list[KeyedDescriptor] = []
    for item in segments:
        buffer = KeyedDescriptor(item.addr, item.length, item.key)
        (writable if item.flags & _WRITE else readable).append(buffer)
    _check_buffers([*readable, *writable], limits)
    return command._replace(readable=readable, writable=writable)


def _take_vq(command: KeyedCommand, rest: memoryview, limits: KeyedLimits) -> KeyedCommand:
    vq = unpack(VqCommand, command.head)
    buffers = _all_keyed(rest, limits, "vq command")
    _check_buffers(buffers, limits)
    _check_lengths("vq command", buffers, vq.out_length + vq.in_length)
    readable, writable = _divided(buffers, vq.out_length)
    return command._replace(readable=readable, writable=writable)


def _take_eager(command: KeyedCommand, rest: memoryview, limits: KeyedLimits) -> KeyedCommand:
    eager = unpack(VqKeyedEagerBufCommand, command.head)
    buffers = _all_keyed(rest, limits, "vq_keyed_eager_buf command")
    _check_buffers(buffers, limits, besides=eager.out_length)
    _check_lengths("vq_keyed_eager_buf command", buffers, eager.in_length)
    return command._replace(writable=buffers)


def _divided(
    buffers: Sequence[KeyedDescriptor], size: int
) -> tuple[list[KeyedDescriptor], list[KeyedDescriptor]]:
    """Return what names the first ``size`` bytes of the buffers, and what names the rest."""
    first: list[KeyedDescriptor] = []
    rest: list[KeyedDescriptor] = []
    for item in buffers:
        part = min(size, item.length)
        size -= part
        if part:
            first.append(item._replace(length=part))
        if part < item.length:
            rest.append(KeyedDescriptor(item.addr + part, item.length - part, item.key))
    return first, rest


def _segment_descriptors(rest: memoryview, count: int, what: str) -> list[SegmentDescriptor]:
    _check_size(rest, count * DESCRIPTOR_SIZE, what, count)
    return [SegmentDescriptor._make(fields) for fields in _SEGMENT.iter_unpack(rest)]


def _all_keyed(rest: memoryview, limits: KeyedLimits, what: str) -> list[KeyedDescriptor]:
    """Return the keyed descriptors of a message that has as many as it has room for."""
    count, odd = divmod(len(rest), KEYED_DESCRIPTOR_SIZE)
    if odd or count > limits.max_descs:
        raise RemoteProtocolError(
            f"a {what} is followed by {len(rest)} bytes; at most {limits.max_descs} keyed "
            "descriptors are allowed"
        )
    return _keyed_descriptors(rest, count, what)


def _keyed_descriptors(rest: memoryview, count: int, what: str) -> list[KeyedDescriptor]:
    _check_size(rest, count * KEYED_DESCRIPTOR_SIZE, what, count)
    return [KeyedDescriptor._make(fields) for fields in _KEYED.iter_unpack(rest)]


def _check_size(rest: memoryview, size: int, what: str, count: int) -> None:
    if len(rest) != size:
        raise RemoteProtocolError(
            f"the message of a {what} with {count} descriptors has {COMMAND_SIZE + len(rest)} "
            f"bytes instead of {COMMAND_SIZE + size}"
        )


def _check_buffers(
    buffers: Sequence[KeyedDescriptor], limits: KeyedLimits, besides: int = 0
) -> None:
    total = besides
    for item in buffers:
        if not item.length:
            raise RemoteProtocolError("a descriptor has length zero")
        if item.addr + item.length > 1 << 64:
            raise RemoteProtocolError("a descriptor's buffer goes beyond the last address")
        total += item.length
    if total > limits.max_transfer:
        raise RemoteProtocolError(
            f"the buffers of a command add up to {total} bytes; at most {limits.max_transfer} are "
            "allowed"
        )


def _check_lengths(what: str, buffers: Sequence[KeyedDescriptor], said: int) -> None:
    found = sum(item.length for item in buffers)
    if found != said:
        raise RemoteProtocolError(f"a {what} says {said} bytes; its descriptors have {found}")


def encode_keyed_completion(
    dialect: Dialect, command: KeyedCommand, status: int, used: int, length: int
) -> bytes:
    """Return the completion of a virtqueue's request, of which the device wrote ``used`` bytes: the
    first ``length`` of its device-writable ones are in their place already."""
    if status:
        used = length = 0
    assert command.command is not None
    if dialect.framing is not Framing.LENGTHS:
        ndesc = 0 if status else len(command.writable)
        return pack(Completion(status, command.command_id, ndesc, value=used))
    fields = {"value": length}
    if command.command is Command.VQ:
        whole = unpack(VqCommand, command.head).in_length
        fields["in_length"] = used if used < length else whole
    return dialect.complete(command.command, command.command_id, status, **fields)
