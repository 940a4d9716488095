# SPDX-License-Identifier: BSD-3-Clause
"""What initiators and targets say, by our encoders: the conversations that are decoded."""

from __future__ import annotations

from collections.abc import Sequence

from vof.wire import blk
from vof.wire.constants import CONTROL_QUEUE_TARGET_ID, DeviceId, Opcode, Transport
from vof.wire.dialect import Dialect, Framing
from vof.wire.framing import encode_request
from vof.wire.names import encode_name
from vof.wire.stream import encode_connect, encode_vring_completion
from vof.wire.structs import (
    CommonCommand,
    Completion,
    ConnectBody,
    ConnectCommand,
    SegmentDescriptor,
    pack,
)
from vof.wire.vq import VqCompletion

IVQN, TVQN = "vqn.uuid:an-initiator", "a-target/a-disk"

I2T, T2I = "i2t", "t2i"


def connect(
    dialect: Dialect, queue: int | None = None, *, target_id: int = 3, oftype: int | None = None
) -> bytes:
    """Return a Connect over TCP, of the control queue or a virtqueue."""
    command = ConnectCommand(
        Opcode.CONNECT,
        7,
        CONTROL_QUEUE_TARGET_ID if queue is None else target_id,
        queue or 0,
        1,
        dialect.oftype(Transport.TCP) if oftype is None else oftype,
    )
    return encode_connect(command, ConnectBody(encode_name(IVQN), encode_name(TVQN)))


def done(command_id: int, value: int = 0, status: int = 0) -> bytes:
    """Return a completion."""
    return pack(Completion(status, command_id, value=value))


def common(opcode: int, command_id: int = 0, value: int = 0) -> bytes:
    """Return a command of the common form."""
    return pack(CommonCommand(opcode, command_id, value=value))


def request(
    dialect: Dialect, command_id: int, readable: Sequence[bytes], writable: Sequence[int]
) -> bytes:
    """Return a virtqueue's request with its data."""
    head = encode_request(dialect.framing, command_id, [len(part) for part in readable], writable)
    return head + b"".join(readable)


def answer(
    dialect: Dialect,
    command_id: int,
    readable: int,
    writable: Sequence[int],
    written: Sequence[bytes],
    status: int = 0,
) -> bytes:
    """Return the completion of a request of ``readable`` buffers that are device-readable."""
    data = b"".join(written)
    if dialect.framing is Framing.LENGTHS:
        return pack(VqCompletion(status, command_id, len(data))) + data
    last = len(writable) - 1
    descriptors = [
        SegmentDescriptor(0, size, readable + place, 2 | (place < last))
        for place, size in enumerate(writable)
    ]
    returned = list(zip(descriptors, map(len, written), strict=True))
    return encode_vring_completion(status, command_id, returned) + data


def header(kind: blk.RequestType, sector: int = 0) -> bytes:
    """Return the header of a virtio-blk request."""
    return blk.REQUEST_HEADER.pack(kind, 0, sector)


def attached(dialect: Dialect, device: DeviceId = DeviceId.BLOCK) -> list[tuple[str, bytes]]:
    """Return a control queue's first words: Connect and get_device_id."""
    return [
        (I2T, connect(dialect)),
        (T2I, done(7, value=3)),
        (I2T, common(Opcode.GET_DEVICE_ID, 1)),
        (T2I, done(1, value=device)),
    ]
