# SPDX-License-Identifier: BSD-3-Clause
"""Numbers and the config space of the protocol, written down once more for the tests' own ends.

Taken from the specification and the recordings, not from ``vof.wire``.
"""

from __future__ import annotations

import struct

OPCODES = {
    "proposal": {
        "connect": 0x0000,
        "disconnect": 0x0001,
        "keepalive": 0x0002,
        "get_feature": 0x0003,
        "set_feature": 0x0004,
        "get_vendor_id": 0x1000,
        "get_device_id": 0x1001,
        "get_generation": 0x1002,
        "get_status": 0x1003,
        "set_status": 0x1004,
        "get_device_feature": 0x1005,
        "set_driver_feature": 0x1006,
        "get_num_queues": 0x1007,
        "get_queue_size": 0x1008,
        "set_queue_size": 0x1009,
        "get_config": 0x100A,
        "set_config": 0x100B,
        "get_config_changed": 0x100C,
        "vring": 0x2000,
    },
    "v2": {
        "connect": 0x0000,
        "disconnect": 0x0001,
        "get_feature": 0x0002,
        "set_feature": 0x0003,
        "keepalive": 0x0004,
        "vring": 0x0FFF,
        "get_vendor_id": 0x1000,
        "get_device_id": 0x1001,
        "get_generation": 0x1002,
        "get_status": 0x1004,
        "set_status": 0x1005,
        "get_device_feature": 0x1006,
        "set_driver_feature": 0x1007,
        "get_num_queues": 0x1008,
        "get_queue_size": 0x100A,
        "get_config": 0x100C,
        "set_config": 0x100D,
    },
    "v5": {
        "connect": 0x0000,
        "disconnect": 0x0001,
        "keepalive": 0x0002,
        "get_feature": 0x0004,
        "set_feature": 0x0005,
        "get_keyed_num_descs": 0x0100,
        "get_keyed_eager_buf": 0x0102,
        "vq_keyed_eager_buf": 0x0FFE,
        "vq": 0x0FFF,
        "get_vendor_id": 0x1000,
        "get_device_id": 0x1001,
        "reset_device": 0x1003,
        "get_status": 0x1004,
        "set_status": 0x1005,
        "get_device_feature": 0x1006,
        "set_driver_feature": 0x1009,
        "get_vq_size": 0x100A,
        "get_config": 0x100C,
        "set_config": 0x100D,
    },
}
"""The commands of each dialect."""

# Those of the proposal, which most tests speak.
CONNECT, DISCONNECT, KEEPALIVE, GET_FEATURE, SET_FEATURE = range(5)
GET_VENDOR_ID, GET_DEVICE_ID, GET_GENERATION, GET_STATUS, SET_STATUS = range(0x1000, 0x1005)
GET_DEVICE_FEATURE, SET_DRIVER_FEATURE, GET_NUM_QUEUES, GET_QUEUE_SIZE = range(0x1005, 0x1009)
SET_QUEUE_SIZE, GET_CONFIG, SET_CONFIG, GET_CONFIG_CHANGED = range(0x1009, 0x100D)
VQ, VRING = 0x0FFF, 0x2000

RESET_DEVICE, GET_KEYED_NUM_DESCS = 0x1_1003, 0x1_0100
"""Commands that the proposal lacks, and numbers for them that no command has."""

_OURS = {"reset_device": RESET_DEVICE, "get_keyed_num_descs": GET_KEYED_NUM_DESCS, "vq": VQ}
_SAME = {"get_vq_size": "get_queue_size"}


def as_proposal(dialect: str) -> dict[int, int]:
    """Return what the opcodes of a dialect are in the proposal, where it has such a command."""
    found = {}
    for name, opcode in OPCODES[dialect].items():
        known = OPCODES["proposal"].get(_SAME.get(name, name), _OURS.get(name))
        found[opcode] = opcode if known is None else known
    return found


IN, OUT, FLUSH, GET_ID = 0, 1, 4, 8
GET_LIFETIME, DISCARD, WRITE_ZEROES, SECURE_ERASE = 10, 11, 13, 14

F_SIZE_MAX, F_SEG_MAX, F_RO, F_BLK_SIZE = 1 << 1, 1 << 2, 1 << 5, 1 << 6
F_FLUSH, F_TOPOLOGY, F_CONFIG_WCE, F_MQ = 1 << 9, 1 << 10, 1 << 11, 1 << 12
F_DISCARD, F_WRITE_ZEROES, F_LIFETIME, F_SECURE_ERASE = 1 << 13, 1 << 14, 1 << 15, 1 << 16
F_VERSION_1 = 1 << 32

EVERYTHING = (
    F_SIZE_MAX
    | F_SEG_MAX
    | F_BLK_SIZE
    | F_FLUSH
    | F_TOPOLOGY
    | F_CONFIG_WCE
    | F_MQ
    | F_DISCARD
    | F_WRITE_ZEROES
    | F_LIFETIME
    | F_SECURE_ERASE
    | F_VERSION_1
)

VENDOR_VTGT = 0x56544754


def block_config(
    *,
    capacity: int = 2048,
    size_max: int = 65536,
    seg_max: int = 30,
    blk_size: int = 512,
    physical_exp: int = 3,
    opt_io_size: int = 256,
    writeback: int = 1,
    num_queues: int = 4,
    discard: tuple[int, int, int] = (1024, 1, 8),
    write_zeroes: tuple[int, int, int] = (512, 1, 1),
    secure_erase: tuple[int, int, int] = (256, 1, 8),
) -> bytes:
    """Return the 72 bytes of a virtio-blk config space (virtio 1.2, 5.2.4)."""
    parts = (
        struct.pack("<QII", capacity, size_max, seg_max),
        bytes(4),
        struct.pack("<I", blk_size),
        struct.pack("<BBHI", physical_exp, 0, 1, opt_io_size),
        struct.pack("<BBH", writeback, 0, num_queues),
        struct.pack("<III", *discard),
        struct.pack("<IIB3x", *write_zeroes),
        struct.pack("<III", *secure_erase),
    )
    return b"".join(parts)
