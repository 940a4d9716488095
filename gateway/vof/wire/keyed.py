# SPDX-License-Identifier: BSD-3-Clause
"""Keyed transmission (RDMA): what stands in one SEND, as the initiator has it.

A command and the descriptors that name its buffers are one message; the target reads and writes the
buffers by their keys and answers with a message of 16 bytes (*proposal*, examples 2.1 and 2.2). A
message has exactly the size that its command says.

The keyed descriptor is drawn in *v5* without a layout: its 16 bytes are ours. Ours are also the
keyed descriptors behind ``get_keyed_eager_buf``, which name the buffer of its body, and behind
``vq_keyed_eager_buf``, which name the device-writable buffers.

Pure: no memory is registered here, and none looked at. Must not know queues, regions or devices. A
peer's mistake is a RemoteProtocolError.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vof.errors import RemoteProtocolError
from vof.wire.constants import DescriptorFlag, LaterOpcode, Opcode
from vof.wire.dialect import Framing
from vof.wire.layout import laid_out, layout_of
from vof.wire.stream import Arrival
from vof.wire.structs import (
    COMMAND_SIZE,
    COMPLETION_SIZE,
    HEAD,
    Buffer,
    Completion,
    ConnectCommand,
    SegmentDescriptor,
    VringCommand,
    pack,
    unpack,
)
from vof.wire.vq import VqCommand, VqCompletion, written_lengths

_NEXT = int(DescriptorFlag.NEXT)
_WRITE = int(DescriptorFlag.WRITE)

KEYED_DESCRIPTOR_SIZE = 16

MAX_KEYED_DESCS = 255
"""Keyed descriptors of one direction that a command can count."""


@laid_out("QII", KEYED_DESCRIPTOR_SIZE, addr=0, length=8, key=12)
class KeyedDescriptor(NamedTuple):
    """Bytes of registered memory (ours, from the picture in *v5*)."""

    addr: int
    length: int
    key: int


@laid_out("HHHB9s", COMMAND_SIZE, opcode=0, command_id=2, vq_index=4, descs=6, padding=7)
class GetKeyedEagerBufCommand(NamedTuple):
    """*v5* struct virtio_of_command_get_keyed_eager_buf; ``descs`` is the most to obtain."""

    opcode: int
    command_id: int
    vq_index: int
    descs: int
    reserved: bytes = bytes(9)


@laid_out("HHB11s", COMPLETION_SIZE, status=0, command_id=2, descs=4, padding=5)
class GetKeyedEagerBufCompletion(NamedTuple):
    """*v5* struct virtio_of_completion_get_keyed_eager_buf."""

    status: int
    command_id: int
    descs: int
    reserved: bytes = bytes(11)


@laid_out("HHIII", COMMAND_SIZE, opcode=0, command_id=2, out_offset=4, out_length=8, in_length=12)
class VqKeyedEagerBufCommand(NamedTuple):
    """*v5* struct virtio_of_command_vq_keyed_eager_buf."""

    opcode: int
    command_id: int
    out_offset: int
    """Where the device-readable bytes are in the range of the queue's eager buffers."""
    out_length: int
    in_length: int


_KEYED = layout_of(KeyedDescriptor)
_SEGMENT = layout_of(SegmentDescriptor)


def encode_keyed(
    framing: Framing,
    command_id: int,
    readable: Sequence[KeyedDescriptor],
    writable: Sequence[KeyedDescriptor],
) -> bytes:
    """Return the message of a virtqueue's request: a vring command with segment descriptors, or a
    vq command with keyed ones."""
    if framing is Framing.LENGTHS:
        return _encode_vq(command_id, readable, writable)
    descriptors = []
    last = len(readable) + len(writable) - 1
    for place, (addr, length, key) in enumerate((*readable, *writable)):
        flags = (_NEXT if place < last else 0) | (_WRITE if place >= len(readable) else 0)
        descriptors.append(_SEGMENT.pack(addr, length, place, flags, key, b""))
    command = VringCommand(Opcode.VRING, command_id, 0, len(descriptors))
    return pack(command) + b"".join(descriptors)


