# SPDX-License-Identifier: BSD-3-Clause
"""Reads a virtqueue's request and its answer, for the device types that are known.

virtio-blk (virtio 1.2 §5.2), virtio-console (§5.3) and virtio-rng (§5.4) here; virtio-crypto in
``crypto_requests``. Must not know how a request travels: whoever asks gives the
device-readable bytes, as many as are known, and how many bytes are device-writable.
"""

from __future__ import annotations

from typing import NamedTuple

from vof.decode import crypto_requests
from vof.decode.fields import numbers_in
from vof.decode.message import Bytes, Named, Value, named
from vof.wire import blk
from vof.wire.constants import DeviceId


class Device(NamedTuple):
    """A device, as far as the conversation told of it."""

    device_id: int | None = None
    features: int | None = None
    """That the driver accepted."""


UNKNOWN_DEVICE = Device()

_HEADER = blk.REQUEST_HEADER
_WITH_SECTOR = frozenset({blk.RequestType.IN, blk.RequestType.OUT})
_WITH_SEGMENTS = frozenset(
    {blk.RequestType.DISCARD, blk.RequestType.WRITE_ZEROES, blk.RequestType.SECURE_ERASE}
)

MAX_SEGMENTS = 16
"""Segments of a discard that are told one by one."""

Description = dict[str, Value]


def describe_request(
    device: Device, readable: Bytes, readable_size: int, writable_size: int
) -> Description:
    """Return what a request asks for; empty where the device type is not known.

    ``readable`` has its first device-readable bytes, of ``readable_size``.
    """
    if device.device_id == DeviceId.BLOCK:
        return _block_request(readable, readable_size, writable_size)
    if device.device_id == DeviceId.RNG:
        return {"device": "rng", "bytes": writable_size}
    if device.device_id == DeviceId.CONSOLE:
        return {"device": "console", "bytes": readable_size or writable_size}
    if device.device_id == DeviceId.CRYPTO:
        return crypto_requests.describe_request(device.features, readable)
    return {}


def describe_answer(request: Description, area: Bytes, size: int, written: int) -> Description:
    """Return what the answer to a described request is.

    ``area`` has the first device-writable bytes, of ``size``; ``written`` is how many the device
    wrote.
    """
    if request.get("device") == "block":
        return _block_answer(request, area, size)
    # A console's request to transmit has no answer but that it is done.
    if request.get("device") in {"console", "rng"}:
        return {"bytes": written}
    if request.get("device") == "crypto":
        return crypto_requests.describe_answer(request, area, size)
    return {}


def may_hold_keys(device: Device) -> bool:
    """True if keys may be among the device-readable bytes: also where the type is not known."""
    return device.device_id not in {DeviceId.BLOCK, DeviceId.RNG}


def secret_places(device: Device, readable: Bytes) -> tuple[range, ...]:
    """Return where the device-readable bytes of a request may hold a key.

    Where the device type is not known, that is everywhere.
    """
    if not may_hold_keys(device):
        return ()
    if device.device_id == DeviceId.CRYPTO:
        return crypto_requests.secret_places(device.features, readable)
    return (range(len(readable.data)),) if readable.data else ()


def _block_request(readable: Bytes, readable_size: int, writable_size: int) -> Description:
    found: Description = {"device": "block"}
    if not readable.has(0, _HEADER.size):
        return found
    header = numbers_in(_HEADER, readable.data)
    kind = named(blk.RequestType, header["type"])
    found["type"] = kind
    if kind.value in _WITH_SECTOR:
        found["sector"] = header["sector"]
    out_size, in_size = readable_size - _HEADER.size, max(0, writable_size - 1)
    if kind.value in _WITH_SEGMENTS:
        found["segments"] = _segments(readable, out_size)
    elif out_size or in_size:
        found["bytes"] = out_size or in_size
    return found


def _segments(readable: Bytes, size: int) -> list[Value]:
    segment = blk.DISCARD_SEGMENT
    places = range(_HEADER.size, _HEADER.size + size - segment.size + 1, segment.size)
    return [
        numbers_in(segment, readable.data, place)
        for place in places[:MAX_SEGMENTS]
        if readable.has(place, place + segment.size)
    ]


def _block_answer(request: Description, area: Bytes, size: int) -> Description:
    if not size or not area.has(size - 1, size):
        return {}
    found: Description = {"status": named(blk.Status, area.data[size - 1])}
    kind = request.get("type")
    if area.data[size - 1] or not isinstance(kind, Named):
        return found
    if kind.value == blk.RequestType.GET_ID and area.has(0, min(size - 1, blk.GET_ID_SIZE)):
        serial = area.data[: min(size - 1, blk.GET_ID_SIZE)].split(b"\0", 1)[0]
        found["id"] = serial.decode(errors="backslashreplace")
    elif kind.value == blk.RequestType.GET_LIFETIME and area.has(0, blk.LIFETIME.size):
        found |= numbers_in(blk.LIFETIME, area.data)
    return found
