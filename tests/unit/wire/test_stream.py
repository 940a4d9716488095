# SPDX-License-Identifier: BSD-3-Clause
"""Framing, both ways: however a stream arrives, the same messages come out."""

from __future__ import annotations

import tracemalloc
import weakref
from itertools import accumulate
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire.delivery import Parser, deliver
from tests.unit.wire.streams import (
    COMMANDS,
    LIMITS,
    NEXT,
    WRITE,
    Request,
    command_bytes,
    command_parser,
    completion_parser,
    cuts,
    deliver_cut,
    pattern,
    requests,
)
from vof.errors import RemoteProtocolError
from vof.wire.dialect import DIALECTS, PROPOSAL, V2, Dialect, Framing
from vof.wire.stream import (
    CommandParser,
    ReceivedCommand,
    StreamLimits,
    encode_vring,
    encode_vring_completion,
)
from vof.wire.structs import DESCRIPTOR_SIZE, SegmentDescriptor

_E = TypeVar("_E")


dialects = st.sampled_from(DIALECTS)


def streams(data: st.DataObject, dialect: Dialect, most: int) -> list[ReceivedCommand]:
    return data.draw(st.lists(COMMANDS[dialect.name], min_size=1, max_size=most))


@given(dialect=dialects, data=st.data())
def test_commands_in_any_fragmentation(dialect: Dialect, data: st.DataObject) -> None:
    sent = streams(data, dialect, 4)
    stream = b"".join(map(command_bytes, sent))
    assert command_parser(dialect=dialect).feed(stream) == sent
    parser = command_parser(dialect=dialect)
    assert deliver_cut(parser, stream, data.draw(cuts(len(stream)))) == sent
    assert parser.idle


@given(quirk=st.booleans(), data=st.data())
def test_completions_in_any_fragmentation(quirk: bool, data: st.DataObject) -> None:
    sent = data.draw(requests(quirk=quirk))
    stream = b"".join(request.to_bytes() for request in sent)
    for pieces in ([(0, len(stream), False)], data.draw(cuts(len(stream)))):
        for request in sent:
            request.__post_init__()
        parser = completion_parser(*sent, quirk=quirk)
        arrivals = deliver_cut(parser, stream, pieces)
        assert arrivals == [request.arrival for request in sent]
        assert parser.idle
        for request in sent:
            assert request.storage == request.stored


def check_every_byte(
    parser: Parser[_E], sizes: list[tuple[int, int]], stream: bytes, *, direct: bool
) -> None:
    """``sizes``: of the fixed part and the data of each message."""
    ends = list(accumulate(fixed + data for fixed, data in sizes))
    begin = 0
    for end, (fixed, _data) in zip(ends, sizes, strict=True):
        for place in range(begin, end):
            assert parser.idle == (place == begin)
            in_data = place >= begin + fixed
            assert sum(map(len, parser.destinations())) == (end - place if in_data else 0)
            done = deliver(parser, stream[place : place + 1], direct=direct)
            assert len(done) == (place + 1 == end)
        begin = end
    assert parser.idle
    assert not parser.destinations()


@given(dialect=dialects, data=st.data(), direct=st.booleans())
def test_commands_byte_by_byte(dialect: Dialect, data: st.DataObject, direct: bool) -> None:
    sent = streams(data, dialect, 3)
    sizes = [
        (16 + DESCRIPTOR_SIZE * len(command.descriptors), len(command.payload)) for command in sent
    ]
    stream = b"".join(map(command_bytes, sent))
    check_every_byte(command_parser(dialect=dialect), sizes, stream, direct=direct)


@given(data=st.data(), quirk=st.booleans(), direct=st.booleans())
def test_completions_byte_by_byte(data: st.DataObject, quirk: bool, direct: bool) -> None:
    sent = data.draw(requests(quirk=quirk))
    sizes = [
        (16 + DESCRIPTOR_SIZE * len(request.lengths), sum(request.lengths)) for request in sent
    ]
    stream = b"".join(request.to_bytes() for request in sent)
    check_every_byte(completion_parser(*sent, quirk=quirk), sizes, stream, direct=direct)


def test_nothing_arrives() -> None:
    for parser in (command_parser(), completion_parser()):
        assert parser.feed(memoryview(b"")) == []
        assert parser.advance(0) == []
        assert parser.idle
        assert not parser.destinations()


def test_nothing_arrives_in_the_middle_of_a_payload() -> None:
    parser = command_parser()
    stream = encode_vring(Framing.CHAINS, 1, [16], [1])
    assert parser.feed(stream) == []
    assert parser.advance(0) == []
    assert parser.feed(b"") == []
    assert not parser.idle
    assert len(parser.feed(bytes(16))) == 1


# Whatever arrives, a violation is the only thing that is raised.

heads = st.builds(
    lambda head, ndesc, rest: head + ndesc.to_bytes(2, "little") + rest,
    st.sampled_from(
        [
            b"\0\0\1\0\0\0\0\0",
            b"\0\x20\1\0\0\0\0\0",
            b"\xff\x0f\1\0\0\0\0\0",
            b"\0\x10\1\0" + bytes(4),
        ]
    ),
    st.integers(0, 8),
    st.binary(min_size=6, max_size=6),
)

