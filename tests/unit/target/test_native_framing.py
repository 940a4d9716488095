# SPDX-License-Identifier: BSD-3-Clause
"""The native framing and the reference in Python: the same bytes are the same commands, or the same
violation, however they arrive."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire.streams import LIMITS, WRITE, command_bytes, commands, cuts, v5_commands
from vof.errors import RemoteProtocolError
from vof.target import native
from vof.wire.dialect import PROPOSAL, V2, V5, Dialect, Framing
from vof.wire.stream import CommandParser, ReceivedCommand, StreamLimits
from vof.wire.vq import VqCommandParser

Command = tuple[int, int, bytes, list[tuple[int, int, int]], int, bytes]

WIDE = StreamLimits(max_ndesc=128, max_transfer=1 << 20)


def framer(limits: StreamLimits = LIMITS, dialect: Dialect = PROPOSAL) -> native.Framer:
    return native.Framer(
        dialect=dialect.name,
        max_ndesc=limits.max_ndesc,
        max_transfer=limits.max_transfer,
        plain_opcodes=dialect.plain_opcodes,
        framing=dialect.framing,
    )


def as_native(command: ReceivedCommand) -> Command:
    writable = [
        (item.length, item.id, item.flags) for item in command.descriptors if item.flags & WRITE
    ]
    return (
        command.opcode,
        command.command_id,
        command.head,
        writable,
        command.in_length,
        bytes(command.payload),
    )


def outcome(parser: CommandParser | native.Framer, pieces: list[bytes]) -> list[object]:
    """Return the commands before a violation, then its text if there is one."""
    found: list[object] = []
    for piece in pieces:
        # Byte by byte, because a violation hides the commands that are fed together with it.
        for place in range(len(piece)):
            try:
                done = parser.feed(piece[place : place + 1])
            except RemoteProtocolError as error:
                return [*found, str(error)]
            found += [as_native(x) if isinstance(x, ReceivedCommand) else x for x in done]
    return found


@given(sent=st.lists(commands, min_size=1, max_size=5), data=st.data())
def test_good_commands_in_any_fragmentation(
    sent: list[ReceivedCommand], data: st.DataObject
) -> None:
    stream = b"".join(map(command_bytes, sent))
    expected = [as_native(command) for command in sent]
    assert framer().feed(stream) == expected
    parser, found = framer(), []
    for begin, end, _direct in data.draw(cuts(len(stream))):
        found += parser.feed(stream[begin:end])
    assert found == expected


@given(sent=st.lists(commands, min_size=1, max_size=3), data=st.data())
def test_damaged_commands_are_the_same_violation(
    sent: list[ReceivedCommand], data: st.DataObject
) -> None:
    stream = bytearray(b"".join(map(command_bytes, sent)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(stream) - 1))
        stream[place] = data.draw(st.integers(0, 255))
    reference = CommandParser(PROPOSAL, LIMITS)
    assert outcome(framer(), [bytes(stream)]) == outcome(reference, [bytes(stream)])


@given(
    fields=st.lists(
        st.tuples(
            st.sampled_from([0, 1, 16, 40, 240, 241, 1 << 31, 0xFFFFFFFF]),
            st.sampled_from([0, 1, 2, 64, 65535]),
            st.integers(0, 3),
        ),
        max_size=8,
    ),
    count=st.one_of(st.none(), st.integers(0, 65535)),
    opcode=st.sampled_from([0x2000, 0x2000, 0x2000, 0, 0x0FFF, 1, 0x100D]),
    dialect=st.sampled_from([PROPOSAL, V2]),
)
def test_made_up_commands(
    fields: list[tuple[int, int, int]], count: int | None, opcode: int, dialect: Dialect
) -> None:
    stream = struct.pack("<HHIH6x", opcode, 7, 0, len(fields) if count is None else count)
    for length, ident, flags in fields:
        stream += struct.pack("<QIHHI4x", 0, length, ident, flags, 0)
    stream += bytes(1100)
    reference = CommandParser(dialect, LIMITS)
    assert outcome(framer(dialect=dialect), [stream]) == outcome(reference, [stream])


@pytest.mark.parametrize("size", [0, 1, 32 << 10, (32 << 10) + 1, 65536 - 64, 65536, 200_000])
@pytest.mark.parametrize("step", [1000, 65536, 1 << 20])
def test_payloads_of_all_sizes(size: int, step: int) -> None:
    """Small ones stay in the receive buffer, large ones have their own; both between commands."""
    payload = bytes(index % 251 for index in range(16 + size))
    descriptors = [(16, 0, 0), (size, 1, 0)] if size else [(16, 0, 0)]
    one = struct.pack("<HHIH6x", 0x2000, 9, 0, len(descriptors)) + b"".join(
        struct.pack("<QIHHI4x", 0, length, ident, flags, 0) for length, ident, flags in descriptors
    )
    stream = (one + payload) * 3
    parser = framer(WIDE)
    found: list[Command] = []
    for place in range(0, len(stream), step):
        found += parser.feed(stream[place : place + step])
    assert found == [(0x2000, 9, one[:16], [], 0, payload)] * 3


def test_ids_that_are_alike_are_told_apart() -> None:
    """Ids are compared whole, whatever short cut there is."""
    idents = [0, 64, 128, 1, 65, 65472]
    stream = struct.pack("<HHIH6x", 0x2000, 1, 0, len(idents)) + b"".join(
        struct.pack("<QIHHI4x", 0, 1, ident, WRITE, 0) for ident in idents
    )
    ((_opcode, _id, _head, writable, total, _payload),) = framer().feed(stream)
    assert [ident for _length, ident, _flags in writable] == idents
    assert total == len(idents)


# The framing of v5.


def vq(out_length: int, in_length: int, *, command_id: int = 3) -> bytes:
    return struct.pack("<HH4xII", 0x0FFF, command_id, out_length, in_length)


def test_vq_commands() -> None:
    parser = framer(WIDE, V5)
    stream = vq(4, 5) + b"abcd" + vq(0, 7) + vq(1, 0) + b"x"
    assert parser.feed(stream) == [
        (0x0FFF, 3, vq(4, 5), [], 5, b"abcd"),
        (0x0FFF, 3, vq(0, 7), [], 7, b""),
        (0x0FFF, 3, vq(1, 0), [], 0, b"x"),
    ]


@given(sent=st.lists(v5_commands, min_size=1, max_size=5), data=st.data())
def test_good_vq_commands_in_any_fragmentation(
    sent: list[ReceivedCommand], data: st.DataObject
) -> None:
    stream = b"".join(map(command_bytes, sent))
    expected = [as_native(command) for command in sent]
    parser, reference = framer(dialect=V5), VqCommandParser(V5, LIMITS)
    found: list[Command] = []
    referred: list[Command] = []
    for begin, end, _direct in data.draw(cuts(len(stream))):
        found += parser.feed(stream[begin:end])
        referred += map(as_native, reference.feed(stream[begin:end]))
    assert found == referred == expected


@given(sent=st.lists(v5_commands, min_size=1, max_size=3), data=st.data())
def test_damaged_vq_commands_are_the_same_violation(
    sent: list[ReceivedCommand], data: st.DataObject
) -> None:
    stream = bytearray(b"".join(map(command_bytes, sent)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(stream) - 1))
        stream[place] = data.draw(st.integers(0, 255))
    reference = VqCommandParser(V5, LIMITS)
    assert outcome(framer(dialect=V5), [bytes(stream)]) == outcome(reference, [bytes(stream)])


@given(
    opcode=st.sampled_from(
        [0x0FFF, 0x0FFF, 0x0FFF, 0x0FFE, 0x2000, 0x0100, 0x0102, 0, 3, 5, 0x100D]
    ),
    lengths=st.tuples(*[st.sampled_from([0, 1, 16, 240, 241, 1 << 31, 0xFFFFFFFF])] * 2),
    reserved=st.sampled_from([0, 1, 0xFFFFFFFF]),
)
def test_made_up_vq_commands(opcode: int, lengths: tuple[int, int], reserved: int) -> None:
    stream = struct.pack("<HHIII", opcode, 7, reserved, *lengths) + bytes(300)
    reference = VqCommandParser(V5, LIMITS)
    assert outcome(framer(dialect=V5), [stream]) == outcome(reference, [stream])


BAD_VQ = {
    "too much": (
        vq(1 << 20, 1),
        "the lengths of a command add up to 1048577 bytes; at most 1048576 are allowed",
    ),
    "a sum that wraps": (
        vq(0xFFFFFFFF, 0xFFFFFFFF),
        "the lengths of a command add up to 8589934590 bytes; at most 1048576 are allowed",
    ),
    "a Connect": (bytes(16), "a second Connect on one connection"),
}


@pytest.mark.parametrize(("stream", "text"), BAD_VQ.values(), ids=BAD_VQ)
def test_bad_vq_commands(stream: bytes, text: str) -> None:
    for parser in (framer(WIDE, V5), VqCommandParser(V5, WIDE)):
        with pytest.raises(RemoteProtocolError, match=text):
            parser.feed(stream)


@pytest.mark.parametrize(
    "change", [{"max_ndesc": 0}, {"max_ndesc": 1025}, {"max_transfer": 1 << 31}]
)
def test_limits_that_cannot_be_kept(change: dict[str, int]) -> None:
    limits = {"max_ndesc": 128, "max_transfer": 1 << 20} | change
    with pytest.raises(ValueError, match="limits"):
        native.Framer(dialect="any", plain_opcodes=(1,), framing=Framing.SEGMENTS, **limits)
