# SPDX-License-Identifier: BSD-3-Clause
"""The messages of keyed transmission that an initiator sends, and the completions that it gets."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vof.errors import RemoteProtocolError
from vof.wire.constants import Opcode
from vof.wire.dialect import Framing
from vof.wire.keyed import (
    GetKeyedEagerBufCompletion,
    KeyedDescriptor,
    VqKeyedEagerBufCommand,
    completion_id,
    decode_completion,
    decode_eager_buffers,
    encode_eager,
    encode_get_keyed_eager_buf,
    encode_keyed,
    encode_keyed_connect,
)
from vof.wire.structs import Completion, ConnectCommand, pack
from vof.wire.vq import VqCompletion, written_lengths

HEADER = KeyedDescriptor(0xFFFF012345670000, 16, 0x1234)
DATA = [KeyedDescriptor(0xFFFF012345671000, 4096, 0x1236), KeyedDescriptor(0x73000, 4096, 0x1238)]
STATUS = KeyedDescriptor(0xFFFF012345677000, 1, 0x1239)


@pytest.mark.clause("003:232-244", "initiator")
@pytest.mark.clause("003:245-292", "initiator")
def test_the_proposal_s_example_of_a_write() -> None:
    """2.1: `length` is 0, the descriptors have addresses and keys."""
    message = encode_keyed(Framing.SEGMENTS, 10, [HEADER, *DATA], [STATUS])
    assert message[:16] == bytes.fromhex("0020 0a00 00000000 0400") + bytes(6)
    found = list(struct.iter_unpack("<QIHHI4x", message[16:]))
    assert found == [
        (0xFFFF012345670000, 16, 0, 1, 0x1234),
        (0xFFFF012345671000, 4096, 1, 1, 0x1236),
        (0x73000, 4096, 2, 1, 0x1238),
        (0xFFFF012345677000, 1, 3, 2, 0x1239),
    ]


@pytest.mark.clause("003:308-312", "initiator")
def test_the_proposal_s_example_of_a_read() -> None:
    message = encode_keyed(Framing.SEGMENTS, 14, [HEADER], [*DATA, STATUS])
    assert [flags for _a, _l, _i, flags, _k in struct.iter_unpack("<QIHHI4x", message[16:])] == [
        *(1, 3, 3, 2)
    ]


def test_vq() -> None:
    message = encode_keyed(Framing.LENGTHS, 0x0201, [HEADER, DATA[0]], [STATUS])
    assert message[:16] == bytes.fromhex("ff0f 0102 10100000 01000000 02 01 0000")
    assert message[16:] == b"".join(
        struct.pack("<QII", *item) for item in (HEADER, DATA[0], STATUS)
    )


@pytest.mark.clause("002:102-116", "initiator")
def test_eager() -> None:
    message = encode_eager(3, 0x11223344, 4112, [STATUS])
    assert message[:16] == bytes.fromhex("fe0f 0300 44332211 10100000 01000000")
    assert message[16:] == struct.pack("<QII", *STATUS)
    assert VqKeyedEagerBufCommand._fields[2:] == ("out_offset", "out_length", "in_length")


@pytest.mark.clause("002:59-67", "initiator")
@pytest.mark.clause("002:74-75", "initiator")
@pytest.mark.clause("002:76-86", "initiator")
def test_get_keyed_eager_buf() -> None:
    message = encode_get_keyed_eager_buf(2, 5, 8, HEADER)
    assert message == bytes.fromhex("0201 0200 0500 08") + bytes(9) + struct.pack("<QII", *HEADER)
    answer = pack(GetKeyedEagerBufCompletion(0, 2, 3))
    assert answer == bytes.fromhex("0000 0200 03") + bytes(11)
    body = b"".join(struct.pack("<QII", *item) for item in (HEADER, *DATA)) + bytes(5)
    assert decode_eager_buffers(body, 3) == [HEADER, *DATA]


def test_connect() -> None:
    command = ConnectCommand(Opcode.CONNECT, 0, 0xFFFF, 0, 1, 2)
    message = encode_keyed_connect(command, KeyedDescriptor(0x1000, 1024, 7))
    assert len(message) == 40
    assert struct.unpack("<QIHHI4x", message[16:]) == (0x1000, 1024, 0, 0, 7)


def test_a_completion_has_sixteen_bytes() -> None:
    assert completion_id(pack(Completion(0, 0xFEFF))) == 0xFEFF
    for size in (0, 15, 17, 40):
        with pytest.raises(RemoteProtocolError, match=f"a completion of {size} bytes instead of"):
            completion_id(bytes(size))


@pytest.mark.clause("002:117-128", "initiator")
@pytest.mark.clause("003:296-307", "initiator")
@pytest.mark.parametrize(
    ("used", "sizes", "tail", "lengths"),
    [
        (4097, [4096, 1], 1, [4096, 1]),
        (1, [4096, 1], 1, [0, 1]),  # an error: nothing but the status
        (21, [127, 1], 1, [20, 1]),
        (7, [64], 0, [7]),
        (0, [64, 1], 1, [0, 0]),
        (3, [2, 2, 2], 0, [2, 1, 0]),
        (5, [8], 1, [8]),  # data and status in one buffer: it comes whole
        (3, [4, 2], 3, [4, 2]),
    ],
)
@pytest.mark.parametrize("framing", Framing)
def test_what_was_written(
    framing: Framing, used: int, sizes: list[int], tail: int, lengths: list[int]
) -> None:
    if framing is Framing.LENGTHS:
        message = pack(VqCompletion(0, 9, sum(sizes) if used else 0, used))
    else:
        message = pack(Completion(0, 9, len(sizes), value=used))
    arrival = decode_completion(framing, message, sizes, tail)
    assert arrival.lengths == lengths
    assert (arrival.completion.status, arrival.completion.command_id) == (0, 9)
    assert arrival.completion.value == used


def test_used_is_left_out_where_all_was_written() -> None:
    arrival = decode_completion(Framing.LENGTHS, pack(VqCompletion(0, 9, 5)), [4, 1], 1)
    assert arrival.lengths == [4, 1]


@pytest.mark.parametrize("framing", Framing)
def test_a_refusal_has_no_buffers(framing: Framing) -> None:
    arrival = decode_completion(framing, pack(Completion(22, 9)), [4, 1], 1)
    assert (arrival.completion.status, arrival.lengths) == (22, ())


@pytest.mark.clause("002:117-128", "initiator")
@pytest.mark.parametrize(
    "message",
    [pack(VqCompletion(0, 9, 6)), pack(VqCompletion(0, 9, 5, 6)), pack(VqCompletion(22, 9, 6))],
)
def test_more_than_there_is_room_for(message: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match=r"returns 6 bytes .* has room for 5"):
        decode_completion(Framing.LENGTHS, message, [4, 1], 1)
    other = pack(Completion(0, 9, 2, value=6))
    with pytest.raises(RemoteProtocolError, match=r"returns 6 bytes .* has room for 5"):
        decode_completion(Framing.SEGMENTS, other, [4, 1], 1)


def test_a_control_command_s_completion() -> None:
    for framing in Framing:
        arrival = decode_completion(framing, pack(Completion(0, 1, value=1 << 63)), (), 0)
        assert arrival.completion.value == 1 << 63


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    tail=st.integers(0, 16),
    data=st.data(),
)
def test_written_bytes_are_accounted_for(sizes: list[int], tail: int, data: st.DataObject) -> None:
    """Against a map of bytes: the first ones and the last ones."""
    room = sum(sizes)
    tail = min(tail, room)
    used = data.draw(st.integers(tail, room))
    lengths = written_lengths(used, sizes, tail)
    place = 0
    for size, length in zip(sizes, lengths, strict=True):
        first = max(0, min(size, used - tail - place))
        reaches_tail = place + size > room - tail
        assert length == (size if reaches_tail else first)
        place += size
