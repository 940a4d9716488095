# SPDX-License-Identifier: BSD-3-Clause
"""Numbers of the protocol that are the same in every dialect, and of virtio's common facilities.

Sources: *v5* and *v2* command sets ("Command ID", "Connect Command"), virtio 1.2 §2.1 (device
status) and §6 (feature bits). The numbers of the commands live in ``dialect``, those of a refusal
in ``status``, those of one device type in its own module.
"""

from __future__ import annotations

from enum import Enum, IntEnum, IntFlag

DEFAULT_PORT = 15771
"""TCP and RDMA port of the reference target, which initiators use unless told otherwise."""

V5_PORT = 8549
"""TCP and RDMA port of *v5* ("Transport Binding")."""

CONTROL_QUEUE_TARGET_ID = 0xFFFF
"""Target id of a Connect for the control queue; the completion brings the id that was allocated."""

FIRST_RESERVED_COMMAND_ID = 0xFF00
"""Command ids from here on belong to asynchronous events; an initiator never allocates them."""

MAX_COMMAND_ID = FIRST_RESERVED_COMMAND_ID - 1

CONTROL_QUEUE_DEPTH = 32
"""Commands in flight on a control queue at most (*v5* "Connect Command")."""


class Command(Enum):
    """Every command of every revision, by its name in the texts. Which of them a revision has, and
    under which opcode, says ``dialect``."""

    CONNECT = "connect"
    DISCONNECT = "disconnect"
    KEEPALIVE = "keepalive"
    GET_FEATURE = "get_feature"
    SET_FEATURE = "set_feature"
    GET_KEYED_NUM_DESCS = "get_keyed_num_descs"
    GET_KEYED_EAGER_BUF = "get_keyed_eager_buf"
    VQ_KEYED_EAGER_BUF = "vq_keyed_eager_buf"
    VQ = "vq"
    VRING = "vring"
    GET_VENDOR_ID = "get_vendor_id"
    GET_DEVICE_ID = "get_device_id"
    GET_GENERATION = "get_generation"
    RESET_DEVICE = "reset_device"
    GET_STATUS = "get_status"
    SET_STATUS = "set_status"
    GET_DEVICE_FEATURE = "get_device_feature"
    SET_DRIVER_FEATURE = "set_driver_feature"
    GET_NUM_QUEUES = "get_num_queues"
    GET_QUEUE_SIZE = "get_queue_size"
    SET_QUEUE_SIZE = "set_queue_size"
    GET_VQ_SIZE = "get_vq_size"
    GET_CONFIG = "get_config"
    SET_CONFIG = "set_config"
    GET_CONFIG_CHANGED = "get_config_changed"


REQUESTS = frozenset({Command.VRING, Command.VQ, Command.VQ_KEYED_EAGER_BUF})
"""The commands that carry a virtio request."""


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
    """The transports of an association's queues."""

    TCP = "tcp"
    RDMA = "rdma"


class DescriptorFlag(IntFlag):
    """Flags of a segment descriptor. The same bit is NEXT in the *proposal*, as in virtio's rings,
    and KEYED in *v2*."""

    NEXT = 1
    """Another descriptor of the command follows."""
    KEYED = NEXT
    """The buffer is named by address and key; else its bytes are on the stream."""
    WRITE = 2
    """The buffer is device-writable."""


class DeviceId(IntEnum):
    """virtio 1.2 §5: the device types this project knows."""

    BLOCK = 2
    CONSOLE = 3
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
"""The widths in bytes of a get_config or set_config (*v2* "Config Command")."""
