# SPDX-License-Identifier: BSD-3-Clause
"""CommandParser: what a target takes, and what it calls a violation."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest

from tests.unit.wire.streams import KEYED, LIMITS, NEXT, PLAIN, WRITE, command_parser, pattern
from vof.errors import RemoteProtocolError
from vof.wire.dialect import DIALECTS, PROPOSAL, V2, V5, Dialect
from vof.wire.stream import ReceivedCommand, StreamLimits
from vof.wire.structs import HEAD, SegmentDescriptor, pack

GET_STATUS = HEAD.pack(0x1003, 1) + bytes(12)

each_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda item: item.name)


def vring(*descs: tuple[int, int], ndesc: int | None = None) -> bytes:
    """Return a vring command of descriptors (length, flags), without its payload."""
    return vring_with_ids(
        [(ident, length, flags) for ident, (length, flags) in enumerate(descs)], ndesc
    )


def vring_with_ids(
    descs: Sequence[tuple[int, int, int]], ndesc: int | None = None, opcode: int = 0x2000
) -> bytes:
    count = len(descs) if ndesc is None else ndesc
    head = struct.pack("<HHIH6x", opcode, 1, 0, count)
    return head + b"".join(
        pack(SegmentDescriptor(0, length, ident, flags)) for ident, length, flags in descs
    )


def vq(out_length: int, in_length: int) -> bytes:
    return struct.pack("<HHIII", 0x0FFF, 1, 0xEEEEEEEE, out_length, in_length)


def parse(stream: bytes, limits: StreamLimits = LIMITS) -> list[ReceivedCommand]:
    return command_parser(limits).feed(stream)


def violates(stream: bytes, reason: str, dialect: Dialect = PROPOSAL) -> None:
    """Check that ``stream`` is refused for ``reason`` at its last byte."""
    parser = command_parser(dialect=dialect)
    assert parser.feed(stream[:-1]) == []
    with pytest.raises(RemoteProtocolError, match=reason):
        parser.feed(stream[-1:])


# Vring commands.


def test_the_readable_bytes_of_all_descriptors_are_the_payload() -> None:
    payload = pattern(9, 1)
    (command,) = parse(vring((2, 0), (30, WRITE), (3, NEXT), (50, WRITE | NEXT), (4, 0)) + payload)
    assert command.payload == payload
    assert [desc.length for desc in command.descriptors] == [2, 30, 3, 50, 4]


def test_a_command_that_is_only_written_to_has_no_payload() -> None:
    (command,) = parse(vring((30, WRITE), (1, WRITE)))
    assert len(command.payload) == 0


def test_payloads_of_earlier_commands_do_not_come_back() -> None:
    first, second, third = parse(vring((4, 0)) + b"abcd" + vring((4, WRITE)) + GET_STATUS)
    assert [bytes(command.payload) for command in (first, second, third)] == [b"abcd", b"", b""]
    assert [len(command.descriptors) for command in (first, second, third)] == [1, 1, 0]


def test_the_length_of_a_vring_command_is_ignored() -> None:
    head = struct.pack("<HHIH", 0x2000, 1, 0xFFFFFFFF, 1) + b"\xff" * 6
    (command,) = parse(head + vring((4, 0))[16:] + b"abcd")
    assert bytes(command.payload) == b"abcd"
    assert command.head == head


def test_as_many_descriptors_as_allowed() -> None:
    (command,) = parse(vring(*[(1, WRITE)] * LIMITS.max_ndesc))
    assert len(command.descriptors) == LIMITS.max_ndesc


@pytest.mark.parametrize("ndesc", [0, LIMITS.max_ndesc + 1, 0xFFFF])
def test_number_of_descriptors(ndesc: int) -> None:
    """Refused at the head, before any room is made for descriptors."""
    violates(vring(ndesc=ndesc), f"{ndesc} descriptors; 1 to {LIMITS.max_ndesc}")


@pytest.mark.parametrize(
    "descs",
    [
        [(240, 0)],
        [(240, WRITE)],
        [(120, 0), (120, WRITE)],
        [(100, 0), (100, 0), (40, WRITE)],
    ],
)
def test_as_many_bytes_as_allowed(descs: list[tuple[int, int]]) -> None:
    assert LIMITS.max_transfer == 240
    readable = sum(length for length, flags in descs if not flags & WRITE)
    assert len(parse(vring(*descs) + bytes(readable))) == 1


@pytest.mark.parametrize(
    ("descs", "total"),
    [
        ([(241, 0)], 241),
        ([(241, WRITE)], 241),
        ([(120, 0), (121, WRITE)], 241),
        ([(0xFFFFFFFF, 0)], 0xFFFFFFFF),
        ([(0xFFFFFFFF, WRITE), (1, WRITE)], 1 << 32),
        ([(0x80000000, 0), (0x80000000, 0)], 1 << 32),
        ([(0xFFFFFFFF, 0)] * 6, 6 * 0xFFFFFFFF),
    ],
)
def test_sum_of_lengths(descs: list[tuple[int, int]], total: int) -> None:
    violates(vring(*descs), f"add up to {total} bytes; at most 240")


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("flags", [0, WRITE])
def test_zero_length(place: int, flags: int) -> None:
    descs = [(16, 0), (20, 0), (1, WRITE)]
    descs[place] = (0, flags)
    violates(vring(*descs), "length zero")


@pytest.mark.parametrize("idents", [[5, 5], [0, 1, 0], [0, 0, 0], [1, 0xFFFF, 0xFFFF]])
def test_an_id_used_twice(idents: list[int]) -> None:
    violates(vring_with_ids([(ident, 1, WRITE) for ident in idents]), "used twice")


def test_ids_may_come_again_in_the_next_command() -> None:
    assert len(parse(vring((1, WRITE)) * 2)) == 2


# In v2 a descriptor says whether its bytes are on the stream.


@pytest.mark.parametrize("place", [0, 1])
def test_a_keyed_descriptor_on_a_stream(place: int) -> None:
    descs = [(0, 16, 0), (1, 1, WRITE)]
    ident, length, flags = descs[place]
    descs[place] = ident, length, flags | KEYED
    violates(vring_with_ids(descs, opcode=0x0FFF), "keyed descriptor on a stream", V2)
    # In the proposal the same flag says that there is another.
    assert parse(vring_with_ids(descs) + bytes(16))


# Vq commands.


@pytest.mark.parametrize(
    ("out_length", "in_length"), [(0, 0), (240, 0), (0, 240), (120, 120), (1, 1)]
)
def test_lengths(out_length: int, in_length: int) -> None:
    """Whatever is in the reserved bytes."""
    payload = pattern(out_length, 7)
    head = vq(out_length, in_length)
    (command,) = command_parser(dialect=V5).feed(head + payload)
    assert command == ReceivedCommand(
        0x0FFF, 1, head, (), memoryview(payload), in_length, is_request=True
    )


@pytest.mark.parametrize(
    ("out_length", "in_length"),
    [(241, 0), (0, 241), (120, 121), (0xFFFFFFFF, 0), (0xFFFFFFFF, 0xFFFFFFFF)],
)
def test_sum_of_the_lengths(out_length: int, in_length: int) -> None:
    """Refused at the head, before any room is made for the bytes."""
    total = out_length + in_length
    violates(vq(out_length, in_length), f"add up to {total} bytes; at most 240", V5)


def test_room_of_earlier_commands_does_not_come_back() -> None:
    parser = command_parser(dialect=V5)
    stream = vq(2, 40) + b"ab" + HEAD.pack(0x1004, 2) + bytes(12) + HEAD.pack(0x7777, 3) + bytes(12)
    assert [command.in_length for command in parser.feed(stream)] == [40, 0, 0]


# Opcodes.


@each_dialect
def test_a_second_connect(dialect: Dialect) -> None:
    violates(bytes(16), "a second Connect on one connection", dialect)


@pytest.mark.parametrize("dialect", [PROPOSAL, V2], ids=lambda item: item.name)
def test_every_opcode(dialect: Dialect) -> None:
    """Those of 16 bytes are commands at once, the one with descriptors is not yet."""
    taken = []
    for opcode in set(range(0x10000)) - {0}:
        parser = command_parser(dialect=dialect)
        try:
            taken += parser.feed(HEAD.pack(opcode, 3) + bytes(12))
        except RemoteProtocolError:
            continue
    assert sorted(command.opcode for command in taken) == PLAIN[dialect.name]


def test_every_opcode_of_v5() -> None:
    """One that nobody knows has a status: it is for the target to say it."""
    parser = command_parser(dialect=V5)
    opcodes = list(range(1, 0x10000))
    stream = b"".join(HEAD.pack(opcode, 3) + bytes(12) for opcode in opcodes)
    assert [command.opcode for command in parser.feed(stream)] == opcodes


@pytest.mark.parametrize(
    ("dialect", "opcode"),
    [(PROPOSAL, 5), (PROPOSAL, 0x0FFF), (PROPOSAL, 0x2001), (V2, 5), (V2, 0x1009), (V2, 0x2000)],
)
def test_an_unknown_opcode_is_named(dialect: Dialect, opcode: int) -> None:
    said = f"opcode {opcode:#06x} is not one of dialect {dialect.name}"
    violates(HEAD.pack(opcode, 3) + bytes(12), said, dialect)


def test_what_nobody_reads_is_kept() -> None:
    head = HEAD.pack(0x1003, 0xFEDC) + pattern(12, 9)
    (command,) = parse(head)
    assert command == ReceivedCommand(0x1003, 0xFEDC, head, (), memoryview(b""))
