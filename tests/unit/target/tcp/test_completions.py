# SPDX-License-Identifier: BSD-3-Clause
"""What an answer is made of; that it arrives is tested over TCP in tests/target."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vof.target.tcp.completions import KEPT_RESPONSE, ResponseBuffers, _split, answer
from vof.wire.stream import Expected, ReceivedCommand
from vof.wire.vq import VqCompletionParser


@pytest.mark.parametrize(
    ("lengths", "used", "expected"),
    [
        ([16], 16, [16]),
        ([16], 5, [5]),
        ([16], 0, [0]),
        ([10, 20, 30], 60, [10, 20, 30]),
        ([10, 20, 30], 25, [10, 15, 0]),
        ([10, 20, 30], 10, [10, 0, 0]),
        ([10, 20, 30], 31, [10, 20, 1]),
        ([], 0, []),
    ],
)
def test_what_is_written_fills_the_descriptors_in_order(
    lengths: list[int], used: int, expected: list[int]
) -> None:
    area = memoryview(bytes(range(sum(lengths))))
    written, parts = _split(lengths, used, 0, area)
    assert written == expected
    assert b"".join(parts) == area[:used]


@pytest.mark.parametrize(
    ("lengths", "used", "expected"),
    [
        ([10, 1], 11, ([10, 1], [*range(10), 10])),
        ([10, 1], 4, ([3, 1], [0, 1, 2, 10])),
        ([10, 1], 1, ([0, 1], [10])),
        # The status byte has no descriptor of its own.
        ([11], 4, ([11], [*range(11)])),
        ([5, 6], 4, ([3, 6], [0, 1, 2, *range(5, 11)])),
        ([1], 1, ([1], [0])),
    ],
)
def test_a_status_byte_comes_back_in_its_place(
    lengths: list[int], used: int, expected: tuple[list[int], list[int]]
) -> None:
    written, parts = _split(lengths, used, 1, memoryview(bytes(range(sum(lengths)))))
    assert (written, list(b"".join(parts))) == expected


def test_response_buffers_are_kept_up_to_a_size() -> None:
    buffers = ResponseBuffers()
    for size in (0, 1, 4097, 70_000, KEPT_RESPONSE):
        buffer = buffers.take(size)
        assert len(buffer) == size
        buffers.give(buffer)
    kept, other = buffers.take(KEPT_RESPONSE), buffers.take(512)
    assert kept.obj is not other.obj
    buffers.give(kept)
    # One that is larger goes when its request is done.
    larger = buffers.take(KEPT_RESPONSE + 1)
    assert len(larger) == KEPT_RESPONSE + 1
    buffers.give(larger)
    assert buffers.take(KEPT_RESPONSE).obj is kept.obj


def vq(room: int) -> ReceivedCommand:
    return ReceivedCommand(0x0FFF, 9, bytes(16), (), memoryview(b""), room)


@pytest.mark.parametrize(
    ("used", "tail", "expected"),
    [
        # length, in_length, and the bytes
        (8, 0, (8, 8, [1, 2, 3, 4, 5, 6, 7, 8])),
        (8, 1, (8, 8, [1, 2, 3, 4, 5, 6, 7, 8])),
        (3, 0, (3, 8, [1, 2, 3])),
        (0, 0, (0, 8, [])),
        (0, 1, (0, 8, [])),
        (3, 1, (8, 3, [1, 2, 0, 0, 0, 0, 0, 8])),
        (1, 1, (8, 1, [0, 0, 0, 0, 0, 0, 0, 8])),
        (4, 2, (8, 4, [1, 2, 0, 0, 0, 0, 7, 8])),
        (7, 1, (8, 7, [1, 2, 3, 4, 5, 6, 0, 8])),
    ],
)
def test_an_answer_to_a_vq_command(
    used: int, tail: int, expected: tuple[int, int, list[int]]
) -> None:
    area = memoryview(bytearray(range(1, 9)))
    head, data = answer(vq(8), area, used, tail)
    length, in_length, written = expected
    assert head == struct.pack("<HH4xII", 0, 9, length, in_length)
    assert list(data) == written


@given(
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    tail=st.integers(0, 3),
    data=st.data(),
)
def test_the_initiator_finds_what_was_written(
    sizes: list[int], tail: int, data: st.DataObject
) -> None:
    """Both ends reckon the same from the used length, whatever the buffers are."""
    room = sum(sizes)
    tail = min(tail, room)
    used = data.draw(st.integers(tail, room))
    area = bytearray([0xEE]) * room
    area[: used - tail] = range(1, used - tail + 1)
    area[room - tail :] = bytes([200]) * tail
    head, part = answer(vq(room), memoryview(area), used, tail)
    buffers = [memoryview(bytearray(size)) for size in sizes]
    parser = VqCompletionParser(lambda _id: Expected(0, buffers, tail))
    (arrival,) = parser.feed(bytes(head) + bytes(part))
    assert arrival.completion.value == used
    got = b"".join(buffers)
    assert got[: used - tail] == bytes(range(1, used - tail + 1))
    assert got[room - tail :] == bytes([200]) * tail
    assert 0xEE not in got
