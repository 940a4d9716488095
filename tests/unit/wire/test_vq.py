# SPDX-License-Identifier: BSD-3-Clause
"""The completion of a vq command on a stream; the command is with the others."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire.delivery import deliver
from vof.errors import RemoteProtocolError
from vof.wire.stream import Expected
from vof.wire.structs import Completion, pack
from vof.wire.vq import VqCompletionParser, encode_vq, used_length, written_lengths

UNTOUCHED = 0xEE


def test_the_command() -> None:
    golden = "ff 0f  34 12  00 00 00 00  10 02 00 00  01 10 00 00"
    assert encode_vq(0x1234, [16, 512], [4096, 1]) == bytes.fromhex(golden)


def completion(status: int, length: int) -> bytes:
    """Of command 7; what is reserved may hold anything, and in_length is not looked at (ours)."""
    return struct.pack("<HHIII", status, 7, 0xAAAAAAAA, length, 0xBBBBBBBB)


class InFlight:
    """One command in flight, and what its buffers hold."""

    def __init__(self, *sizes: int) -> None:
        self.storage = [bytearray([UNTOUCHED] * size) for size in sizes]
        self._taken = False

    def parser(self) -> VqCompletionParser:
        return VqCompletionParser(self._expect)

    def _expect(self, command_id: int) -> Expected:
        if command_id != 7 or self._taken:
            raise RemoteProtocolError(f"completion for command id {command_id}")
        self._taken = True
        return Expected(1, [memoryview(each) for each in self.storage])


@given(
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=5),
    data=st.data(),
    cut=st.integers(0, 300),
    direct=st.booleans(),
    status=st.sampled_from([0, 0x20F1]),
)
def test_data_fill_the_buffers_from_the_start(
    sizes: list[int], data: st.DataObject, cut: int, direct: bool, status: int
) -> None:
    length = data.draw(st.integers(0, sum(sizes)))
    content = bytes(place % 200 for place in range(length))
    in_flight = InFlight(*sizes)
    parser = in_flight.parser()
    stream = completion(status, length) + content
    arrivals = deliver(parser, stream[:cut], direct=direct)
    arrivals += deliver(parser, stream[cut:], direct=direct)
    [arrival] = arrivals
    assert b"".join(in_flight.storage) == content + bytes([UNTOUCHED] * (sum(sizes) - length))
    assert arrival.completion.status == status
    assert arrival.completion.value == length
    assert sum(arrival.lengths) == length
    assert len(arrival.lengths) == (0 if status and not length else len(sizes))
    assert parser.idle


@pytest.mark.parametrize("length", [12, 0xFFFFFFFF])
@pytest.mark.parametrize("status", [0, 1])
def test_more_than_there_is_room_for(status: int, length: int) -> None:
    in_flight = InFlight(10, 1)
    parser = in_flight.parser()
    with pytest.raises(RemoteProtocolError, match=rf"returns {length} bytes .* room for 11"):
        parser.feed(completion(status, length))
    assert set(b"".join(in_flight.storage)) == {UNTOUCHED}


def test_a_control_command_is_completed_as_ever() -> None:
    """Its completion is of a form of its own, which is the dialect's to read."""
    arrived = Completion(0, 7, 0xEEEE, b"\xdd\xdd", 0x1122334455667788)
    [arrival] = InFlight().parser().feed(pack(arrived))
    assert arrival == (arrived, [])


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    length=st.integers(0, 50),
    tail=st.integers(0, 3),
)
def test_written_lengths(sizes: list[int], length: int, tail: int) -> None:
    """The first bytes, whatever buffers they are in; a tail at the end, with its buffer whole."""
    room = sum(sizes)
    length, tail = min(length, room), min(tail, length, room)
    place = 0
    for size, written in zip(sizes, written_lengths(length, sizes, tail), strict=True):
        end = place + size
        if end > room - tail:
            assert written == size
        else:
            assert written == max(0, min(end, length - tail) - place)
        place = end


@pytest.mark.parametrize(
    ("length", "in_length", "tail", "used"),
    [
        (11, 11, 1, 11),
        (11, 4, 1, 4),  # a gap of 7 bytes
        (11, 1, 1, 1),
        (11, 0, 1, 11),  # a target that says nothing of it
        (11, 12, 1, 11),
        (11, 4, 0, 11),  # no status, no gap
        (5, 4, 1, 5),  # the area did not come whole
        (5, 11, 1, 5),
    ],
)
def test_what_was_written_where_the_answer_ends_with_a_status(
    length: int, in_length: int, tail: int, used: int
) -> None:
    assert used_length(length, in_length, 11, tail) == used
