# SPDX-License-Identifier: BSD-3-Clause
"""The Connect of every revision, and how its first 16 bytes tell which revision it is of.

*proposal* and *v2* have one segment descriptor and the connect body behind the command; *v5* the
body alone, or nothing on a virtqueue. Over RDMA a descriptor names the body, which the target
reads. Telling them apart is ours, from the layouts: the le16 at offset 8 is ``ndesc``, which is 1,
or the low half of ``length``, which is 1,024 or 0; between *proposal* and *v2* ``oftype`` decides.

Pure: bytes in, records out. Must not know who may connect to what.
"""

from __future__ import annotations

from typing import NamedTuple

from vof.errors import RemoteProtocolError
from vof.wire.constants import Command, DescriptorFlag, Transport
from vof.wire.dialect import DIALECTS, V5, Dialect, keyed_flag
from vof.wire.names import decode_name, encode_name
from vof.wire.structs import (
    COMMAND_SIZE,
    CONNECT_BODY_SIZE,
    DESCRIPTOR_SIZE,
    HEAD,
    Buffer,
    ConnectBody,
    ConnectCommand,
    SegmentDescriptor,
    pack,
    unpack,
)
from vof.wire.v5 import KEYED_DESCRIPTOR_SIZE, InstanceConnectCommand, KeyedDescriptor

CONNECT = 0x0000
"""The opcode, in every revision."""


class Names(NamedTuple):
    """The names of who connects and of what they connect to."""

    ivqn: str
    tvqn: str


class Connect(NamedTuple):
    """A Connect, whatever revision it is of."""

    dialect: Dialect
    command_id: int
    target_id: int
    """0xffff for a control queue; else the device instance's."""
    queue_id: int
    has_body: bool = True
    queue_size: int | None = None
    """Commands that the virtqueue is to hold, 0 for the most it can; None where a Connect does not
    say."""


class ForeignConnect(Exception):
    """A Connect whose ``oftype`` no revision has over this transport."""

    def __init__(self, transport: Transport, oftype: int) -> None:
        super().__init__(f"oftype {oftype} is not {transport.name}")


def check_opcode(begin: Buffer) -> None:
    """Raise RemoteProtocolError for a command that is no Connect; ``begin`` is what there is of it,
    4 bytes at least."""
    opcode, _command_id = HEAD.unpack_from(begin)
    if opcode != CONNECT:
        raise RemoteProtocolError(f"opcode {opcode:#06x} before a Connect")


def decode_connect(head: Buffer, transport: Transport) -> Connect:
    """Return what the 16 bytes of a Connect say, that came over ``transport``.

    Raises ForeignConnect, and RemoteProtocolError where it has the form of no revision.
    """
    earlier = unpack(ConnectCommand, head)
    if earlier.ndesc == 1:
        for dialect in DIALECTS:
            if dialect.oftypes and dialect.oftypes[transport] == earlier.oftype:
                return Connect(dialect, earlier.command_id, earlier.target_id, earlier.queue_id)
        raise ForeignConnect(transport, earlier.oftype)
    command = unpack(InstanceConnectCommand, head)
    if command.length not in {0, CONNECT_BODY_SIZE}:
        raise RemoteProtocolError(
            f"a Connect is followed by {command.length} bytes instead of {CONNECT_BODY_SIZE}"
        )
    _opcode, command_id, target_id, queue_id, length, queue_size, _reserved = command
    return Connect(V5, command_id, target_id, queue_id, length > 0, queue_size)


def stream_rest(connect: Connect) -> int:
    """Return how many bytes follow the command on a stream: what ``decode_stream_rest`` takes."""
    if not connect.has_body:
        return 0
    return CONNECT_BODY_SIZE + (DESCRIPTOR_SIZE if connect.dialect.oftypes else 0)


def decode_stream_rest(connect: Connect, rest: Buffer) -> Names | None:
    """Return the names behind a Connect on a stream, None where it has none.

    Raises RemoteProtocolError for a descriptor that is not of 1,024 device-readable bytes.
    """
    if not connect.has_body:
        return None
    if connect.dialect.oftypes:
        _check(unpack(SegmentDescriptor, rest))
        rest = memoryview(rest)[DESCRIPTOR_SIZE:]
    return decode_body(rest)


def decode_keyed_rest(connect: Connect, rest: Buffer) -> KeyedDescriptor | None:
    """Return what names the connect body in the message of a Connect, None where there is none;
    ``rest`` is the message behind the command.

    Raises RemoteProtocolError for a message of another size, and for a descriptor that is not of
    1,024 device-readable bytes.
    """
    size = 0
    if connect.has_body:
        size = DESCRIPTOR_SIZE if connect.dialect.oftypes else KEYED_DESCRIPTOR_SIZE
    if len(rest) != size:
        raise RemoteProtocolError(
            f"the message of a Connect has {COMMAND_SIZE + len(rest)} bytes instead of "
            f"{COMMAND_SIZE + size}"
        )
    if not size:
        return None
    if connect.dialect.oftypes:
        segment = unpack(SegmentDescriptor, rest)
        _check(segment)
        return KeyedDescriptor(segment.addr, segment.length, segment.key)
    named = unpack(KeyedDescriptor, rest)
    if named.length != CONNECT_BODY_SIZE:
        raise RemoteProtocolError("a Connect's descriptor is not 1024 bytes")
    return named


def decode_body(body: Buffer) -> Names:
    """Return the names in a connect body. Raises RemoteProtocolError if one is not UTF-8."""
    ivqn, tvqn, _reserved = unpack(ConnectBody, body)
    return Names(decode_name(ivqn), decode_name(tvqn))


def encode_connect(connect: Connect, transport: Transport) -> bytes:
    """Return the 16 bytes of a Connect over ``transport``."""
    dialect, command_id, target_id, queue_id, has_body, queue_size = connect
    if dialect.oftypes:
        return dialect.encode(
            Command.CONNECT,
            command_id,
            target_id=target_id,
            queue_id=queue_id,
            ndesc=1,
            oftype=dialect.oftypes[transport],
        )
    return dialect.encode(
        Command.CONNECT,
        command_id,
        target_id=target_id,
        queue_id=queue_id,
        length=CONNECT_BODY_SIZE if has_body else 0,
        queue_size=queue_size or 0,
    )


def encode_body(names: Names) -> bytes:
    """Return the connect body."""
    return pack(ConnectBody(encode_name(names.ivqn), encode_name(names.tvqn)))


def encode_stream_rest(connect: Connect, body: bytes) -> bytes:
    """Return what follows the command on a stream; ``body`` is the connect body."""
    if not connect.has_body:
        return b""
    if not connect.dialect.oftypes:
        return body
    return pack(SegmentDescriptor(addr=0, length=CONNECT_BODY_SIZE, id=0, flags=0)) + body


def encode_keyed_rest(connect: Connect, body: KeyedDescriptor) -> bytes:
    """Return what follows the command in a message; ``body`` names the connect body."""
    if not connect.has_body:
        return b""
    if not connect.dialect.oftypes:
        return pack(body)
    flags = keyed_flag(connect.dialect.framing)
    return pack(SegmentDescriptor(body.addr, body.length, id=0, flags=flags, key=body.key))


def _check(descriptor: SegmentDescriptor) -> None:
    if descriptor.length != CONNECT_BODY_SIZE or descriptor.flags & DescriptorFlag.WRITE:
        raise RemoteProtocolError("a Connect's descriptor is not 1024 device-readable bytes")
