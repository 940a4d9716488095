# SPDX-License-Identifier: BSD-3-Clause
"""What the numbers in commands and completions mean: features, status, config space.

Must not know a conversation but for what its association tells: dialect and device type.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping

from vof.decode.association import Association
from vof.decode.message import UNKNOWN, Bits, Named, Value, bits, named
from vof.decode.requests import Description
from vof.wire import blk, crypto
from vof.wire.constants import (
    CONTROL_QUEUE_TARGET_ID,
    STATUS_OTHER,
    VENDOR_VOF,
    VENDOR_VTGT,
    CommonFeature,
    DeviceId,
    DeviceStatus,
    TransportFeature,
)
from vof.wire.layout import Layout, layout_of

Fields = Mapping[str, int]

_FEATURES = {DeviceId.BLOCK: blk.Feature, DeviceId.CRYPTO: crypto.Feature}

_CONFIGS: dict[int, Layout] = {
    DeviceId.BLOCK: layout_of(blk.Config),
    DeviceId.CRYPTO: layout_of(crypto.Config),
}

_VENDORS = {VENDOR_VTGT: "vtgt", VENDOR_VOF: "vof"}


def of_command(name: str, fields: Fields, association: Association) -> Description:
    """Return what the fields of a command mean; empty where they say all themselves."""
    meaning = _COMMANDS.get(name)
    return meaning(fields, association) if meaning else {}


def of_value(name: str, value: int, association: Association) -> Description:
    """Return what the value of a command's completion means."""
    called, meaning = _VALUES.get(name, ("value", None))
    return {called: meaning(value, association) if meaning else value}


def completion_status(value: int) -> Named:
    """Return a completion's status."""
    if not value:
        return Named(value, "ok")
    return Named(value, "other" if value == STATUS_OTHER else errno.errorcode.get(value, UNKNOWN))


def _connect(fields: Fields, _association: Association) -> Description:
    if fields["target_id"] == CONTROL_QUEUE_TARGET_ID:
        return {"queue": "control"}
    return {"queue": fields["queue_id"], "target_id": fields["target_id"]}


def _get_feature(fields: Fields, _association: Association) -> Description:
    return {"feature_select": fields["feature_select"]}


def _set_feature(fields: Fields, association: Association) -> Description:
    return _get_feature(fields, association) | {
        "value": _transport_feature(fields["value"], association)
    }


def _set_driver_feature(fields: Fields, association: Association) -> Description:
    return {"features": _device_features(fields["value"], association)}


def _set_status(fields: Fields, association: Association) -> Description:
    value = fields["status"] if "status" in fields else fields["value"]
    return {"device_status": _device_status(value & 0xFF, association)}


def _queue(fields: Fields, _association: Association) -> Description:
    return {"queue": fields["queue_id"]}


def _set_queue_size(fields: Fields, association: Association) -> Description:
    return _queue(fields, association) | {"size": fields["value"] & 0xFFFF}


def _get_config(fields: Fields, association: Association) -> Description:
    offset, width = fields["offset"], fields["bytes"]
    name = _config_field(association.device.device_id, offset, width)
    found: Description = {"field": name} if name else {}
    return found | {"offset": offset, "bytes": width}


def _set_config(fields: Fields, association: Association) -> Description:
    value = fields["value"] & (1 << fields["bytes"] * 8) - 1
    return _get_config(fields, association) | {"value": value}


def _get_keyed_eager_buf(fields: Fields, _association: Association) -> Description:
    return {"queue": fields["vq_index"], "descs": fields["descs"]}


def _vq_keyed_eager_buf(fields: Fields, _association: Association) -> Description:
    return {"out_offset": fields["out_offset"]}


def _config_field(device: int | None, offset: int, width: int) -> str:
    """Return the name of what is at a place in the config space, or nothing."""
    layout = _CONFIGS.get(device) if device is not None else None
    for name, field in layout.fields.items() if layout else ():
        if field.offset <= offset < field.offset + field.size:
            whole = (offset, width) == field
            return name if whole else f"{name}[{offset - field.offset}]"
    return ""


def _device_features(value: int, association: Association) -> Bits:
    kinds = [_FEATURES[kind] for kind in _FEATURES if kind == association.device.device_id]
    return bits(value, *kinds, CommonFeature)


def _transport_feature(value: int, association: Association) -> Value:
    """The transport feature 0 is a number in one dialect, bits in the others."""
    if association.dialects[-1].has_max_segs:
        return value
    return bits(value, TransportFeature)


def _device_status(value: int, _association: Association) -> Bits:
    return bits(value, DeviceStatus)


_COMMANDS: dict[str, Callable[[Fields, Association], Description]] = {
    "connect": _connect,
    "get_feature": _get_feature,
    "set_feature": _set_feature,
    "set_driver_feature": _set_driver_feature,
    "set_status": _set_status,
    "get_queue_size": _queue,
    "set_queue_size": _set_queue_size,
    "get_keyed_num_descs": _queue,
    "get_keyed_eager_buf": _get_keyed_eager_buf,
    "vq_keyed_eager_buf": _vq_keyed_eager_buf,
    "get_config": _get_config,
    "set_config": _set_config,
}

_VALUES: dict[str, tuple[str, Callable[[int, Association], Value] | None]] = {
    "connect": ("target_id", None),
    "get_feature": ("value", _transport_feature),
    "get_vendor_id": ("vendor", lambda value, _: Named(value, _VENDORS.get(value, UNKNOWN))),
    "get_device_id": ("device", lambda value, _: named(DeviceId, value, lower=True)),
    "get_generation": ("generation", None),
    "get_status": ("device_status", _device_status),
    "get_device_feature": ("features", _device_features),
    "get_num_queues": ("queues", None),
    "get_queue_size": ("size", None),
    "get_config_changed": ("changed", None),
    "get_keyed_num_descs": ("descs", None),
    "vring": ("written", None),
}
"""What the value of a completion is called, and what it means."""
