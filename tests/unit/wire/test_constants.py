# SPDX-License-Identifier: BSD-3-Clause
"""Every number the published texts give, written down a second time."""

from __future__ import annotations

from vof.wire import constants
from vof.wire.constants import (
    AsyncEvent,
    CommonFeature,
    DescriptorFlag,
    DeviceId,
    DeviceStatus,
    TransportFeature,
)
from vof.wire.status import OTHER


def test_descriptor_flags() -> None:
    """The same bit is NEXT in the proposal and KEYED in v2."""
    names = {name: flag.value for name, flag in DescriptorFlag.__members__.items()}
    assert names == {"NEXT": 1, "KEYED": 1, "WRITE": 2}


def test_transport_features() -> None:
    bits = {feature.name: feature.bit_length() - 1 for feature in TransportFeature}
    assert bits == {"KEYED_NUM_DESCS": 0, "KEYED_EAGER_BUF": 1}


def test_events() -> None:
    assert {event.name: event.value for event in AsyncEvent} == {
        "CONFIG_CHANGE": 0xFFFE,
        "KEEPALIVE": 0xFFFF,
    }


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
    assert {kind.name: kind.value for kind in DeviceId} == {
        "BLOCK": 2,
        "CONSOLE": 3,
        "RNG": 4,
        "CRYPTO": 20,
    }


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
    assert constants.V5_PORT == 8549
    assert constants.CONTROL_QUEUE_DEPTH == 32
    assert constants.CONTROL_QUEUE_TARGET_ID == 0xFFFF
    assert constants.FIRST_RESERVED_COMMAND_ID == 0xFF00
    assert constants.MAX_COMMAND_ID == 0xFEFF
    assert OTHER == 4096
    assert constants.CONFIG_WIDTHS == (1, 2, 4, 8)


def test_vendor_ids_are_ascii() -> None:
    assert constants.VENDOR_VTGT.to_bytes(4, "big") == b"VTGT"
    assert constants.VENDOR_VOF.to_bytes(4, "big") == b"VOF1"
