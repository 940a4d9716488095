# SPDX-License-Identifier: BSD-3-Clause
"""Segment and keyed descriptors as they are told, and the rules for them.

*v2*, "Vring Command" and the segment descriptor before it. What is checked in a completion is what
the known initiators rely on: each device-writable descriptor comes back once, by its id.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vof.decode.fields import fields_of
from vof.wire.constants import Command, DescriptorFlag
from vof.wire.structs import CONNECT_BODY_SIZE, DESCRIPTOR_SIZE, SegmentDescriptor
from vof.wire.v5 import KEYED_DESCRIPTOR_SIZE, KeyedDescriptor

Descriptor = dict[str, int]
"""Its fields by the specification's names."""

_WRITE = int(DescriptorFlag.WRITE)
_KEYED = int(DescriptorFlag.KEYED)


def segment_descriptors(data: bytes) -> list[Descriptor]:
    """Return the whole segment descriptors in ``data``."""
    places = range(0, len(data) - DESCRIPTOR_SIZE + 1, DESCRIPTOR_SIZE)
    return [fields_of(SegmentDescriptor, data, place) for place in places]


def keyed_descriptors(data: bytes) -> list[Descriptor]:
    """Return the whole keyed descriptors in ``data``."""
    places = range(0, len(data) - KEYED_DESCRIPTOR_SIZE + 1, KEYED_DESCRIPTOR_SIZE)
    return [fields_of(KeyedDescriptor, data, place) for place in places]


def writable(descriptors: Sequence[Descriptor]) -> list[Descriptor]:
    """Return those segment descriptors whose buffers are device-writable."""
    return [each for each in descriptors if each["flags"] & _WRITE]


def readable(descriptors: Sequence[Descriptor]) -> list[Descriptor]:
    """Return those segment descriptors whose buffers are device-readable."""
    return [each for each in descriptors if not each["flags"] & _WRITE]


def unkeyed(descriptors: Sequence[Descriptor]) -> list[Descriptor]:
    """Return those segment descriptors of *v2* whose bytes travel with the command itself."""
    return [each for each in descriptors if not each["flags"] & _KEYED]


def divided(
    descriptors: Sequence[Descriptor], size: int
) -> tuple[list[Descriptor], list[Descriptor]]:
    """Return what names the first ``size`` bytes of the buffers of keyed descriptors, and what
    names the rest: one of them may hold the end of the former and the beginning of the latter."""
    first, rest = [], []
    for each in descriptors:
        part = min(size, each["length"])
        size -= part
        if part:
            first.append(each | {"length": part})
        if part < each["length"]:
            rest.append(each | {"addr": each["addr"] + part, "length": each["length"] - part})
    return first, rest


def total(descriptors: Sequence[Descriptor]) -> int:
    """Return the bytes of all their buffers."""
    return sum(each["length"] for each in descriptors)


def command_problems(command: Command | None, descriptors: Sequence[Descriptor]) -> Iterator[str]:
    """Yield what is wrong with the segment descriptors of a Connect or a vring command."""
    if command is Command.CONNECT:
        if len(descriptors) != 1:
            yield f"it has {len(descriptors)} descriptors instead of 1"
        elif descriptors[0]["length"] != CONNECT_BODY_SIZE or writable(descriptors):
            yield "its descriptor is not 1024 device-readable bytes"
        return
    if not descriptors:
        yield "it has no descriptors"
    if not all(each["length"] for each in descriptors):
        yield "a descriptor has length zero"
    if len({each["id"] for each in descriptors}) != len(descriptors):
        yield "a descriptor id is used twice"


def completion_problems(
    asked: Sequence[Descriptor], returned: Sequence[Descriptor], value: int
) -> Iterator[str]:
    """Yield what is wrong with the descriptors that come back with a vring's completion.

    ``asked`` are the device-writable ones of its command, ``value`` is the completion's.
    """
    if len(returned) != len(asked):
        yield f"it returns {len(returned)} descriptors, where {len(asked)} are device-writable"
    room = {each["id"]: each["length"] for each in asked}
    seen = set()
    for each in returned:
        ident, length = each["id"], each["length"]
        if ident not in room:
            yield f"descriptor id {ident} is none of the command's"
        elif ident in seen:
            yield f"descriptor id {ident} is returned twice"
        elif length > room[ident]:
            yield f"it returns {length} bytes for descriptor id {ident} with room for {room[ident]}"
        seen.add(ident)
    if value != total(returned):
        yield f"its value says {value} bytes, the descriptors {total(returned)}"


def room_problems(written: int, room: int) -> Iterator[str]:
    """Yield what is wrong with the bytes that a completion says were written."""
    if written > room:
        yield f"it returns {written} bytes, where there is room for {room}"
