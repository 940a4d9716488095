# SPDX-License-Identifier: BSD-3-Clause
"""Messages as a target takes them: what an initiator encodes is read, and everything else is a
violation."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vof.errors import RemoteProtocolError
from vof.wire.constants import LaterOpcode, Opcode
from vof.wire.dialect import DIALECTS, PROPOSAL, V2, V5, Dialect, Framing
from vof.wire.keyed import (
    KeyedDescriptor,
    VqKeyedEagerBufCommand,
    decode_completion,
    encode_eager,
    encode_get_keyed_eager_buf,
    encode_keyed,
    encode_keyed_connect,
)
from vof.wire.keyed_commands import (
    KeyedCommand,
    KeyedLimits,
    decode_keyed,
    encode_keyed_completion,
)
from vof.wire.structs import (
    CommonCommand,
    ConnectCommand,
    SegmentDescriptor,
    VringCommand,
    pack,
    unpack,
)
from vof.wire.vq import VqCommand

LIMITS = KeyedLimits(max_ndesc=8, max_descs=4, max_transfer=1 << 20)

buffers = st.lists(
    st.builds(
        KeyedDescriptor,
        addr=st.integers(0, (1 << 64) - (1 << 17)),
        length=st.integers(1, 1 << 17),
        key=st.integers(0, (1 << 32) - 1),
    ),
    max_size=4,
)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda item: item.name)
@given(readable=buffers, writable=buffers, command_id=st.integers(0, 0xFFFF))
def test_a_request_comes_as_it_was_encoded(
    dialect: Dialect,
    readable: list[KeyedDescriptor],
    writable: list[KeyedDescriptor],
    command_id: int,
) -> None:
    if not readable and not writable:
        readable = [KeyedDescriptor(0, 1, 0)]
    message = encode_keyed(dialect.framing, command_id, readable, writable)
    assert len(message) <= LIMITS.message_size
    found = decode_keyed(message, dialect, LIMITS)
    assert (found.command_id, found.readable, found.writable) == (command_id, readable, writable)
    assert found.out_length == sum(item.length for item in readable)
    assert found.in_length == sum(item.length for item in writable)


@pytest.mark.clause("002:102-116", "target")
@given(
    writable=buffers,
    offset=st.integers(0, (1 << 32) - 1),
    length=st.integers(0, 1 << 19),
    command_id=st.integers(0, 0xFFFF),
)
def test_an_eager_request_comes_as_it_was_encoded(
    writable: list[KeyedDescriptor], offset: int, length: int, command_id: int
) -> None:
    message = encode_eager(command_id, offset, length, writable)
    found = decode_keyed(message, V5, LIMITS)
    head = unpack(VqKeyedEagerBufCommand, found.head)
    assert (head.out_offset, head.out_length) == (offset, length)
    assert (found.readable, found.writable) == ((), writable)


@pytest.mark.clause("002:59-67", "target")
def test_control_commands() -> None:
    body = KeyedDescriptor(0x1000, 64, 7)
    found = decode_keyed(encode_get_keyed_eager_buf(2, 0, 4, body), V5, LIMITS)
    assert (found.opcode, found.writable) == (LaterOpcode.GET_KEYED_EAGER_BUF, [body])
    connect = ConnectCommand(Opcode.CONNECT, 1, 0xFFFF, 0, 1, 2)
    found = decode_keyed(encode_keyed_connect(connect, body._replace(length=1024)), V5, LIMITS)
    assert found.readable == [body._replace(length=1024)]
    for dialect in DIALECTS:
        for opcode in dialect.plain_opcodes - {LaterOpcode.GET_KEYED_EAGER_BUF}:
            head = pack(CommonCommand(opcode, 3))
            assert decode_keyed(head, dialect, LIMITS) == KeyedCommand(opcode, 3, head)


def violates(message: bytes, text: str, dialect: Dialect = V5) -> None:
    with pytest.raises(RemoteProtocolError, match=text):
        decode_keyed(message, dialect, LIMITS)


ONE = KeyedDescriptor(0x1000, 16, 1)


@pytest.mark.parametrize("size", [0, 1, 15])
def test_shorter_than_any_command(size: int) -> None:
    violates(bytes(size), f"a command of {size} bytes")


@pytest.mark.parametrize("change", [-16, -1, 1, 16, 24])
def test_not_of_the_size_that_the_command_says(change: int) -> None:
    for message, dialect in (
        (encode_keyed(Framing.SEGMENTS, 0, [ONE], [ONE]), V2),
        (encode_keyed(Framing.LENGTHS, 0, [ONE], [ONE]), V5),
        (encode_get_keyed_eager_buf(0, 0, 1, ONE), V5),
        (
            encode_keyed_connect(ConnectCommand(0, 0, 0xFFFF, 0, 1, 2), ONE._replace(length=1024)),
            V5,
        ),
    ):
        other = message[:change] if change < 0 else message + bytes(change)
        violates(other, "bytes instead of", dialect)
    if change > 0:
        violates(pack(CommonCommand(Opcode.GET_STATUS, 0)) + bytes(change), "too many")
        violates(encode_eager(0, 0, 4, [ONE]) + bytes(1), "is followed by 17 bytes")


@pytest.mark.parametrize(
    ("dialect", "message"),
    [
        (PROPOSAL, encode_keyed(Framing.LENGTHS, 0, [ONE], [])),
        (PROPOSAL, encode_eager(0, 0, 4, [])),
        (V2, encode_keyed(Framing.LENGTHS, 0, [ONE], [])),
        (V5, encode_keyed(Framing.SEGMENTS, 0, [ONE], [])),
        (V2, encode_get_keyed_eager_buf(0, 0, 1, ONE)),
        (PROPOSAL, pack(CommonCommand(LaterOpcode.GET_KEYED_NUM_DESCS, 0))),
        (PROPOSAL, pack(CommonCommand(5, 0))),
        (V5, pack(CommonCommand(3, 0))),
    ],
)
def test_a_command_of_another_dialect(dialect: Dialect, message: bytes) -> None:
    violates(message, f"is not one of dialect {dialect.name}", dialect)


@pytest.mark.parametrize("ndesc", [0, 9, 0xFFFF])
def test_number_of_segment_descriptors(ndesc: int) -> None:
    message = pack(VringCommand(Opcode.VRING, 0, 0, ndesc)) + bytes(24 * min(ndesc, 9))
    violates(message, f"has {ndesc} descriptors; 1 to 8", V2)


def test_number_of_keyed_descriptors() -> None:
    violates(encode_keyed(Framing.LENGTHS, 0, [ONE] * 5, []), "has 5 keyed descriptors of one")
    violates(encode_keyed(Framing.LENGTHS, 0, [], [ONE] * 5), "has 5 keyed descriptors of one")
    violates(encode_eager(0, 0, 4, [ONE] * 5), "is followed by 80 bytes; at most 4")


@pytest.mark.parametrize(
    ("buffer", "text"),
    [
        (ONE._replace(length=0), "length zero"),
        (ONE._replace(addr=(1 << 64) - 8), "beyond the last address"),
        (ONE._replace(length=(1 << 20) + 1), "add up to 1048577 bytes; at most 1048576"),
    ],
)
def test_buffers(buffer: KeyedDescriptor, text: str) -> None:
    for message, dialect in (
        (encode_keyed(Framing.SEGMENTS, 0, [], [buffer]), V2),
        (encode_keyed(Framing.LENGTHS, 0, [buffer], []), V5),
        (encode_eager(0, 0, 0, [buffer]), V5),
    ):
        violates(message, text, dialect)


def test_an_eager_request_s_bytes_count_too() -> None:
    violates(encode_eager(0, 0, (1 << 20) - 15, [ONE]), "add up to 1048577 bytes")


def test_lengths_that_are_not_those_of_the_descriptors() -> None:
    descriptor = struct.pack("<QII", *ONE)
    violates(
        pack(VqCommand(LaterOpcode.VQ, 0, 17, 0, 1, 0)) + descriptor, "says 17 device-readable"
    )
    violates(
        pack(VqCommand(LaterOpcode.VQ, 0, 0, 15, 0, 1)) + descriptor, "says 15 device-writable"
    )
    violates(
        pack(VqKeyedEagerBufCommand(LaterOpcode.VQ_KEYED_EAGER_BUF, 0, 0, 0, 17)) + descriptor,
        "says 17 device-writable",
    )


def test_an_id_twice() -> None:
    segment = pack(SegmentDescriptor(0x1000, 1, 3, 0))
    violates(pack(VringCommand(Opcode.VRING, 0, 0, 2)) + segment * 2, "used twice", V2)


def test_connects_that_are_none() -> None:
    connect = ConnectCommand(Opcode.CONNECT, 0, 0xFFFF, 0, 1, 2)
    violates(encode_keyed_connect(connect._replace(ndesc=2), ONE), "has 2 descriptors")
    violates(encode_keyed_connect(connect, ONE), "is not 1024 device-readable")
    flags = pack(SegmentDescriptor(0x1000, 1024, 0, 2))
    violates(pack(connect) + flags, "is not 1024 device-readable")


@given(message=st.binary(max_size=400))
def test_anything(message: bytes) -> None:
    for dialect in DIALECTS:
        try:
            found = decode_keyed(message, dialect, LIMITS)
        except RemoteProtocolError:
            continue
        assert found.out_length + found.in_length <= LIMITS.max_transfer


@pytest.mark.clause("002:117-128", "target")
@pytest.mark.clause("003:296-307", "target")
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda item: item.name)
@pytest.mark.parametrize(
    ("status", "used", "length", "tail", "lengths"),
    [
        (0, 513, 513, 1, [512, 1]),
        (0, 1, 513, 1, [0, 1]),
        (0, 100, 100, 0, [100, 0]),
        (0, 0, 0, 1, [0, 0]),
        (22, 513, 513, 1, []),
    ],
)
def test_completion(
    dialect: Dialect, status: int, used: int, length: int, tail: int, lengths: list[int]
) -> None:
    writable = [ONE._replace(length=512), ONE._replace(length=1)]
    message = encode_keyed(dialect.framing, 5, [ONE], writable)
    command = decode_keyed(message, dialect, LIMITS)
    answer = encode_keyed_completion(dialect.framing, command, status, used, length)
    arrival = decode_completion(dialect.framing, answer, [512, 1], tail)
    assert list(arrival.lengths) == lengths
    assert (arrival.completion.status, arrival.completion.command_id) == (status, 5)
