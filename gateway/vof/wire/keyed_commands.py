# SPDX-License-Identifier: BSD-3-Clause
"""Keyed transmission (RDMA) as the target has it: commands out of messages, and their completions.

Owns the bounds of what is taken from a peer. Pure: whether a key is good is for the fabric to find
out. Must not know queues, regions or devices; *v5*, *proposal*, and ours as ``keyed`` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vof.errors import RemoteProtocolError
from vof.wire.constants import DescriptorFlag, LaterOpcode, Opcode
from vof.wire.dialect import Dialect, Framing
from vof.wire.keyed import KEYED_DESCRIPTOR_SIZE, KeyedDescriptor, VqKeyedEagerBufCommand
from vof.wire.layout import layout_of
from vof.wire.structs import (
    COMMAND_SIZE,
    CONNECT_BODY_SIZE,
    DESCRIPTOR_SIZE,
    HEAD,
    Buffer,
    Completion,
    ConnectCommand,
    SegmentDescriptor,
    VringCommand,
    pack,
    unpack,
)
from vof.wire.vq import VqCommand, VqCompletion

_WRITE = int(DescriptorFlag.WRITE)

_KEYED = layout_of(KeyedDescriptor)
_SEGMENT = layout_of(SegmentDescriptor)

NO_BUFFERS: Sequence[KeyedDescriptor] = ()


class KeyedLimits(NamedTuple):
    """What a target takes in one message before it calls it a violation."""

    max_ndesc: int
    """Segment descriptors of a vring command."""
    max_descs: int
    """Keyed descriptors of each direction: what get_keyed_num_descs answers."""
    max_transfer: int
    """Bytes of all buffers of a command together."""

    @property
    def message_size(self) -> int:
        """Bytes of the largest message there can be."""
        return COMMAND_SIZE + max(
            self.max_ndesc * DESCRIPTOR_SIZE, 2 * self.max_descs * KEYED_DESCRIPTOR_SIZE
        )


class KeyedCommand(NamedTuple):
    """A command and the buffers it names."""

    opcode: int
    command_id: int
    head: bytes
    """The 16 bytes of the command; ``unpack`` them as the structure that belongs to ``opcode``."""
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

    Raises RemoteProtocolError for an opcode that the dialect does not have, a message shorter or
    longer than its command says, descriptors beyond the limits or of length zero, and a Connect
    that is not one descriptor of 1,024 bytes.
    """
    view = memoryview(message)
    if len(view) < COMMAND_SIZE:
        raise RemoteProtocolError(f"a command of {len(view)} bytes; the shortest has 16")
    head, rest = bytes(view[:COMMAND_SIZE]), view[COMMAND_SIZE:]
    opcode, command_id = HEAD.unpack_from(head)
    command = KeyedCommand(opcode, command_id, head)
    if opcode == Opcode.CONNECT:
        return _take_connect(command, rest)
    if opcode == Opcode.VRING and dialect.framing is Framing.SEGMENTS:
        return _take_vring(command, rest, limits)
    if dialect.framing is Framing.LENGTHS:
        if opcode == LaterOpcode.VQ:
            return _take_vq(command, rest, limits)
        if opcode == LaterOpcode.VQ_KEYED_EAGER_BUF:
            return _take_eager(command, rest, limits)
    if opcode == LaterOpcode.GET_KEYED_EAGER_BUF and opcode in dialect.keyed_opcodes:
        descriptors = _keyed_descriptors(rest, 1, "get_keyed_eager_buf")
        return command._replace(writable=descriptors)
    if opcode not in dialect.plain_opcodes:
        raise RemoteProtocolError(f"opcode {opcode:#06x} is not one of dialect {dialect.name}")
    if rest:
        raise RemoteProtocolError(
            f"the message of command {opcode:#06x} has {len(rest)} bytes too many"
        )
    return command


