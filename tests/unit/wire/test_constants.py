# SPDX-License-Identifier: BSD-3-Clause
"""Every number the published texts give, written down a second time."""

from __future__ import annotations

from vof.wire import constants
from vof.wire.constants import (
    CommonFeature,
    DescriptorFlag,
    DeviceId,
    DeviceStatus,
    Opcode,
)


def test_opcodes() -> None:
    assert {op.name.lower(): op.value for op in Opcode} == {
        "connect": 0x0000,
        "disconnect": 0x0001,
        "keepalive": 0x0002,
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
    }


def test_descriptor_flags() -> None:
    assert {flag.name: flag.value for flag in DescriptorFlag} == {"NEXT": 1, "WRITE": 2}


def test_device_status() -> None:
    assert {bit.name: bit.value for bit in DeviceStatus} == {
        "ACKNOWLEDGE": 1,
        "DRIVER": 2,
        "DRIVER_OK": 4,
        "FEATURES_OK": 8,
        "DEVICE_NEEDS_RESET": 64,
        "FAILED": 128,
    }


def test_device_ids() -> None:
    assert {kind.name: kind.value for kind in DeviceId} == {"BLOCK": 2, "RNG": 4, "CRYPTO": 20}


def test_common_feature_bits() -> None:
    assert {bit.name: bit.value.bit_length() - 1 for bit in CommonFeature} == {
        "RING_INDIRECT_DESC": 28,
        "RING_EVENT_IDX": 29,
        "VERSION_1": 32,
        "ACCESS_PLATFORM": 33,
        "RING_PACKED": 34,
        "IN_ORDER": 35,
        "ORDER_PLATFORM": 36,
        "SR_IOV": 37,
        "NOTIFICATION_DATA": 38,
        "NOTIF_CONFIG_DATA": 39,
        "RING_RESET": 40,
    }


def test_other_numbers() -> None:
    assert constants.DEFAULT_PORT == 15771
    assert constants.CONTROL_QUEUE_TARGET_ID == 0xFFFF
    assert constants.FIRST_RESERVED_COMMAND_ID == 0xFF00
    assert constants.MAX_COMMAND_ID == 0xFEFF
    assert constants.STATUS_OTHER == 4096
    assert constants.CONFIG_WIDTHS == (1, 2, 4, 8)


def test_vendor_ids_are_ascii() -> None:
    assert constants.VENDOR_VTGT.to_bytes(4, "big") == b"VTGT"
    assert constants.VENDOR_VOF.to_bytes(4, "big") == b"VOF1"
