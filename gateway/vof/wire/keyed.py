# SPDX-License-Identifier: BSD-3-Clause
"""Keyed transmission (RDMA): what stands in one SEND, as the initiator has it.

A command and the descriptors that name its buffers are one message; the target reads and writes the
buffers by their keys and answers with a message of 16 bytes (*proposal*, examples 2.1 and 2.2; *v5*
"Keyed Transmission"). A message has exactly the size that its command says, or in *v5* as many
keyed descriptors as it has room for. These cover the device-readable bytes and then the
device-writable ones; that one descriptor may hold the end of the former and the beginning of the
latter is ours, and that those behind ``vq_keyed_eager_buf`` cover the device-writable bytes.

Pure: no memory is registered here, and none looked at. Must not know queues, regions or devices. A
peer's mistake is a RemoteProtocolError.
"""

from __future__ import annotations

from collections.abc import Sequence

from vof.errors import RemoteProtocolError
from vof.wire.constants import Command, DescriptorFlag
from vof.wire.dialect import V5, Framing, keyed_flag, next_flag, vring_of
from vof.wire.layout import layout_of
from vof.wire.stream import Arrival
from vof.wire.structs import (
    COMPLETION_SIZE,
    HEAD,
    Buffer,
    Completion,
    SegmentDescriptor,
    VringCommand,
    pack,
    unpack,
)
from vof.wire.v5 import KEYED_DESCRIPTOR_SIZE, KeyedDescriptor, NumberCompletion, VqCompletion
from vof.wire.vq import used_length, written_lengths

_WRITE = int(DescriptorFlag.WRITE)

_KEYED = layout_of(KeyedDescriptor)
_SEGMENT = layout_of(SegmentDescriptor)


def encode_keyed_vring(
    framing: Framing,
    command_id: int,
    readable: Sequence[KeyedDescriptor],
    writable: Sequence[KeyedDescriptor],
) -> bytes:
    """Return the message of a virtqueue's request by segment descriptors."""
    chained, keyed = next_flag(framing), keyed_flag(framing)
    descriptors = []
    last = len(readable) + len(writable) - 1
    for place, (addr, length, key) in enumerate((*readable, *writable)):
        flags = keyed | (chained if place < last else 0)
        flags |= _WRITE if place >= len(readable) else 0
        descriptors.append(_SEGMENT.pack(addr, length, place, flags, key, b""))
    command = VringCommand(vring_of(framing), command_id, 0, len(descriptors))
    return pack(command) + b"".join(descriptors)


def encode_keyed_vq(command_id: int, out_length: int, buffers: Sequence[KeyedDescriptor]) -> bytes:
    """Return the message of a virtqueue's request whose ``buffers`` begin with ``out_length``
    device-readable bytes; the rest are device-writable."""
    in_length = sum(item.length for item in buffers) - out_length
    command = V5.encode(Command.VQ, command_id, out_length=out_length, in_length=in_length)
    return command + b"".join(_KEYED.pack(*item) for item in buffers)


def encode_eager(
    command_id: int, out_offset: int, out_length: int, writable: Sequence[KeyedDescriptor]
) -> bytes:
    """Return the message of a request whose device-readable bytes are in the queue's eager range
    already."""
    command = V5.encode(
        Command.VQ_KEYED_EAGER_BUF,
        command_id,
        out_offset=out_offset,
        out_length=out_length,
        in_length=sum(item.length for item in writable),
    )
    return command + b"".join(_KEYED.pack(*item) for item in writable)


def encode_get_keyed_eager_buf(
    command_id: int, vq_index: int, descs: int, body: KeyedDescriptor
) -> bytes:
    """Return the message that asks for at most ``descs`` eager buffers of a virtqueue, to be
    written to ``body``."""
    command = V5.encode(Command.GET_KEYED_EAGER_BUF, command_id, queue_id=vq_index, descs=descs)
    return command + pack(body)


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
    framing: Framing, message: Buffer, sizes: Sequence[int], tail: int, *, eager: bool = False
) -> Arrival:
    """Return what a completion says of a command with device-writable buffers of ``sizes`` bytes,
    the last ``tail`` of which every answer has. ``eager`` says that it was a vq_keyed_eager_buf.

    Raises RemoteProtocolError if it says that more was written than there is room for.
    """
    if not sizes:  # a control command
        return Arrival(unpack(Completion, message), ())
    room = in_length = sum(sizes)
    if framing.has_descriptors:
        status, command_id, _ndesc, _rsvd, value = unpack(Completion, message)
        length = value & 0xFFFF_FFFF
    elif eager:
        status, command_id, length, _reserved = unpack(NumberCompletion, message)
    else:
        status, command_id, _reserved, length, in_length = unpack(VqCompletion, message)
    if length > room:
        raise RemoteProtocolError(
            f"completion of command id {command_id} returns {length} bytes where the command has "
            f"room for {room}"
        )
    if status:
        return Arrival(Completion(status, command_id), ())
    if not framing.has_descriptors:
        tail = tail if length == room else 0
        length = used_length(length, in_length, room, tail)
    lengths = written_lengths(length, sizes, tail)
    return Arrival(Completion(status, command_id, len(sizes), value=length), lengths)