def _take_connect(command: KeyedCommand, rest: memoryview) -> KeyedCommand:
    ndesc = unpack(ConnectCommand, command.head).ndesc
    if ndesc != 1:
        raise RemoteProtocolError(f"a Connect has {ndesc} descriptors instead of 1")
    [body] = _segment_descriptors(rest, 1, "Connect")
    if body.length != CONNECT_BODY_SIZE or body.flags & _WRITE:
        raise RemoteProtocolError("a Connect's descriptor is not 1024 device-readable bytes")
    return command._replace(readable=[KeyedDescriptor(body.addr, body.length, body.key)])


def _take_vring(command: KeyedCommand, rest: memoryview, limits: KeyedLimits) -> KeyedCommand:
    ndesc = unpack(VringCommand, command.head).ndesc
    if not 0 < ndesc <= limits.max_ndesc:
        raise RemoteProtocolError(
            f"a vring command has {ndesc} descriptors; 1 to {limits.max_ndesc} are allowed"
        )
    segments = _segment_descriptors(rest, ndesc, "vring command")
    if len({item.id for item in segments}) != ndesc:
        raise RemoteProtocolError("a descriptor id is used twice in one command")
    readable: list[KeyedDescriptor] = []
    writable: list[KeyedDescriptor] = []
    for item in segments:
        buffer = KeyedDescriptor(item.addr, item.length, item.key)
        (writable if item.flags & _WRITE else readable).append(buffer)
    _check_buffers([*readable, *writable], limits)
    return command._replace(readable=readable, writable=writable)


def _take_vq(command: KeyedCommand, rest: memoryview, limits: KeyedLimits) -> KeyedCommand:
    vq = unpack(VqCommand, command.head)
    for count in (vq.out_descs, vq.in_descs):
        if count > limits.max_descs:
            raise RemoteProtocolError(
                f"a vq command has {count} keyed descriptors of one direction; at most "
                f"{limits.max_descs} are allowed"
            )
    buffers = _keyed_descriptors(rest, vq.out_descs + vq.in_descs, "vq command")
    _check_buffers(buffers, limits)
    taken = command._replace(readable=buffers[: vq.out_descs], writable=buffers[vq.out_descs :])
    _check_lengths(taken, "vq command", taken.out_length, vq.out_length, "readable")
    _check_lengths(taken, "vq command", taken.in_length, vq.in_length, "writable")
    return taken


def _take_eager(command: KeyedCommand, rest: memoryview, limits: KeyedLimits) -> KeyedCommand:
    eager = unpack(VqKeyedEagerBufCommand, command.head)
    count, odd = divmod(len(rest), KEYED_DESCRIPTOR_SIZE)
    if odd or count > limits.max_descs:
        raise RemoteProtocolError(
            f"a vq_keyed_eager_buf command is followed by {len(rest)} bytes; at most "
            f"{limits.max_descs} keyed descriptors are allowed"
        )
    buffers = _keyed_descriptors(rest, count, "vq_keyed_eager_buf command")
    _check_buffers(buffers, limits, besides=eager.out_length)
    taken = command._replace(writable=buffers)
    _check_lengths(
        taken, "vq_keyed_eager_buf command", taken.in_length, eager.in_length, "writable"
    )
    return taken


def _segment_descriptors(rest: memoryview, count: int, what: str) -> list[SegmentDescriptor]:
    _check_size(rest, count * DESCRIPTOR_SIZE, what, count)
    return [SegmentDescriptor._make(fields) for fields in _SEGMENT.iter_unpack(rest)]


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


def _check_lengths(command: KeyedCommand, what: str, found: int, said: int, direction: str) -> None:
    if found != said:
        raise RemoteProtocolError(
            f"a {what} says {said} device-{direction} bytes; its descriptors have {found}"
        )


def encode_keyed_completion(
    framing: Framing, command: KeyedCommand, status: int, used: int, length: int
) -> bytes:
    """Return the completion of a virtqueue's request, of which the device wrote ``used`` bytes: the
    first ``length`` of its device-writable ones are in their place already."""
    if status:
        used = length = 0
    if framing is Framing.LENGTHS:
        return pack(VqCompletion(status, command.command_id, length, used if used < length else 0))
    ndesc = 0 if status else len(command.writable)
    return pack(Completion(status, command.command_id, ndesc, value=used))