descriptors = st.builds(
    encode_vring_completion,
    st.just(0),
    st.just(1),
    st.lists(
        st.tuples(
            st.builds(
                SegmentDescriptor, st.just(0), st.just(0), st.integers(0, 8), st.integers(0, 3)
            ),
            st.integers(0, 12) | st.just(0xFFFFFFFF),
        ),
        min_size=1,
        max_size=3,
    ),
).map(lambda encoded: encoded[16:])

garbage = st.lists(heads | descriptors | st.binary(max_size=80), max_size=8).map(b"".join)


@given(stream=garbage, dialect=dialects, data=st.data())
def test_garbage_for_a_target(stream: bytes, dialect: Dialect, data: st.DataObject) -> None:
    parser = command_parser(dialect=dialect)
    for begin, end, direct in data.draw(cuts(len(stream))):
        try:
            deliver(parser, stream[begin:end], direct=direct)
        except RemoteProtocolError:
            return
        check_command_memory(parser)


@given(stream=garbage, quirk=st.booleans(), data=st.data())
def test_garbage_for_an_initiator(stream: bytes, quirk: bool, data: st.DataObject) -> None:
    in_flight = [Request(ident, ident, [10] * ident, 0, [], [], 0) for ident in range(4)]
    parser = completion_parser(*in_flight, quirk=quirk)
    for begin, end, direct in data.draw(cuts(len(stream))):
        try:
            deliver(parser, stream[begin:end], direct=direct)
        except RemoteProtocolError:
            return
        assert len(parser._stash) <= 3 * DESCRIPTOR_SIZE
        assert sum(map(len, parser.destinations())) <= 30


# What a parser holds.


def check_command_memory(parser: CommandParser) -> None:
    assert len(parser._stash) <= LIMITS.max_ndesc * DESCRIPTOR_SIZE
    assert sum(map(len, parser.destinations())) <= LIMITS.max_transfer
    assert len(parser._payload) <= LIMITS.max_transfer


@given(dialect=dialects, data=st.data())
def test_a_command_parser_holds_what_the_limits_allow(
    dialect: Dialect, data: st.DataObject
) -> None:
    sent = streams(data, dialect, 3)
    parser = command_parser(dialect=dialect)
    for byte in b"".join(map(command_bytes, sent)):
        parser.feed(bytes([byte]))
        check_command_memory(parser)


