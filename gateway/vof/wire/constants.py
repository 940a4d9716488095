# SPDX-License-Identifier: BSD-3-Clause
"""Numbers of the protocol that are the same in every dialect, and of virtio's common facilities.

Sources: *v2* command set ("Command ID", "Connect Command", "Vring Command"), the *proposal*'s
opcodes as the reference target and the Linux initiator use them, virtio 1.2 §2.1 (device status)
and §6 (feature bits). Numbers that differ between dialects live in ``dialect``; those of one device
type in its own module.
"""

from __future__ import annotations

from enum import Enum, IntEnum, IntFlag

DEFAULT_PORT = 15771
"""TCP and RDMA port of the reference target."""

CONTROL_QUEUE_TARGET_ID = 0xFFFF
"""Target id of a Connect for the control queue; the completion brings the id that was allocated."""

FIRST_RESERVED_COMMAND_ID = 0xFF00
"""Command ids from here on belong to asynchronous events; an initiator never allocates them."""

MAX_COMMAND_ID = FIRST_RESERVED_COMMAND_ID - 1

STATUS_OTHER = 4096
"""A completion status that means "some other error"; the rest are Linux errno numbers."""


class Opcode(IntEnum):
    """Opcodes common to all dialects. Get and set transport feature differ: see ``dialect``."""

    CONNECT = 0x0000
    DISCONNECT = 0x0001
    KEEPALIVE = 0x0002
    GET_VENDOR_ID = 0x1000
    GET_DEVICE_ID = 0x1001
    GET_GENERATION = 0x1002
    GET_STATUS = 0x1003
    SET_STATUS = 0x1004
    GET_DEVICE_FEATURE = 0x1005
    SET_DRIVER_FEATURE = 0x1006
    GET_NUM_QUEUES = 0x1007
    GET_QUEUE_SIZE = 0x1008
    SET_QUEUE_SIZE = 0x1009
    GET_CONFIG = 0x100A
    SET_CONFIG = 0x100B
    GET_CONFIG_CHANGED = 0x100C
    VRING = 0x2000


class LaterOpcode(IntEnum):
    """Opcodes of *v5* alone."""

    GET_KEYED_NUM_DESCS = 0x0100
    GET_KEYED_EAGER_BUF = 0x0102
    VQ_KEYED_EAGER_BUF = 0x0FFE
    VQ = 0x0FFF


class TransportFeature(IntFlag):
    """Transport feature bits of *v5*, ``feature_select`` 0 (VIRTIO_OF_F_*)."""

    KEYED_NUM_DESCS = 1 << 0
    KEYED_EAGER_BUF = 1 << 1


class AsyncEvent(IntEnum):
    """Command ids of completions that belong to no command (*v2*, "Command ID"); on the control
    queue only."""

    CONFIG_CHANGE = 0xFFFE
    KEEPALIVE = 0xFFFF


class Transport(Enum):
    """What carries an association's queues."""

    TCP = "tcp"
    RDMA = "rdma"


class DescriptorFlag(IntFlag):
    """Flags of a segment descriptor: virtio's VRING_DESC_F_*."""

    NEXT = 1
    WRITE = 2
    """The buffer is device-writable."""


class DeviceId(IntEnum):
    """virtio 1.2 §5: the device types this project knows."""

    BLOCK = 2
    RNG = 4
    CRYPTO = 20


class DeviceStatus(IntFlag):
    """virtio 1.2 §2.1."""

    ACKNOWLEDGE = 1
    DRIVER = 2
    DRIVER_OK = 4
    FEATURES_OK = 8
    DEVICE_NEEDS_RESET = 64
    FAILED = 128


class CommonFeature(IntFlag):
    """virtio 1.2 §6: feature bits that belong to no device type."""

    RING_INDIRECT_DESC = 1 << 28
    RING_EVENT_IDX = 1 << 29
    VERSION_1 = 1 << 32
    ACCESS_PLATFORM = 1 << 33
    RING_PACKED = 1 << 34
    IN_ORDER = 1 << 35
    ORDER_PLATFORM = 1 << 36
    SR_IOV = 1 << 37
    NOTIFICATION_DATA = 1 << 38
    NOTIF_CONFIG_DATA = 1 << 39
    RING_RESET = 1 << 40


VENDOR_VTGT = 0x56544754
"""Vendor id of the reference target, whose quirks an initiator must live with."""

VENDOR_VOF = 0x564F4631
"""Vendor id of this project's target, ASCII "VOF1" (ours)."""

CONFIG_WIDTHS = (1, 2, 4, 8)
"""The widths in bytes of a get_config or set_config (*v2*, "Config Command")."""
