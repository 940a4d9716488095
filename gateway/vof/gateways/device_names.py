# SPDX-License-Identifier: BSD-3-Clause
"""Words for what a device says in numbers."""

from __future__ import annotations

from collections.abc import Mapping

from vof.wire import blk, console, crypto
from vof.wire.constants import VENDOR_VOF, VENDOR_VTGT, CommonFeature, DeviceId

_VENDORS = {VENDOR_VOF: "vof-target", VENDOR_VTGT: "virtio-target"}

FEATURES: Mapping[int, Mapping[int, str]] = {
    DeviceId.BLOCK: {int(bit): str(bit.name) for bit in blk.Feature},
    DeviceId.CONSOLE: {int(bit): str(bit.name) for bit in console.Feature},
    DeviceId.CRYPTO: {int(bit): str(bit.name) for bit in crypto.Feature},
    DeviceId.RNG: {},
}
"""Each device type's own feature bits."""


def device_type(device_id: int) -> str:
    """Return the name of a virtio device type."""
    try:
        return f"virtio-{DeviceId(device_id).name.lower()}"
    except ValueError:
        return f"virtio device type {device_id}"


def vendor_name(vendor_id: int) -> str | None:
    """Return which target has a vendor id, None for one that is not known."""
    return _VENDORS.get(vendor_id)


def feature_names(features: int, names: Mapping[int, str]) -> list[str]:
    """Return feature bits by name, unknown ones by number; ``names`` are the device type's own."""
    known = {int(bit): str(bit.name) for bit in CommonFeature} | dict(names)
    bits = [1 << place for place in range(64) if features >> place & 1]
    return [known.get(bit, f"bit{bit.bit_length() - 1}") for bit in bits]