def _encode_vq(
    command_id: int, readable: Sequence[KeyedDescriptor], writable: Sequence[KeyedDescriptor]
) -> bytes:
    command = VqCommand(
        LaterOpcode.VQ,
        command_id,
        sum(item.length for item in readable),
        sum(item.length for item in writable),
        len(readable),
        len(writable),
    )
    return pack(command) + b"".join(_KEYED.pack(*item) for item in (*readable, *writable))


def encode_eager(
    command_id: int, out_offset: int, out_length: int, writable: Sequence[KeyedDescriptor]
) -> bytes:
    """Return the message of a request whose device-readable bytes are in the queue's eager range
    already."""
    in_length = sum(item.length for item in writable)
    command = VqKeyedEagerBufCommand(
        LaterOpcode.VQ_KEYED_EAGER_BUF, command_id, out_offset, out_length, in_length
    )
    return pack(command) + b"".join(_KEYED.pack(*item) for item in writable)


def encode_keyed_connect(command: ConnectCommand, body: KeyedDescriptor) -> bytes:
    """Return the message of a Connect; ``body`` names its registered connect body."""
    descriptor = SegmentDescriptor(addr=body.addr, length=body.length, id=0, flags=0, key=body.key)
    return pack(command) + pack(descriptor)


def encode_get_keyed_eager_buf(
    command_id: int, vq_index: int, descs: int, body: KeyedDescriptor
) -> bytes:
    """Return the message that asks for at most ``descs`` eager buffers of a virtqueue, to be
    written to ``body``."""
    command = GetKeyedEagerBufCommand(LaterOpcode.GET_KEYED_EAGER_BUF, command_id, vq_index, descs)
    return pack(command) + pack(body)


def decode_eager_buffers(body: Buffer, count: int) -> list[KeyedDescriptor]:
    """Return the first ``count`` descriptors of the body of get_keyed_eager_buf."""
    size = count * KEYED_DESCRIPTOR_SIZE
    return [KeyedDescriptor(*fields) for fields in _KEYED.iter_unpack(memoryview(body)[:size])]


def completion_id(message: Buffer) -> int:
    """Return the command id of a completion. Raises RemoteProtocolError if it has no 16 bytes."""
    if len(message) != COMPLETION_SIZE:
        raise RemoteProtocolError(f"a completion of {len(message)} bytes instead of 16")
    return HEAD.unpack_from(message)[1]  # type: ignore[no-any-return]


def decode_completion(
    framing: Framing, message: Buffer, sizes: Sequence[int], tail: int
) -> Arrival:
    """Return what a completion says of a command with device-writable buffers of ``sizes`` bytes,
    the last ``tail`` of which every answer has.

    Raises RemoteProtocolError if it says that more was written than there is room for.
    """
    if not sizes:  # a control command
        return Arrival(unpack(Completion, message), ())
    if framing is Framing.LENGTHS:
        status, command_id, length, used, _reserved = unpack(VqCompletion, message)
        written = used or length
        _check_room(command_id, max(length, used), sizes)
    else:
        status, command_id, _ndesc, _rsvd, value = unpack(Completion, message)
        written = value & 0xFFFF_FFFF
        _check_room(command_id, written, sizes)
    if status:
        return Arrival(Completion(status, command_id), ())
    lengths = written_lengths(written, sizes, tail)
    return Arrival(Completion(status, command_id, len(sizes), value=written), lengths)


def _check_room(command_id: int, length: int, sizes: Sequence[int]) -> None:
    room = sum(sizes)
    if length > room:
        raise RemoteProtocolError(
            f"completion of command id {command_id} returns {length} bytes where the command has "
            f"room for {room}"
        )
