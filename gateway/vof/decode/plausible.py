# SPDX-License-Identifier: BSD-3-Clause
"""May a message begin here? For a stream in which the beginning of one is looked for.

Wrong in both directions now and then: a message that does not begin a segment is passed over, and
data may look like one. Strict, for the former costs a few messages and the latter all that follow.
"""

from __future__ import annotations

from collections.abc import Sequence

from vof.decode.budget import MAX_DATA
from vof.decode.commands import fields_of, form_of
from vof.decode.descriptors import Descriptor, segment_descriptors
from vof.wire.constants import (
    FIRST_RESERVED_COMMAND_ID,
    STATUS_OTHER,
    DescriptorFlag,
    LaterOpcode,
    Opcode,
)
from vof.wire.dialect import Dialect
from vof.wire.structs import (
    COMMAND_SIZE,
    COMPLETION_SIZE,
    CONNECT_BODY_SIZE,
    DESCRIPTOR_SIZE,
    HEAD,
    Completion,
    ConnectCommand,
    unpack,
)
from vof.wire.vq import VqCompletion

MAX_DESCRIPTORS = 1024
_MAX_ERRNO = 133

_NEXT, _WRITE = int(DescriptorFlag.NEXT), int(DescriptorFlag.WRITE)


def may_be_connect(data: bytes) -> bool:
    """True if a stream may begin with a Connect that begins so."""
    if len(data) < COMMAND_SIZE + DESCRIPTOR_SIZE:
        return False
    command = unpack(ConnectCommand, data)
    [descriptor, *_more] = segment_descriptors(data[COMMAND_SIZE:])
    return (
        command.opcode == Opcode.CONNECT
        and command.ndesc == 1
        and command.oftype <= 2  # the largest there is
        and descriptor["length"] == CONNECT_BODY_SIZE
        and not descriptor["flags"]
    )


def may_be_command(data: bytes, dialects: Sequence[Dialect]) -> bool:
    """True if a segment that begins so may begin with a command."""
    if len(data) < COMMAND_SIZE:
        return False
    opcode, command_id = HEAD.unpack_from(data)
    form = form_of(opcode, dialects)
    if form is None or command_id >= FIRST_RESERVED_COMMAND_ID:
        return False
    if opcode == Opcode.CONNECT:
        return may_be_connect(data)
    fields = fields_of(form.command, data)
    if opcode == Opcode.VRING:
        there = segment_descriptors(data[COMMAND_SIZE:])[: fields["ndesc"]]
        return 0 < fields["ndesc"] <= MAX_DESCRIPTORS and _chain(there, fields["ndesc"])
    if opcode == LaterOpcode.VQ:
        size = fields["out_length"] + fields["in_length"]
        return 0 < size <= MAX_DATA and not fields["out_descs"] + fields["in_descs"]
    return len(data) == COMMAND_SIZE


def may_be_completion(data: bytes, *, by_length: bool) -> bool:
    """True if a segment that begins so may begin with a completion.

    ``by_length`` where those of the requests have lengths in place of descriptors.
    """
    if len(data) < COMPLETION_SIZE:
        return False
    completion = unpack(Completion, data)
    if completion.status > _MAX_ERRNO and completion.status != STATUS_OTHER:
        return False
    rest = len(data) - COMPLETION_SIZE
    if by_length and rest:
        answer = unpack(VqCompletion, data)
        return 0 < answer.length <= MAX_DATA and answer.used <= answer.length
    if completion.ndesc:
        there = segment_descriptors(data[COMPLETION_SIZE:])[: completion.ndesc]
        return completion.ndesc <= MAX_DESCRIPTORS and _returned(there, completion.ndesc)
    return not rest


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


def _chain(descriptors: Sequence[Descriptor], count: int) -> bool:
    """True if these may be the first of the ``count`` descriptors of a command."""
    return all(
        each["length"]
        and not each["flags"] & ~(_NEXT | _WRITE)
        and bool(each["flags"] & _NEXT) == (place < count - 1)
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
