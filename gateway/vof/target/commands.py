# SPDX-License-Identifier: BSD-3-Clause
"""The control commands: get and set of an association's state (*v5* and *v2* command sets).

Owns what each command answers, in every dialect. Before *v5* they may come on any connection of the
association: the reference target's sample initiator reads the config space on a virtqueue's. Must
not know how an answer travels. A refused command has no effect.

Ours, for no text says it: set_queue_size takes powers of two up to the maximum while the queue is
not connected and get_queue_size then returns it; get_config_changed is 1 once after the config
space changed; keepalive answers 0; the numbers that are transport features can be set to any up to
the offered one, without effect; a device status of 0 resets in *v5*, too.

The body of get_keyed_eager_buf travels by key: where there is one, the transport answers it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from vof.errors import RemoteProtocolError
from vof.logline import event
from vof.target.association import Association
from vof.wire.constants import (
    CONFIG_WIDTHS,
    FIRST_RESERVED_COMMAND_ID,
    REQUESTS,
    VENDOR_VOF,
    Command,
    DeviceStatus,
    Transport,
    TransportFeature,
)
from vof.wire.dialect import (
    FEATURE_SELECT_BITS,
    FEATURE_SELECT_MAX_SEGS,
    FEATURE_SELECT_STREAM_SIZE,
    Dialect,
)
from vof.wire.status import Reason
from vof.wire.structs import HEAD

Answer = Mapping[str, int] | Reason
"""The fields of a completion, or why there are none."""

Handler = Callable[[Association, Any], Answer]
"""Takes the command as the record of its dialect."""

_DONE: Answer = {}

_KNOWN_STATUS = sum(DeviceStatus)


def execute(association: Association, head: bytes, *, on_control_queue: bool = True) -> bytes:
    """Execute the command with these 16 bytes; return its completion.

    The connection acts on a Disconnect itself, once that is sent. Raises RemoteProtocolError for a
    command that the association's dialect does not have, unless it has a status for that; for one
    that is no control command, and for one whose completion would look like an event.
    """
    opcode, command_id = HEAD.unpack_from(head)
    dialect = association.dialect
    command = dialect.commands.get(opcode)
    if dialect.has_async_events and command_id >= FIRST_RESERVED_COMMAND_ID:
        raise RemoteProtocolError(f"command id {command_id:#06x} is reserved for events")
    if command is Command.CONNECT:
        raise RemoteProtocolError("a second Connect on one connection")
    if dialect.has_status_list:
        if command in REQUESTS or not (on_control_queue or command is Command.DISCONNECT):
            command = None
    elif command is None:
        raise RemoteProtocolError(f"opcode {opcode:#06x} is not one of dialect {dialect.name}")
    elif command in REQUESTS:
        raise RemoteProtocolError(f"a {command.value} command on the control queue")
    if command is None:
        answer: Answer = Reason.UNKNOWN_COMMAND
    else:
        answer = _HANDLERS[command](association, dialect.decode(command, head))
    if isinstance(answer, Reason):
        return refuse(association, head, answer)
    assert command is not None
    return dialect.complete(command, command_id, **answer)


def refuse(association: Association, head: bytes, reason: Reason) -> bytes:
    """Return the completion that says why a command with these 16 bytes is refused."""
    opcode, command_id = HEAD.unpack_from(head)
    status = association.dialect.status_of(reason)
    event(
        logging.DEBUG,
        "command-refused",
        tvqn=association.device.tvqn,
        ivqn=association.ivqn,
        target_id=association.target_id,
        opcode=f"{opcode:#06x}",
        status=status,
    )
    # In a refusal all is zero but what every completion begins with.
    return association.dialect.complete(Command.DISCONNECT, command_id, status)


def _done(_association: Association, _command: Any) -> Answer:
    return _DONE


def _get_generation(association: Association, _command: Any) -> Answer:
    return {"value": association.device.generation}


def _get_config_changed(association: Association, _command: Any) -> Answer:
    with association.lock:
        generation = association.device.generation  # once: it may change at any time
        changed = association.seen_generation != generation
        association.seen_generation = generation
    return {"value": int(changed)}


def _reset_device(association: Association, _command: Any) -> Answer:
    association.reset()
    return _DONE


def _set_status(association: Association, command: Any) -> Answer:
    status = command.value
    if association.dialect.has_status_list and status & ~_KNOWN_STATUS:
        return Reason.DEVICE_STATUS
    association.set_status(status & 0xFF)
    return _DONE


def _get_device_feature(association: Association, command: Any) -> Answer:
    # The value has 64 bits, and no device of ours has more.
    return _selected(association.dialect, command, association.device.features)


def _selected(dialect: Dialect, command: Any, features: int) -> Answer:
    """Return the 64 of ``features`` that a command selects."""
    if command.feature_select and not dialect.has_status_list:
        return Reason.DEVICE_FEATURE
    return {"value": 0 if command.feature_select else features}


def _set_driver_feature(association: Association, command: Any) -> Answer:
    features = command.value
    if association.dialect.has_status_list:
        offered = 0 if command.feature_select else association.device.features
        if features & ~offered:
            return Reason.DEVICE_FEATURE
        if command.feature_select:
            return _DONE
    elif command.feature_select:
        return Reason.DEVICE_FEATURE
    return _DONE if association.set_features(features) else Reason.DEVICE_FEATURE


def _get_queue_size(association: Association, command: Any) -> Answer:
    if command.queue_id >= association.device.num_queues:
        return Reason.NO_SUCH_QUEUE
    return {"value": association.queue_sizes[command.queue_id]}


def _get_vq_size(association: Association, command: Any) -> Answer:
    if command.queue_id >= association.device.num_queues:
        return Reason.NO_SUCH_QUEUE
    return {"value": association.device.queue_size}


def _set_queue_size(association: Association, command: Any) -> Answer:
    queue, size = command.queue_id, command.value & 0xFFFF
    device = association.device
    if queue >= device.num_queues:
        return Reason.NO_SUCH_QUEUE
    power_of_two = size and not size & (size - 1)
    if not power_of_two or size > device.queue_size:
        return Reason.QUEUE_SIZE
    with association.lock:
        if queue in association.queues:
            return Reason.QUEUE_IN_USE
        association.queue_sizes[queue] = size
    return _DONE


def _get_config(association: Association, command: Any) -> Answer:
    association.config_is_read()
    # Before the config, so that a change in between shows in the next read.
    generation = association.device.generation
    config = association.instance.read_config()
    if command.width not in CONFIG_WIDTHS:
        return Reason.CONFIG_WIDTH
    end = command.offset + command.width
    if end > len(config):
        return Reason.CONFIG_EXTENT
    value = int.from_bytes(config[command.offset : end], "little")
    if association.dialect.has(Command.GET_GENERATION):
        return {"value": value}
    return {"value": value, "generation": generation & 0xFFFF_FFFF}


def _set_config(association: Association, command: Any) -> Answer:
    if command.width not in CONFIG_WIDTHS:
        return Reason.CONFIG_WIDTH
    data = command.value.to_bytes(8, "little")[: command.width]
    try:
        written = association.instance.write_config(command.offset, data)
    except OSError:
        return Reason.CONFIG_FAILED
    return _DONE if written else Reason.CONFIG_EXTENT


def _get_feature(association: Association, command: Any) -> Answer:
    dialect = association.dialect
    if not dialect.has_max_segs:
        return _selected(dialect, command, association.offered_transport_features)
    offered = _numbers(association).get(command.feature_select)
    return Reason.TRANSPORT_FEATURE if offered is None else {"value": offered}


def _set_feature(association: Association, command: Any) -> Answer:
    if association.dialect.has_max_segs:
        offered = _numbers(association).get(command.feature_select, 0)
        return _DONE if 0 < command.value <= offered else Reason.TRANSPORT_FEATURE
    if command.feature_select != FEATURE_SELECT_BITS:
        return Reason.TRANSPORT_FEATURE if command.value else _DONE
    taken = association.set_transport_features(command.value)
    return _DONE if taken else Reason.TRANSPORT_FEATURE


def _numbers(association: Association) -> Mapping[int, int]:
    """Return the transport features of the revisions in which they are numbers."""
    limits = association.device.limits
    numbers = {FEATURE_SELECT_MAX_SEGS: limits.max_ndesc}
    if association.dialect.has_stream_size:
        over_tcp = association.caller.transport is Transport.TCP
        numbers[FEATURE_SELECT_STREAM_SIZE] = limits.max_transfer if over_tcp else 0
    return numbers


def _get_keyed_num_descs(association: Association, _command: Any) -> Answer:
    if not association.transport_features & TransportFeature.KEYED_NUM_DESCS:
        return Reason.UNKNOWN_COMMAND
    return {"value": association.offer.max_descs}


def _get_keyed_eager_buf(association: Association, command: Any) -> Answer:
    if not association.transport_features & TransportFeature.KEYED_EAGER_BUF:
        return Reason.UNKNOWN_COMMAND
    if command.queue_id >= association.device.num_queues:
        return Reason.NO_SUCH_QUEUE
    return _DONE  # there are none


_HANDLERS: Mapping[Command, Handler] = {
    Command.DISCONNECT: _done,
    Command.KEEPALIVE: _done,
    Command.GET_FEATURE: _get_feature,
    Command.SET_FEATURE: _set_feature,
    Command.GET_KEYED_NUM_DESCS: _get_keyed_num_descs,
    Command.GET_KEYED_EAGER_BUF: _get_keyed_eager_buf,
    Command.GET_VENDOR_ID: lambda _association, _command: {"value": VENDOR_VOF},
    Command.GET_DEVICE_ID: lambda association, _command: {"value": association.device.device_id},
    Command.GET_GENERATION: _get_generation,
    Command.RESET_DEVICE: _reset_device,
    Command.GET_STATUS: lambda association, _command: {"value": association.status},
    Command.SET_STATUS: _set_status,
    Command.GET_DEVICE_FEATURE: _get_device_feature,
    Command.SET_DRIVER_FEATURE: _set_driver_feature,
    Command.GET_NUM_QUEUES: lambda association, _command: {"value": association.device.num_queues},
    Command.GET_QUEUE_SIZE: _get_queue_size,
    Command.SET_QUEUE_SIZE: _set_queue_size,
    Command.GET_VQ_SIZE: _get_vq_size,
    Command.GET_CONFIG: _get_config,
    Command.SET_CONFIG: _set_config,
    Command.GET_CONFIG_CHANGED: _get_config_changed,
}
