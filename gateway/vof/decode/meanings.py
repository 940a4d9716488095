# SPDX-License-Identifier: BSD-3-Clause
"""Says what numbers in commands and completions mean: features, status, config space.

Must not know a conversation but for what its association tells: dialect and device type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from vof.decode.association import Association
from vof.decode.fields import value_in
from vof.decode.message import UNKNOWN, Bits, Named, Value, bits, named
from vof.decode.requests import Description
from vof.wire import blk, console, crypto
from vof.wire.constants import (
    CONTROL_QUEUE_TARGET_ID,
    VENDOR_VOF,
    VENDOR_VTGT,
    Command,
    CommonFeature,
    DeviceId,
    DeviceStatus,
    TransportFeature,
)
from vof.wire.dialect import Dialect
from vof.wire.layout import Layout, layout_of

Fields = Mapping[str, int]

_FEATURES = {
    DeviceId.BLOCK: blk.Feature,
    DeviceId.CONSOLE: console.Feature,
    DeviceId.CRYPTO: crypto.Feature,
}

_CONFIGS: dict[int, Layout] = {
    DeviceId.BLOCK: layout_of(blk.Config),
    DeviceId.CONSOLE: layout_of(console.Config),
    DeviceId.CRYPTO: layout_of(crypto.Config),
}

_VENDORS = {VENDOR_VTGT: "vtgt", VENDOR_VOF: "vof"}


def of_command(command: Command, fields: Fields, association: Association) -> Description:
    """Return what the fields of a command mean; empty where they say all themselves."""
    meaning = _COMMANDS.get(command)
    return meaning(fields, association) if meaning else {}


def of_value(command: Command, value: int, asked: Fields, association: Association) -> Description:
    """Return what the value of a command's completion means; ``asked`` are the command's fields.

    Before *v5* the value is a union, of which each command has its part.
    """
    if command not in _VALUES:
        return {}
    called, width, meaning = _VALUES[command]
    value &= (1 << 8 * asked.get("bytes", width)) - 1
    if command is Command.CONNECT:
        called = next(name for name in _IDS if name in asked)
    return {called: meaning(value, asked, association) if meaning else value}


def completion_status(value: int, dialect: Dialect) -> Named:
    """Return a completion's status."""
    return Named(value, dialect.describe_status(value) if value else "ok")


def _connect(fields: Fields, _association: Association) -> Description:
    [(name, target_id)] = [(name, fields[name]) for name in _IDS if name in fields]
    if target_id == CONTROL_QUEUE_TARGET_ID:
        return {"queue": "control"}
    index = fields["vq_index"] if "vq_index" in fields else fields["queue_id"]
    found: Description = {"queue": index, name: target_id}
    if fields.get("queue_size"):
        found["queue_size"] = fields["queue_size"]
    return found


def _get_feature(fields: Fields, _association: Association) -> Description:
    return {"feature_select": fields["feature_select"]}


def _set_feature(fields: Fields, association: Association) -> Description:
    value = _transport_feature(value_in(fields), fields, association)
    return _get_feature(fields, association) | {"value": value}


def _get_device_feature(fields: Fields, association: Association) -> Description:
    # Of the others only those say more that are not the first word.
    return _get_feature(fields, association) if fields["feature_select"] else {}


def _set_driver_feature(fields: Fields, association: Association) -> Description:
    features = _device_features(value_in(fields), fields, association)
    return _get_device_feature(fields, association) | {"features": features}


def _set_status(fields: Fields, association: Association) -> Description:
    return {"device_status": _device_status(value_in(fields) & 0xFF, fields, association)}


def _queue(fields: Fields, _association: Association) -> Description:
    return {"queue": fields["queue_id"]}


def _get_vq_size(fields: Fields, _association: Association) -> Description:
    return {"queue": fields["vq_index"]}


def _set_queue_size(fields: Fields, association: Association) -> Description:
    return _queue(fields, association) | {"size": fields["value"] & 0xFFFF}


def _get_config(fields: Fields, association: Association) -> Description:
    offset, width = fields["offset"], fields["bytes"]
    name = _config_field(association.device.device_id, offset, width)
    found: Description = {"field": name} if name else {}
    return found | {"offset": offset, "bytes": width}


def _set_config(fields: Fields, association: Association) -> Description:
    value = value_in(fields) & (1 << fields["bytes"] * 8) - 1
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


def _device_features(value: int, asked: Fields, association: Association) -> Bits:
    word = asked["feature_select"]
    if word:
        return bits(value, first=word * 64)
    kinds = [_FEATURES[kind] for kind in _FEATURES if kind == association.device.device_id]
    return bits(value, *kinds, CommonFeature)


def _transport_feature(value: int, asked: Fields, association: Association) -> Value:
    """Numbers, but in the last dialect."""
    if association.dialect.has_max_segs:
        return value
    word = asked["feature_select"]
    return bits(value, first=word * 64) if word else bits(value, TransportFeature)


def _device_status(value: int, _asked: Fields, _association: Association) -> Bits:
    return bits(value, DeviceStatus)


def _vendor(value: int, _asked: Fields, _association: Association) -> Named:
    return Named(value, _VENDORS.get(value, UNKNOWN))


def _device(value: int, _asked: Fields, _association: Association) -> Named:
    return named(DeviceId, value, lower=True)


_IDS = ("target_id", "device_instance_id")
"""What a Connect may call it."""

_COMMANDS: dict[Command, Callable[[Fields, Association], Description]] = {
    Command.CONNECT: _connect,
    Command.GET_FEATURE: _get_feature,
    Command.SET_FEATURE: _set_feature,
    Command.GET_DEVICE_FEATURE: _get_device_feature,
    Command.SET_DRIVER_FEATURE: _set_driver_feature,
    Command.SET_STATUS: _set_status,
    Command.GET_QUEUE_SIZE: _queue,
    Command.SET_QUEUE_SIZE: _set_queue_size,
    Command.GET_VQ_SIZE: _get_vq_size,
    Command.GET_KEYED_EAGER_BUF: _get_keyed_eager_buf,
    Command.VQ_KEYED_EAGER_BUF: _vq_keyed_eager_buf,
    Command.GET_CONFIG: _get_config,
    Command.SET_CONFIG: _set_config,
}

_VALUES: dict[Command, tuple[str, int, Callable[[int, Fields, Association], Value] | None]] = {
    Command.CONNECT: ("target_id", 2, None),
    Command.GET_FEATURE: ("value", 8, _transport_feature),
    Command.GET_VENDOR_ID: ("vendor", 4, _vendor),
    Command.GET_DEVICE_ID: ("device", 4, _device),
    Command.GET_GENERATION: ("generation", 4, None),
    Command.GET_STATUS: ("device_status", 4, _device_status),
    Command.GET_DEVICE_FEATURE: ("features", 8, _device_features),
    Command.GET_NUM_QUEUES: ("queues", 2, None),
    Command.GET_QUEUE_SIZE: ("size", 2, None),
    Command.GET_VQ_SIZE: ("size", 2, None),
    Command.GET_CONFIG: ("value", 8, None),
    Command.GET_CONFIG_CHANGED: ("changed", 4, None),
    Command.GET_KEYED_NUM_DESCS: ("descs", 1, None),
    Command.GET_KEYED_EAGER_BUF: ("descs", 1, None),
    Command.VRING: ("written", 4, None),
    Command.VQ: ("written", 4, None),
    Command.VQ_KEYED_EAGER_BUF: ("written", 4, None),
}
"""What the value of a completion is called, how many bytes it has, and what it means."""
