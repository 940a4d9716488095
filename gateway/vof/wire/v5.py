# SPDX-License-Identifier: BSD-3-Clause
"""The records of *v5* that no earlier revision has: commands, completions, keyed descriptor.

Attributes are called alike where they mean alike (``value``, ``queue_id``), whatever the text calls
the field: the layout has the text's name. A command whose layout is an earlier revision's uses that
one (``structs``). Reserved bytes are kept, sent as zeros and never looked at.

Must not know what a command means or what may follow it.
"""

from __future__ import annotations

from typing import NamedTuple

from vof.wire.layout import laid_out
from vof.wire.structs import COMMAND_SIZE, COMPLETION_SIZE

KEYED_DESCRIPTOR_SIZE = 16

MAX_KEYED_DESCS = 255
"""Keyed descriptors that get_keyed_num_descs or get_keyed_eager_buf can count."""


@laid_out(
    "HHHHIH2s",
    COMMAND_SIZE,
    opcode=0,
    command_id=2,
    device_instance_id=4,
    vq_index=6,
    length=8,
    queue_size=12,
    reserved=14,
)
class InstanceConnectCommand(NamedTuple):
    """Connect; ``length`` is the bytes of its body, 1,024 or, on a virtqueue, 0."""

    opcode: int
    command_id: int
    target_id: int
    queue_id: int
    length: int
    queue_size: int = 0
    """Commands that the virtqueue is to hold; 0 for the most it can."""
    reserved: bytes = bytes(2)


@laid_out("HH12s", COMMAND_SIZE, opcode=0, command_id=2, reserved=4)
class PlainCommand(NamedTuple):
    """A command that says nothing but its name."""

    opcode: int
    command_id: int
    reserved: bytes = bytes(12)


@laid_out("HHHB9s", COMMAND_SIZE, opcode=0, command_id=2, vq_index=4, descs=6, reserved=7)
class GetKeyedEagerBufCommand(NamedTuple):
    """get_keyed_eager_buf; ``descs`` is the most to obtain."""

    opcode: int
    command_id: int
    queue_id: int
    descs: int
    reserved: bytes = bytes(9)


@laid_out("HHIII", COMMAND_SIZE, opcode=0, command_id=2, out_offset=4, out_length=8, in_length=12)
class VqKeyedEagerBufCommand(NamedTuple):
    """vq_keyed_eager_buf."""

    opcode: int
    command_id: int
    out_offset: int
    """Where the device-readable bytes are in the range of the queue's eager buffers."""
    out_length: int
    in_length: int


@laid_out("HH4sII", COMMAND_SIZE, opcode=0, command_id=2, reserved=4, out_length=8, in_length=12)
class VqCommand(NamedTuple):
    """vq: the bytes of a request's device-readable and device-writable buffers."""

    opcode: int
    command_id: int
    reserved: bytes = bytes(4)
    out_length: int = 0
    in_length: int = 0


@laid_out("HHH10s", COMMAND_SIZE, opcode=0, command_id=2, vq_index=4, reserved=6)
class VqSizeCommand(NamedTuple):
    """get_vq_size."""

    opcode: int
    command_id: int
    queue_id: int
    reserved: bytes = bytes(10)


@laid_out("HH12s", COMPLETION_SIZE, status=0, command_id=2, reserved=4)
class PlainCompletion(NamedTuple):
    """The completion of a command that asks for nothing."""

    status: int
    command_id: int
    reserved: bytes = bytes(12)


@laid_out("HHH10s", COMPLETION_SIZE, status=0, command_id=2, device_instance_id=4, reserved=6)
class ConnectCompletion(NamedTuple):
    """The completion of a Connect."""

    status: int
    command_id: int
    value: int = 0
    reserved: bytes = bytes(10)


@laid_out("HH4sQ", COMPLETION_SIZE, status=0, command_id=2, reserved=4, feature=8)
class FeatureCompletion(NamedTuple):
    """The completion of get_feature and get_device_feature."""

    status: int
    command_id: int
    reserved: bytes = bytes(4)
    value: int = 0


@laid_out("HHB11s", COMPLETION_SIZE, status=0, command_id=2, descs=4, reserved=5)
class DescsCompletion(NamedTuple):
    """The completion of get_keyed_num_descs and get_keyed_eager_buf."""

    status: int
    command_id: int
    value: int = 0
    reserved: bytes = bytes(11)


@laid_out("HHI8s", COMPLETION_SIZE, status=0, command_id=2, value=4, reserved=8)
class NumberCompletion(NamedTuple):
    """The completion of get_vendor_id, get_device_id and get_status; that of a vq_keyed_eager_buf,
    whose number is the bytes written; and the config change event, whose number is the new
    generation."""

    status: int
    command_id: int
    value: int = 0
    reserved: bytes = bytes(8)


@laid_out("HHH10s", COMPLETION_SIZE, status=0, command_id=2, size=4, reserved=6)
class VqSizeCompletion(NamedTuple):
    """The completion of get_vq_size."""

    status: int
    command_id: int
    value: int = 0
    reserved: bytes = bytes(10)


@laid_out("HHIQ", COMPLETION_SIZE, status=0, command_id=2, generation=4, config=8)
class ConfigCompletion(NamedTuple):
    """The completion of get_config; ``value`` begins with 1, 2, 4 or 8 bytes that count."""

    status: int
    command_id: int
    generation: int = 0
    value: int = 0


@laid_out("HH4sII", COMPLETION_SIZE, status=0, command_id=2, reserved=4, length=8, in_length=12)
class VqCompletion(NamedTuple):
    """The completion of vq: ``value`` bytes of the device-writable area come back, from its start.
    ``in_length`` is the command's, less the gap before a status (ours; the text leaves it open)."""

    status: int
    command_id: int
    reserved: bytes = bytes(4)
    value: int = 0
    in_length: int = 0


@laid_out("QII", KEYED_DESCRIPTOR_SIZE, addr=0, length=8, key=12)
class KeyedDescriptor(NamedTuple):
    """Bytes of registered memory."""

    addr: int
    length: int
    key: int
