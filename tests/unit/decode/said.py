# SPDX-License-Identifier: BSD-3-Clause
"""What initiators and targets say: the conversations that are decoded.

Numbers and layouts are written down here once more, from the texts, so that nothing of ours says
what it then understands.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from vof.wire.dialect import PROPOSAL, V2, V5, Dialect

IVQN, TVQN = "vqn.uuid:an-initiator", "a-target/a-disk"

I2T, T2I = "i2t", "t2i"

BLOCK, RNG, CRYPTO = 2, 4, 20

OPCODES = {
    PROPOSAL.name: {
        "connect": 0x0000, "disconnect": 0x0001, "keepalive": 0x0002, "get_feature": 0x0003,
        "set_feature": 0x0004, "get_vendor_id": 0x1000, "get_device_id": 0x1001,
        "get_generation": 0x1002, "get_status": 0x1003, "set_status": 0x1004,
        "get_device_feature": 0x1005, "set_driver_feature": 0x1006, "get_num_queues": 0x1007,
        "get_queue_size": 0x1008, "set_queue_size": 0x1009, "get_config": 0x100A,
        "set_config": 0x100B, "get_config_changed": 0x100C, "vring": 0x2000,
    },
    V2.name: {
        "connect": 0x0000, "disconnect": 0x0001, "get_feature": 0x0002, "set_feature": 0x0003,
        "keepalive": 0x0004, "vring": 0x0FFF, "get_vendor_id": 0x1000, "get_device_id": 0x1001,
        "get_generation": 0x1002, "get_status": 0x1004, "set_status": 0x1005,
        "get_device_feature": 0x1006, "set_driver_feature": 0x1007, "get_num_queues": 0x1008,
        "get_queue_size": 0x100A, "get_config": 0x100C, "set_config": 0x100D,
    },
    V5.name: {
        "connect": 0x0000, "disconnect": 0x0001, "keepalive": 0x0002, "get_feature": 0x0004,
        "set_feature": 0x0005, "get_keyed_num_descs": 0x0100, "get_keyed_eager_buf": 0x0102,
        "vq_keyed_eager_buf": 0x0FFE, "vq": 0x0FFF, "get_vendor_id": 0x1000,
        "get_device_id": 0x1001, "reset_device": 0x1003, "get_status": 0x1004,
        "set_status": 0x1005, "get_device_feature": 0x1006, "set_driver_feature": 0x1009,
        "get_vq_size": 0x100A, "get_config": 0x100C, "set_config": 0x100D,
    },
}  # fmt: skip

_OFTYPES = {PROPOSAL.name: (0, 1), V2.name: (1, 2)}

_NEXT, _WRITE = 1, 2


def body() -> bytes:
    """Return a connect body."""
    return IVQN.encode().ljust(256, b"\0") + TVQN.encode().ljust(256, b"\0") + bytes(512)


def connect_head(
    dialect: Dialect,
    queue: int | None = None,
    *,
    target_id: int = 3,
    oftype: int | None = None,
    rdma: bool = False,
    length: int = 1024,
) -> bytes:
    """Return the 16 bytes of a Connect, of the control queue or a virtqueue."""
    ids = struct.pack("<HHHH", 0, 7, 0xFFFF if queue is None else target_id, queue or 0)
    if dialect is V5:
        return ids + struct.pack("<IHxx", length, 0)
    return ids + struct.pack("<HB5x", 1, _OFTYPES[dialect.name][rdma] if oftype is None else oftype)


def connect(
    dialect: Dialect, queue: int | None = None, *, target_id: int = 3, oftype: int | None = None
) -> bytes:
    """Return a Connect over TCP with all that follows it."""
    head = connect_head(dialect, queue, target_id=target_id, oftype=oftype)
    return head + (b"" if dialect is V5 else segment(1024, 0, 0)) + body()


def segment(length: int, ident: int, flags: int, addr: int = 0, key: int = 0) -> bytes:
    """Return a segment descriptor."""
    return struct.pack("<QIHHI4x", addr, length, ident, flags, key)


def common(dialect: Dialect, name: str, command_id: int = 0, value: int = 0) -> bytes:
    """Return a command that has no fields but a value perhaps."""
    return struct.pack("<HH4xQ", OPCODES[dialect.name][name], command_id, value)


def unknown(opcode: int, command_id: int = 0) -> bytes:
    """Return a command of any opcode."""
    return struct.pack("<HH12x", opcode, command_id)


def done(command_id: int, value: int = 0, status: int = 0) -> bytes:
    """Return a completion as it was before v5."""
    return struct.pack("<HH4xQ", status, command_id, value)


def answered(dialect: Dialect, command_id: int, value: int = 0, status: int = 0) -> bytes:
    """Return the completion of a command that asks for up to 32 bits."""
    if dialect is V5:
        return struct.pack("<HHI8x", status, command_id, value)
    return done(command_id, value, status)


def request(
    dialect: Dialect, command_id: int, readable: Sequence[bytes], writable: Sequence[int]
) -> bytes:
    """Return a virtqueue's request over TCP with its data."""
    data = b"".join(readable)
    if dialect is V5:
        return struct.pack("<HH4xII", 0x0FFF, command_id, len(data), sum(writable)) + data
    sizes = [(len(part), 0) for part in readable] + [(size, _WRITE) for size in writable]
    head = struct.pack("<HHIH6x", OPCODES[dialect.name]["vring"], command_id, len(data), len(sizes))
    chained = _NEXT if dialect is PROPOSAL else 0
    table = [
        segment(size, place, flags | (chained if place < len(sizes) - 1 else 0))
        for place, (size, flags) in enumerate(sizes)
    ]
    return head + b"".join(table) + data


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
    if dialect is V5:
        return struct.pack("<HH4xII", status, command_id, len(data), sum(writable)) + data
    chained = _NEXT if dialect is PROPOSAL else 0
    table = []
    addr = 0
    for place, part in enumerate(written):
        flags = _WRITE | (chained if place < len(writable) - 1 else 0)
        table.append(segment(len(part), readable + place, flags, addr))
        addr += len(part)
    head = struct.pack("<HHHxxQ", status, command_id, len(table), len(data))
    return head + b"".join(table) + data


def header(kind: int, sector: int = 0) -> bytes:
    """Return the header of a virtio-blk request."""
    return struct.pack("<IIQ", kind, 0, sector)


def attached(dialect: Dialect, device: int = BLOCK) -> list[tuple[str, bytes]]:
    """Return a control queue's first words: Connect and get_device_id."""
    return [
        (I2T, connect(dialect)),
        (T2I, answered(dialect, 7, 3)),
        (I2T, common(dialect, "get_device_id", 1)),
        (T2I, answered(dialect, 1, device)),
    ]
