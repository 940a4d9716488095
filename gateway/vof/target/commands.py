# SPDX-License-Identifier: BSD-3-Clause
"""The control commands: get and set of an association's state (*v2* command set, §1 "opcodes" of
our notes).

Owns what each command answers, in every dialect. They may come on any connection of the
association: the reference target's sample initiator reads the config space on a virtqueue's. Must
not know how an answer travels. A status is a Linux errno number; a refused command has no effect.

Ours, for no text says it: set_queue_size takes powers of two up to the maximum while the queue is
not connected and get_queue_size then returns it; get_config_changed is 1 once after the config
space changed; keepalive answers 0; the transport feature of the proposal can be set to any number
up to the offered one, without effect; a command of a transport feature that is not in force is
refused.

The body of get_keyed_eager_buf travels by key: where there is one, the transport answers it.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable

from vof.errors import RemoteProtocolError
from vof.logline import event
from vof.target.association import Association
from vof.wire.constants import (
    CONFIG_WIDTHS,
    FIRST_RESERVED_COMMAND_ID,
    VENDOR_VOF,
    LaterOpcode,
    Opcode,
    TransportFeature,
)
from vof.wire.dialect import DIALECTS, FEATURE_SELECT_BITS, FEATURE_SELECT_MAX_SEGS, Dialect
from vof.wire.structs import (
    HEAD,
    Completion,
    ConfigCommand,
    FeatureCommand,
    QueueCommand,
    unpack,
)

Answer = tuple[int, int]
"""Status and value."""

Handler = Callable[[Association, bytes], Answer]

_REFUSED: Answer = (errno.EINVAL, 0)
_DONE: Answer = (0, 0)

_REQUESTS = {
    Opcode.VRING: "vring",
    LaterOpcode.VQ: "vq",
    LaterOpcode.VQ_KEYED_EAGER_BUF: "vq_keyed_eager_buf",
}


def execute(association: Association, head: bytes) -> Completion:
    """Execute the command with these 16 bytes; return its completion.

    The connection acts on a Disconnect itself, once that is sent. Raises RemoteProtocolError for a
    command that the association's dialect does not have, for one that is no control command, and
    for one whose completion would look like an event.
    """
    opcode, command_id = HEAD.unpack_from(head)
    dialect = association.admit(opcode)
    handlers = _HANDLERS[dialect.name]
    if dialect.has_async_events and command_id >= FIRST_RESERVED_COMMAND_ID:
        raise RemoteProtocolError(f"command id {command_id:#06x} is reserved for events")
    if opcode in _REQUESTS:
        raise RemoteProtocolError(f"a {_REQUESTS[opcode]} command on the control queue")
    if opcode == Opcode.CONNECT:
        raise RemoteProtocolError("a second Connect on one connection")
    status, value = handlers[opcode](association, head)
    if status:
        event(
            logging.DEBUG,
            "command-refused",
            tvqn=association.device.tvqn,
            ivqn=association.ivqn,
            target_id=association.target_id,
            opcode=f"{opcode:#06x}",
            status=status,
        )
    return Completion(status=status, command_id=command_id, value=value)


def _handlers(dialect: Dialect) -> dict[int, Handler]:
    handlers: dict[int, Handler] = {
        Opcode.DISCONNECT: _done,
        Opcode.KEEPALIVE: _done,
        Opcode.GET_VENDOR_ID: lambda _association, _head: (0, VENDOR_VOF),
        Opcode.GET_DEVICE_ID: lambda association, _head: (0, association.device.device_id),
        Opcode.GET_GENERATION: _get_generation,
        Opcode.GET_STATUS: lambda association, _head: (0, association.status),
        Opcode.SET_STATUS: _set_status(dialect),
        Opcode.GET_DEVICE_FEATURE: _get_device_feature,
        Opcode.SET_DRIVER_FEATURE: _set_driver_feature,
        Opcode.GET_NUM_QUEUES: lambda association, _head: (0, association.device.num_queues),
        Opcode.GET_QUEUE_SIZE: _get_queue_size,
        Opcode.SET_QUEUE_SIZE: _set_queue_size,
        Opcode.GET_CONFIG: _get_config,
        Opcode.SET_CONFIG: _set_config,
        Opcode.GET_CONFIG_CHANGED: _get_config_changed,
    }
    if dialect.has_max_segs:
        handlers |= {dialect.get_feature: _get_max_segs, dialect.set_feature: _set_max_segs}
    else:
        handlers |= {
            dialect.get_feature: _get_transport_features,
            dialect.set_feature: _set_transport_features,
        }
    keyed: dict[int, Handler] = {
        LaterOpcode.GET_KEYED_NUM_DESCS: _get_keyed_num_descs,
        LaterOpcode.GET_KEYED_EAGER_BUF: lambda _association, _head: _REFUSED,
    }
    return handlers | {opcode: keyed[opcode] for opcode in dialect.keyed_opcodes}


def _done(_association: Association, _head: bytes) -> Answer:
    return _DONE


def _get_generation(association: Association, _head: bytes) -> Answer:
    return 0, association.device.generation


def _get_config_changed(association: Association, _head: bytes) -> Answer:
    with association.lock:
        generation = association.device.generation  # once: it may change at any time
        changed = association.seen_generation != generation
        association.seen_generation = generation
    return 0, int(changed)


def _set_status(dialect: Dialect) -> Handler:
    def handle(association: Association, head: bytes) -> Answer:
        association.set_status(dialect.decode_set_status(head))
        return _DONE

    return handle


def _get_device_feature(association: Association, head: bytes) -> Answer:
    # The value has 64 bits, so that select 0 is all there is.
    if unpack(FeatureCommand, head).feature_select:
        return _REFUSED
    return 0, association.device.features


def _set_driver_feature(association: Association, head: bytes) -> Answer:
    command = unpack(FeatureCommand, head)
    if command.feature_select or not association.set_features(command.value):
        return _REFUSED
    return _DONE


def _get_queue_size(association: Association, head: bytes) -> Answer:
    queue = unpack(QueueCommand, head).queue_id
    if queue >= association.device.num_queues:
        return _REFUSED
    return 0, association.queue_sizes[queue]


def _set_queue_size(association: Association, head: bytes) -> Answer:
    command = unpack(QueueCommand, head)
    queue, size = command.queue_id, command.value & 0xFFFF
    device = association.device
    power_of_two = size and not size & (size - 1)
    if queue >= device.num_queues or not power_of_two or size > device.queue_size:
        return _REFUSED
    with association.lock:
        if queue in association.queues:
            return errno.EBUSY, 0
        association.queue_sizes[queue] = size
    return _DONE


def _get_config(association: Association, head: bytes) -> Answer:
    command = unpack(ConfigCommand, head)
    config = association.seat.read_config()
    end = command.offset + command.width
    if command.width not in CONFIG_WIDTHS or end > len(config):
        return _REFUSED
    return 0, int.from_bytes(config[command.offset : end], "little")


def _set_config(association: Association, head: bytes) -> Answer:
    command = unpack(ConfigCommand, head)
    if command.width not in CONFIG_WIDTHS:
        return _REFUSED
    data = command.value.to_bytes(8, "little")[: command.width]
    try:
        return _DONE if association.seat.write_config(command.offset, data) else _REFUSED
    except OSError:
        return errno.EIO, 0


def _get_max_segs(association: Association, head: bytes) -> Answer:
    if unpack(FeatureCommand, head).feature_select != FEATURE_SELECT_MAX_SEGS:
        return _REFUSED
    return 0, association.device.limits.max_ndesc


def _set_max_segs(association: Association, head: bytes) -> Answer:
    command = unpack(FeatureCommand, head)
    offered = association.device.limits.max_ndesc
    if command.feature_select != FEATURE_SELECT_MAX_SEGS or not 0 < command.value <= offered:
        return _REFUSED
    return _DONE


def _get_transport_features(association: Association, head: bytes) -> Answer:
    if unpack(FeatureCommand, head).feature_select != FEATURE_SELECT_BITS:
        return _REFUSED
    return 0, association.offered_transport_features


def _set_transport_features(association: Association, head: bytes) -> Answer:
    command = unpack(FeatureCommand, head)
    if command.feature_select != FEATURE_SELECT_BITS:
        return _REFUSED
    return _DONE if association.set_transport_features(command.value) else _REFUSED


def _get_keyed_num_descs(association: Association, head: bytes) -> Answer:
    in_force = association.transport_features & TransportFeature.KEYED_NUM_DESCS
    if not in_force or unpack(QueueCommand, head).queue_id >= association.device.num_queues:
        return _REFUSED
    return 0, association.offer.max_descs


_HANDLERS = {dialect.name: _handlers(dialect) for dialect in DIALECTS}