def test_an_announced_length_is_checked_before_memory_is_taken() -> None:
    stream = encode_vring(Framing.CHAINS, 1, [0xFFFFFFF0], [1])
    parser = CommandParser(PROPOSAL, StreamLimits(max_ndesc=128, max_transfer=1 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError):
            parser.feed(stream)
        assert tracemalloc.get_traced_memory()[1] < 1 << 16
    finally:
        tracemalloc.stop()


def test_a_command_parser_lets_go_of_what_it_returned() -> None:
    parser = command_parser()
    (command,) = parser.feed(encode_vring(Framing.CHAINS, 1, [16], [1]) + bytes(16))
    payload = weakref.ref(command.payload)
    del command
    assert payload() is None


def test_a_completion_parser_lets_go_of_the_buffers() -> None:
    request = Request(1, 1, [4096, 1], 0, [4096, 1], [0, 1], 2)
    parser = completion_parser(request)
    stream = request.to_bytes()
    for byte in stream[:-1]:
        parser.feed(bytes([byte]))
    with pytest.raises(BufferError):
        request.storage[1].append(0)
    assert len(parser.feed(stream[-1:])) == 1
    for buffer in request.storage:
        buffer.append(0)  # raises where anything is still lent


def test_payloads_are_memory_of_their_own() -> None:
    parser = command_parser()
    received = bytearray(encode_vring(Framing.CHAINS, 1, [16], [1]) + pattern(16, 1))
    (command,) = parser.feed(received)
    received[:] = bytes(len(received))
    assert command.payload == pattern(16, 1)
    assert command.head[:2] == b"\0\x20"


# Encoding: examples 1.1 and 1.2 of the proposal. Our descriptor ids count from 0, as v2 asks; so do
# the addresses of the device-writable descriptors, which nobody reads.

WRITE_8K = """
    00 20  0a 00  10 20 00 00  04 00  00 00 00 00 00 00
    00 00 00 00 00 00 00 00  10 00 00 00  00 00  01 00  00 00 00 00  00 00 00 00
    10 00 00 00 00 00 00 00  00 10 00 00  01 00  01 00  00 00 00 00  00 00 00 00
    10 10 00 00 00 00 00 00  00 10 00 00  02 00  01 00  00 00 00 00  00 00 00 00
    00 00 00 00 00 00 00 00  01 00 00 00  03 00  02 00  00 00 00 00  00 00 00 00
"""

READ_8K = """
    00 20  0e 00  10 00 00 00  04 00  00 00 00 00 00 00
    00 00 00 00 00 00 00 00  10 00 00 00  00 00  01 00  00 00 00 00  00 00 00 00
    00 00 00 00 00 00 00 00  00 10 00 00  01 00  03 00  00 00 00 00  00 00 00 00
    00 10 00 00 00 00 00 00  00 10 00 00  02 00  03 00  00 00 00 00  00 00 00 00
    00 20 00 00 00 00 00 00  01 00 00 00  03 00  02 00  00 00 00 00  00 00 00 00
"""

V2_READ_8K = """
    ff 0f  0e 00  10 00 00 00  04 00  00 00 00 00 00 00
    00 00 00 00 00 00 00 00  10 00 00 00  00 00  00 00  00 00 00 00  00 00 00 00
    00 00 00 00 00 00 00 00  00 10 00 00  01 00  02 00  00 00 00 00  00 00 00 00
    00 10 00 00 00 00 00 00  00 10 00 00  02 00  02 00  00 00 00 00  00 00 00 00
    00 20 00 00 00 00 00 00  01 00 00 00  03 00  02 00  00 00 00 00  00 00 00 00
"""

READ_8K_COMPLETION = """
    00 00  0e 00  03 00  00 00  01 20 00 00 00 00 00 00
    00 00 00 00 00 00 00 00  00 10 00 00  01 00  03 00  00 00 00 00  00 00 00 00
    00 10 00 00 00 00 00 00  00 10 00 00  02 00  03 00  00 00 00 00  00 00 00 00
    00 20 00 00 00 00 00 00  01 00 00 00  03 00  02 00  00 00 00 00  00 00 00 00
"""


@pytest.mark.parametrize(
    ("framing", "command_id", "readable", "writable", "golden"),
    [
        (Framing.CHAINS, 10, [16, 4096, 4096], [1], WRITE_8K),
        (Framing.CHAINS, 14, [16], [4096, 4096, 1], READ_8K),
        (Framing.SEGMENTS, 14, [16], [4096, 4096, 1], V2_READ_8K),
        (
            Framing.CHAINS,
            1,
            [],
            [64],
            "00 20  01 00  00 00 00 00  01 00  00 00 00 00 00 00"
            "00 00 00 00 00 00 00 00  40 00 00 00  00 00  02 00  00 00 00 00  00 00 00 00",
        ),
        (
            Framing.CHAINS,
            1,
            [64],
            [],
            "00 20  01 00  40 00 00 00  01 00  00 00 00 00 00 00"
            "00 00 00 00 00 00 00 00  40 00 00 00  00 00  00 00  00 00 00 00  00 00 00 00",
        ),
    ],
)
def test_encode(
    framing: Framing, command_id: int, readable: list[int], writable: list[int], golden: str
) -> None:
    assert encode_vring(framing, command_id, readable, writable) == bytes.fromhex(golden)


def test_encode_a_completion() -> None:
    (command,) = CommandParser(PROPOSAL, StreamLimits(4, 1 << 20)).feed(
        bytes.fromhex(READ_8K) + bytes(16)
    )
    writable = [desc for desc in command.descriptors if desc.flags & WRITE]
    returned = [(desc, desc.length) for desc in writable]
    assert encode_vring_completion(0, 14, returned) == bytes.fromhex(READ_8K_COMPLETION)


def test_encode_a_completion_without_descriptors() -> None:
    assert encode_vring_completion(22, 5, []) == bytes.fromhex(
        "16 00  05 00  00 00  00 00  00 00 00 00 00 00 00 00"
    )


def test_encode_a_short_return() -> None:
    """Key and padding are not echoed, the length is what was written."""
    desc = SegmentDescriptor(99, 4096, 7, NEXT | WRITE, 5, b"abcd")
    assert encode_vring_completion(0, 1, [(desc, 512)]) == bytes.fromhex(
        "00 00  01 00  01 00  00 00  00 02 00 00 00 00 00 00"
        "00 00 00 00 00 00 00 00  00 02 00 00  07 00  03 00  00 00 00 00  00 00 00 00"
    )


@given(
    dialect=st.sampled_from([PROPOSAL, V2]),
    readable=st.lists(st.integers(1, 20), max_size=6),
    writable=st.lists(st.integers(1, 20), max_size=6),
)
def test_an_encoded_command_is_understood(
    dialect: Dialect, readable: list[int], writable: list[int]
) -> None:
    if not readable and not writable:
        return
    payload = pattern(sum(readable), 3)
    parser = CommandParser(dialect, StreamLimits(12, 240))
    (command,) = parser.feed(encode_vring(dialect.framing, 9, readable, writable) + payload)
    descs = command.descriptors
    assert command.payload == payload
    assert [desc.id for desc in descs] == list(range(len(descs)))
    assert [desc.length for desc in descs if not desc.flags & WRITE] == readable
    assert [desc.length for desc in descs if desc.flags & WRITE] == writable
    chained = [dialect is PROPOSAL] * (len(descs) - 1) + [False]
    assert [bool(desc.flags & NEXT) for desc in descs] == chained
