# SPDX-License-Identifier: BSD-3-Clause
"""Judges whether a message may begin at a place in a stream, and of which dialects.

Wrong in both directions now and then: a message that does not begin a segment is passed over, and
data may look like one. Strict, for the former costs a few messages and the latter all that follow.
"""

from __future__ import annotations

from collections.abc import Sequence

from vof.decode.budget import MAX_DATA
from vof.decode.descriptors import Descriptor, segment_descriptors
from vof.wire.connect import CONNECT
from vof.wire.constants import (
    CONFIG_WIDTHS,
    FIRST_RESERVED_COMMAND_ID,
    Command,
    DescriptorFlag,
    Transport,
)
from vof.wire.dialect import PROPOSAL, V5, Dialect, Framing, next_flag
from vof.wire.status import OTHER, SENTENCES
from vof.wire.structs import (
    COMMAND_SIZE,
    COMPLETION_SIZE,
    CONNECT_BODY_SIZE,
    DESCRIPTOR_SIZE,
    HEAD,
    Completion,
    ConnectCommand,
    VringCommand,
    unpack,
)
from vof.wire.v5 import (
    KEYED_DESCRIPTOR_SIZE,
    InstanceConnectCommand,
    KeyedDescriptor,
    VqCommand,
    VqCompletion,
)

MAX_DESCRIPTORS = 1024
_MAX_ERRNO = 133
_MAX_OFTYPE = 2

_NEXT, _WRITE = int(DescriptorFlag.NEXT), int(DescriptorFlag.WRITE)


def may_be_connect(data: bytes, transport: Transport) -> bool:
    """True if a connection may begin with a Connect that begins so, and has a body.

    A Connect without one is 16 bytes, of which hardly any says anything.
    """
    if len(data) < COMMAND_SIZE + DESCRIPTOR_SIZE and transport is Transport.TCP:
        return False
    if len(data) < COMMAND_SIZE + KEYED_DESCRIPTOR_SIZE:
        return False
    command = unpack(ConnectCommand, data)
    if command.opcode != CONNECT:
        return False
    if command.ndesc == 1:
        descriptors = segment_descriptors(data[COMMAND_SIZE:])[:1]
        return command.oftype <= _MAX_OFTYPE and any(
            each["length"] == CONNECT_BODY_SIZE and not each["flags"] & _WRITE
            for each in descriptors
        )
    later = unpack(InstanceConnectCommand, data)
    if later.length != CONNECT_BODY_SIZE or any(later.reserved):
        return False
    if transport is Transport.TCP:
        return data[COMMAND_SIZE] != 0  # a name
    return unpack(KeyedDescriptor, data, COMMAND_SIZE).length == CONNECT_BODY_SIZE


def is_likely(head: bytes, dialect: Dialect) -> bool:
    """True if 16 bytes are what a command of this dialect is likely to be: zeros where it is
    reserved, the width of a config field one that there is, and room for the answer to a request,
    without which no device type does."""
    command = dialect.command_of(head)
    if command is None:
        return False
    record = dialect.decode(command, head)
    if command in {Command.GET_CONFIG, Command.SET_CONFIG} and record.width not in CONFIG_WIDTHS:
        return False
    if command is Command.VQ and not record.in_length:
        return False
    return not any(any(value) for value in record if isinstance(value, bytes))


def of_command(data: bytes, among: Sequence[Dialect]) -> tuple[Dialect, ...]:
    """Return those of the dialects in which a segment that begins so may begin with a command."""
    if len(data) < COMMAND_SIZE or HEAD.unpack_from(data)[1] >= FIRST_RESERVED_COMMAND_ID:
        return ()
    return tuple(each for each in among if _may_be_command(data, each))


def _may_be_command(data: bytes, dialect: Dialect) -> bool:
    match dialect.command_of(data):
        case None:
            return False
        case Command.CONNECT if dialect is not V5:
            return may_be_connect(data, Transport.TCP) and unpack(ConnectCommand, data).ndesc == 1
        case Command.CONNECT if unpack(InstanceConnectCommand, data).length:
            return may_be_connect(data, Transport.TCP) and unpack(ConnectCommand, data).ndesc != 1
        case Command.VRING:
            count = unpack(VringCommand, data).ndesc
            there = segment_descriptors(data[COMMAND_SIZE:])[:count]
            return (
                0 < count <= MAX_DESCRIPTORS
                and _asked(there, count, dialect.framing)
                # Of proposal, it is no other dialect's, and there are programs that leave anything.
                and (dialect is PROPOSAL or is_likely(data, dialect))
            )
        case Command.VQ:
            command = unpack(VqCommand, data)
            size = command.out_length + command.in_length
            return size <= MAX_DATA and is_likely(data, dialect)
    return len(data) == COMMAND_SIZE


def of_completion(data: bytes, among: Sequence[Dialect]) -> tuple[Dialect, ...]:
    """Return those in which it may begin with a completion."""
    if len(data) < COMPLETION_SIZE:
        return ()
    later, earlier = _may_be_later(data), _may_be_earlier(data)
    return tuple(each for each in among if (later if each is V5 else earlier))


def _may_be_earlier(data: bytes) -> bool:
    completion = unpack(Completion, data)
    if completion.status > _MAX_ERRNO and completion.status != OTHER:
        return False
    if completion.ndesc:
        there = segment_descriptors(data[COMPLETION_SIZE:])[: completion.ndesc]
        return completion.ndesc <= MAX_DESCRIPTORS and _returned(there, completion.ndesc)
    return len(data) == COMPLETION_SIZE


def _may_be_later(data: bytes) -> bool:
    answer = unpack(VqCompletion, data)
    if answer.status and answer.status not in SENTENCES:
        return False
    if len(data) == COMPLETION_SIZE:
        return True
    return not any(answer.reserved) and 0 < answer.value <= min(answer.in_length, MAX_DATA)


def looks_returned(head: bytes, asked: Sequence[Descriptor]) -> bool:
    """True if these 16 bytes look like the beginning of a descriptor that comes back, and not like
    a completion.

    ``asked`` are the device-writable ones of its command.
    """
    [descriptor] = segment_descriptors(head.ljust(DESCRIPTOR_SIZE, b"\0"))
    return any(
        each["id"] == descriptor["id"]
        and each["flags"] == descriptor["flags"]
        and each["length"] >= descriptor["length"]
        for each in asked
    )


def _asked(descriptors: Sequence[Descriptor], count: int, framing: Framing) -> bool:
    """True if these may be the first of the ``count`` descriptors of a command."""
    chained = next_flag(framing)
    return all(
        each["length"] and each["flags"] & ~_WRITE == (chained if place < count - 1 else 0)
        for place, each in enumerate(descriptors)
    )


def _returned(descriptors: Sequence[Descriptor], count: int) -> bool:
    """True if these may be the first of the ``count`` descriptors of a completion."""
    place = 0
    for each in descriptors:
        if each["addr"] != place or each["flags"] & ~_NEXT != _WRITE:
            return False
        place += each["length"]
    return bool(descriptors) or not count
