# SPDX-License-Identifier: BSD-3-Clause
"""CommandParser: what a target takes, and what it calls a violation."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.unit.wire.streams import LIMITS, NEXT, PLAIN_OPCODES, WRITE, command_parser, pattern
from vof.errors import RemoteProtocolError
from vof.wire.constants import Opcode
from vof.wire.dialect import PROPOSAL, Dialect
from vof.wire.stream import CommandParser, ReceivedCommand, StreamLimits
from vof.wire.structs import (
    CONNECT_BODY_SIZE,
    HEAD,
    ConnectCommand,
    SegmentDescriptor,
    VringCommand,
    pack,
)


def vring(*descs: tuple[int, int], ndesc: int | None = None) -> bytes:
    """Return a vring command of descriptors (length, flags), without its payload."""
    return vring_with_ids(
        [(ident, length, flags) for ident, (length, flags) in enumerate(descs)], ndesc
    )


def vring_with_ids(descs: Sequence[tuple[int, int, int]], ndesc: int | None = None) -> bytes:
    command = VringCommand(Opcode.VRING, 1, 0, len(descs) if ndesc is None else ndesc)
    return pack(command) + b"".join(
        pack(SegmentDescriptor(0, length, ident, flags)) for ident, length, flags in descs
    )


def connect(*, ndesc: int = 1, length: int = CONNECT_BODY_SIZE, flags: int = 0) -> bytes:
    command = ConnectCommand(Opcode.CONNECT, 1, 0xFFFF, 0, ndesc, 0)
    return pack(command) + pack(SegmentDescriptor(0, length, 0, flags)) * ndesc


def parse(stream: bytes, limits: StreamLimits = LIMITS) -> list[ReceivedCommand]:
    return command_parser(limits).feed(stream)


def violates(stream: bytes, reason: str) -> None:
    """Check that ``stream`` is refused for ``reason`` at its last byte."""
    parser = command_parser()
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
    first, second, third = parse(
        vring((4, 0)) + b"abcd" + vring((4, WRITE)) + HEAD.pack(Opcode.GET_STATUS, 1) + bytes(12)
    )
    assert [bytes(command.payload) for command in (first, second, third)] == [b"abcd", b"", b""]
    assert [len(command.descriptors) for command in (first, second, third)] == [1, 1, 0]


def test_the_length_of_a_vring_command_is_ignored() -> None:
    head = pack(VringCommand(Opcode.VRING, 1, 0xFFFFFFFF, 1, b"\xff" * 6))
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


# Connect.


@pytest.mark.parametrize("flags", [0, NEXT, 0xFFFF & ~WRITE])
def test_connect(flags: int) -> None:
    body = pattern(CONNECT_BODY_SIZE, 5)
    (command,) = parse(connect(flags=flags) + body)
    assert command.payload == body
    assert command.opcode == Opcode.CONNECT


def test_a_connect_is_not_measured_by_the_limits_of_a_vring_command() -> None:
    limits = StreamLimits(max_ndesc=1, max_transfer=1)
    assert len(parse(connect() + bytes(CONNECT_BODY_SIZE), limits)) == 1
    with pytest.raises(RemoteProtocolError, match="at most 1 are allowed"):
        parse(vring((2, 0)), limits)


@pytest.mark.parametrize("ndesc", [0, 2, 0xFFFF])
def test_connect_with_another_number_of_descriptors(ndesc: int) -> None:
    violates(connect(ndesc=ndesc)[:16], f"a Connect has {ndesc} descriptors instead of 1")


@pytest.mark.parametrize(
    ("length", "flags"),
    [(0, 0), (512, 0), (1023, 0), (1025, 0), (0xFFFFFFFF, 0), (1024, WRITE), (1024, WRITE | NEXT)],
)
def test_connect_with_another_descriptor(length: int, flags: int) -> None:
    violates(connect(length=length, flags=flags), "not 1024 device-readable bytes")


# Opcodes.


def test_every_opcode() -> None:
    """Those of 16 bytes are commands at once, the two with descriptors are not yet."""
    taken = []
    for opcode in set(range(0x10000)) - {Opcode.CONNECT, Opcode.VRING}:
        parser = command_parser()
        try:
            taken += parser.feed(HEAD.pack(opcode, 3) + bytes(12))
        except RemoteProtocolError:
            continue
    assert sorted(command.opcode for command in taken) == PLAIN_OPCODES["proposal"]
    assert len(taken) == 17


@pytest.mark.parametrize("opcode", [5, 0x0FFF, 0x100D, 0x2001, 0xFFFF])
def test_an_unknown_opcode_is_named(opcode: int) -> None:
    violates(
        HEAD.pack(opcode, 3) + bytes(12), f"opcode {opcode:#06x} is not one of dialect proposal"
    )


def test_the_feature_opcodes_are_the_dialect_s() -> None:
    other = Dialect("other", 1, 2, get_feature=4, set_feature=5)
    for dialect, known, unknown in ((PROPOSAL, 3, 5), (other, 5, 3)):
        assert len(CommandParser(dialect, LIMITS).feed(HEAD.pack(known, 0) + bytes(12))) == 1
        with pytest.raises(RemoteProtocolError):
            CommandParser(dialect, LIMITS).feed(HEAD.pack(unknown, 0) + bytes(12))


def test_what_nobody_reads_is_kept() -> None:
    head = HEAD.pack(Opcode.GET_STATUS, 0xFEDC) + pattern(12, 9)
    (command,) = parse(head)
    assert command == ReceivedCommand(Opcode.GET_STATUS, 0xFEDC, head, (), memoryview(b""))
