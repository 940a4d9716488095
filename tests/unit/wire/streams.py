# SPDX-License-Identifier: BSD-3-Clause
"""Made-up streams of valid commands and completions, with what they must be decoded to."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

from hypothesis import strategies as st

from tests.support.protocol_numbers import OPCODES
from tests.unit.wire.delivery import Parser, deliver
from vof.errors import RemoteProtocolError
from vof.wire.dialect import PROPOSAL, V2, V5, Dialect
from vof.wire.stream import (
    Arrival,
    CommandParser,
    CompletionParser,
    Expected,
    ReceivedCommand,
    StreamLimits,
)
from vof.wire.structs import HEAD, Completion, SegmentDescriptor, pack
from vof.wire.vq import VqCommandParser

_E = TypeVar("_E")

NEXT = KEYED = 1
WRITE = 2

LIMITS = StreamLimits(max_ndesc=6, max_transfer=240)

PLAIN = {
    name: sorted(set(opcodes.values()) - {0, 0x0FFF, 0x2000}) for name, opcodes in OPCODES.items()
}
"""Opcodes of commands that are 16 bytes on a stream; vq_keyed_eager_buf, which has no place there,
is one of them."""

UNTOUCHED = 0xEE
"""What a buffer holds before anything arrives in it."""

u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
u64 = st.integers(0, (1 << 64) - 1)


def pattern(size: int, seed: int) -> bytes:
    """Return ``size`` bytes in which every place shows."""
    return bytes((seed + 7 * place) % 251 for place in range(size))


# Commands.


@st.composite
def plain_commands(draw: st.DrawFn, dialect: Dialect = PROPOSAL) -> ReceivedCommand:
    return plain(draw, st.sampled_from(PLAIN[dialect.name]))


@st.composite
def unknown_commands(draw: st.DrawFn) -> ReceivedCommand:
    """Of v5, which refuses them: an opcode that no text has, or that an earlier one has."""
    known = set(OPCODES["v5"].values())
    return plain(draw, st.integers(0, 0xFFFF).filter(lambda opcode: opcode not in known))


def plain(draw: st.DrawFn, opcodes: st.SearchStrategy[int]) -> ReceivedCommand:
    opcode, command_id = draw(opcodes), draw(u16)
    head = HEAD.pack(opcode, command_id) + draw(st.binary(min_size=12, max_size=12))
    return ReceivedCommand(opcode, command_id, head, (), memoryview(b""))


@st.composite
def vring_commands(draw: st.DrawFn, dialect: Dialect = PROPOSAL) -> ReceivedCommand:
    """Descriptors in any order, of which some, all or none are device-writable."""
    idents = draw(st.lists(u16, min_size=1, max_size=LIMITS.max_ndesc, unique=True))
    other = ~KEYED if dialect is V2 else ~0
    descs = [
        SegmentDescriptor(
            addr=draw(u64),
            length=draw(st.integers(1, LIMITS.max_transfer // LIMITS.max_ndesc)),
            id=ident,
            flags=draw(u16) & other,
            key=draw(u32),
            pad=draw(st.binary(min_size=4, max_size=4)),
        )
        for ident in idents
    ]
    opcode, command_id = OPCODES[dialect.name]["vring"], draw(u16)
    head = struct.pack("<HHIH", opcode, command_id, draw(u32), len(descs))
    head += draw(st.binary(min_size=6, max_size=6))
    readable = sum(desc.length for desc in descs if not desc.flags & WRITE)
    payload = memoryview(pattern(readable, draw(st.integers(0, 250))))
    room = sum(desc.length for desc in descs if desc.flags & WRITE)
    return ReceivedCommand(opcode, command_id, head, descs, payload, room, is_request=True)


@st.composite
def vq_commands(draw: st.DrawFn) -> ReceivedCommand:
    readable = draw(st.integers(0, LIMITS.max_transfer))
    room = draw(st.integers(0, LIMITS.max_transfer - readable))
    opcode, command_id = OPCODES["v5"]["vq"], draw(u16)
    head = struct.pack("<HHIII", opcode, command_id, draw(u32), readable, room)
    payload = memoryview(pattern(readable, draw(st.integers(0, 250))))
    return ReceivedCommand(opcode, command_id, head, (), payload, room, is_request=True)


commands = st.one_of(plain_commands(), vring_commands())

v2_commands = st.one_of(plain_commands(V2), vring_commands(V2))

v5_commands = st.one_of(plain_commands(V5), unknown_commands(), vq_commands())

COMMANDS = {"proposal": commands, "v2": v2_commands, "v5": v5_commands}


def command_bytes(command: ReceivedCommand) -> bytes:
    return command.head + b"".join(map(pack, command.descriptors)) + bytes(command.payload)


def command_parser(limits: StreamLimits = LIMITS, dialect: Dialect = PROPOSAL) -> CommandParser:
    return (VqCommandParser if dialect is V5 else CommandParser)(dialect, limits)


# Completions.


@dataclass
class Request:
    """A command in flight and the completion that will answer it."""

    command_id: int
    first_id: int
    sizes: list[int]
    """Of its device-writable buffers."""
    status: int
    lengths: list[int]
    """Bytes returned into each buffer; empty for a refusal that returns none."""
    order: list[int]
    """The order in which they are returned."""
    ndesc: int
    """What the completion says it returns."""
    value: int = 0
    seed: int = 0
    storage: list[bytearray] = field(init=False)

    def __post_init__(self) -> None:
        self.storage = [bytearray([UNTOUCHED]) * size for size in self.sizes]

    @property
    def buffers(self) -> list[memoryview]:
        return [memoryview(buffer) for buffer in self.storage]

    @property
    def completion(self) -> Completion:
        return Completion(
            self.status, self.command_id, self.ndesc, self.seed.to_bytes(2, "little"), self.value
        )

    @property
    def arrival(self) -> Arrival:
        return Arrival(self.completion, self.lengths)

    def data(self, index: int) -> bytes:
        """Return what comes back into a buffer."""
        return pattern(self.lengths[index], self.seed + 31 * index)

    @property
    def stored(self) -> list[bytes]:
        """What the buffers must hold in the end."""
        if not self.lengths:
            return [bytes([UNTOUCHED]) * size for size in self.sizes]
        return [
            self.data(index).ljust(size, bytes([UNTOUCHED]))
            for index, size in enumerate(self.sizes)
        ]

    @property
    def descriptors(self) -> list[SegmentDescriptor]:
        return [
            SegmentDescriptor(
                self.seed, self.lengths[index], self.first_id + index, NEXT | WRITE, self.seed
            )
            for index in self.order
        ]

    def to_bytes(self) -> bytes:
        """Return the completion with what follows it."""
        return (
            pack(self.completion)
            + b"".join(map(pack, self.descriptors))
            + b"".join(map(self.data, self.order))
        )


@st.composite
def requests(draw: st.DrawFn, *, quirk: bool) -> list[Request]:
    """Requests in the order they are answered. ``quirk``: refusals carry buffers."""
    made = []
    for command_id in draw(st.lists(u16, min_size=1, max_size=4, unique=True)):
        sizes = draw(st.lists(st.integers(1, 40), max_size=4))
        lengths = [draw(st.integers(0, size)) for size in sizes]
        refused = draw(st.booleans())
        if refused and not quirk:
            lengths = []
        made.append(
            Request(
                command_id,
                first_id=draw(st.integers(0, 0xFFF0)),
                sizes=sizes,
                status=draw(st.integers(1, 0xFFFF)) if refused else draw(st.integers(0, 200)),
                lengths=lengths,
                order=draw(st.permutations(range(len(lengths)))),
                ndesc=0 if refused else len(sizes),
                value=draw(u64),
                seed=draw(st.integers(0, 250)),
            )
        )
        if not refused and not sizes:
            made[-1].status = 0
    return made


class Table:
    """The commands in flight, as a fabric keeps them."""

    def __init__(self, in_flight: Sequence[Request]) -> None:
        self.in_flight = {request.command_id: request for request in in_flight}
        self.asked: list[int] = []

    def expect(self, command_id: int) -> Expected:
        self.asked.append(command_id)
        request = self.in_flight.pop(command_id, None)
        if request is None:
            raise RemoteProtocolError(f"command id {command_id} is not in flight")
        return Expected(request.first_id, request.buffers)


def completion_parser(*in_flight: Request, quirk: bool = False) -> CompletionParser:
    return CompletionParser(Table(in_flight).expect, refusal_carries_buffers=quirk)


# How a stream is cut.


@st.composite
def cuts(draw: st.DrawFn, size: int) -> list[tuple[int, int, bool]]:
    """Pieces of a stream of ``size`` bytes: begin, end, and whether it is received directly."""
    places = sorted(draw(st.sets(st.integers(1, max(1, size - 1)), max_size=12)))
    places = [0, *(place for place in places if place < size), size]
    return [(begin, end, draw(st.booleans())) for begin, end in pairwise(places)]


def deliver_cut(parser: Parser[_E], stream: bytes, pieces: list[tuple[int, int, bool]]) -> list[_E]:
    """Return what the pieces of ``stream`` complete."""
    done: list[_E] = []
    for begin, end, direct in pieces:
        done += deliver(parser, stream[begin:end], direct=direct)
    return done
