# SPDX-License-Identifier: BSD-3-Clause
"""Words for numbers."""

from __future__ import annotations

from vof.gateways.device_names import device_type, feature_names, vendor_name
from vof.wire.constants import VENDOR_VTGT


def test_features() -> None:
    names = {1 << 0: "ZERO", 1 << 5: "FIVE"}
    assert feature_names(0, names) == []
    assert feature_names(1 << 32 | 1 << 5 | 1 << 63 | 1, names) == [
        *("ZERO", "FIVE", "VERSION_1", "bit63")
    ]


def test_types() -> None:
    assert [device_type(number) for number in (2, 4, 1)] == [
        "virtio-block",
        "virtio-rng",
        "virtio device type 1",
    ]


def test_vendors() -> None:
    assert vendor_name(VENDOR_VTGT) == "virtio-target"
    assert vendor_name(0x1234) is None
