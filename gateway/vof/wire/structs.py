# SPDX-License-Identifier: BSD-3-Clause
"""The fixed-size records of *proposal* and *v2*: commands, completion, segment descriptor, connect
body. Those of *v5* are in ``v5``, where they differ.

Each is a NamedTuple with a layout; ``pack`` returns a record's bytes, ``unpack`` reads one.
Reserved bytes are kept, so that decoding and encoding again gives the same bytes; a new record has
zeros there, and nothing looks at a peer's, which may hold anything.

Must not know what a command means or what may follow it: ``stream`` frames, the endpoints decide.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias, TypeVar

from vof.wire.layout import laid_out, layout_of, record

Buffer: TypeAlias = bytes | bytearray | memoryview

_R = TypeVar("_R", bound=NamedTuple)


def pack(item: NamedTuple) -> bytes:
    """Return the bytes of a record."""
    return layout_of(type(item)).pack(*item)


def unpack(kind: type[_R], buffer: Buffer, offset: int = 0) -> _R:
    """Return the record of type ``kind`` at ``offset``.

    Raises struct.error if the buffer is too short.
    """
    return kind._make(layout_of(kind).unpack_from(buffer, offset))


COMMAND_SIZE = 16
COMPLETION_SIZE = 16
DESCRIPTOR_SIZE = 24
CONNECT_BODY_SIZE = 1024

HEAD = record("HH", 4, opcode=0, command_id=2)
"""The first two fields of every command."""


@laid_out(
    "HHHHHB5s",
    COMMAND_SIZE,
    opcode=0,
    command_id=2,
    target_id=4,
    queue_id=6,
    ndesc=8,
    oftype=10,
    padding=11,
)
class ConnectCommand(NamedTuple):
    """*v2* struct virtio_of_command_connect."""

    opcode: int
    command_id: int
    target_id: int
    queue_id: int
    ndesc: int
    oftype: int
    reserved: bytes = bytes(5)


@laid_out("HHIQ", COMMAND_SIZE, opcode=0, command_id=2, feature_select=4, value=8)
class FeatureCommand(NamedTuple):
    """*v2* struct virtio_of_command_feature; ``value`` is ignored on get."""

    opcode: int
    command_id: int
    feature_select: int
    value: int = 0


@laid_out("HHH2sQ", COMMAND_SIZE, opcode=0, command_id=2, queue_id=4, padding=6, value=8)
class QueueCommand(NamedTuple):
    """*v2* struct virtio_of_command_queue; ``value`` is ignored on get."""

    opcode: int
    command_id: int
    queue_id: int
    reserved: bytes = bytes(2)
    value: int = 0


@laid_out("HHHB1sQ", COMMAND_SIZE, opcode=0, command_id=2, offset=4, bytes=6, padding=7, value=8)
class ConfigCommand(NamedTuple):
    """*v2* struct virtio_of_command_config; ``width`` is its ``bytes``.

    ``value`` is ignored on get.
    """

    opcode: int
    command_id: int
    offset: int
    width: int
    reserved: bytes = bytes(1)
    value: int = 0


@laid_out("HH4sQ", COMMAND_SIZE, opcode=0, command_id=2, padding=4, value=8)
class CommonCommand(NamedTuple):
    """*v2* struct virtio_of_command_common; ``value`` is ignored on get."""

    opcode: int
    command_id: int
    reserved: bytes = bytes(4)
    value: int = 0


@laid_out("HHI8s", COMMAND_SIZE, opcode=0, command_id=2, status=4, padding=8)
class StatusCommand(NamedTuple):
    """set_status of *proposal* and *v5*: the status stands right behind the command id.

    *v2* has it in struct virtio_of_command_common, whose ``value`` comes after 4 reserved bytes.
    """

    opcode: int
    command_id: int
    value: int
    reserved: bytes = bytes(8)


@laid_out("HHIH6s", COMMAND_SIZE, opcode=0, command_id=2, length=4, ndesc=8, padding=10)
class VringCommand(NamedTuple):
    """*v2* struct virtio_of_command_vring. ``length`` is never used: no two peers agree on it."""

    opcode: int
    command_id: int
    length: int
    ndesc: int
    reserved: bytes = bytes(6)


@laid_out("HHH2sQ", COMPLETION_SIZE, status=0, command_id=2, ndesc=4, rsvd=6, value=8)
class Completion(NamedTuple):
    """*v2* struct virtio_of_completion. ``value`` is a u8, le16, le32 or le64 from its start."""

    status: int
    command_id: int
    ndesc: int = 0
    reserved: bytes = bytes(2)
    value: int = 0


@laid_out("QIHHI4s", DESCRIPTOR_SIZE, addr=0, length=8, id=12, flags=14, key=16, pad=20)
class SegmentDescriptor(NamedTuple):
    """The segment descriptor of a vring command and its completion.

    The published fields sum to 20 bytes; both known programs send 24, with 4 bytes of padding after
    ``key``.
    """

    addr: int
    length: int
    id: int
    flags: int
    key: int = 0
    pad: bytes = bytes(4)


@laid_out("256s256s512s", CONNECT_BODY_SIZE, ivqn=0, tvqn=256, padding=512)
class ConnectBody(NamedTuple):
    """*v2* struct virtio_of_connect. The names are raw 256-byte fields; see ``names``."""

    ivqn: bytes
    tvqn: bytes
    reserved: bytes = bytes(512)
