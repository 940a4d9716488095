# SPDX-License-Identifier: BSD-3-Clause
"""The vq command and its completion on a stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire.delivery import deliver
from vof.errors import RemoteProtocolError
from vof.wire.dialect import Framing
from vof.wire.framing import encode_request
from vof.wire.stream import Expected
from vof.wire.structs import Completion, pack
from vof.wire.vq import VqCompletion, VqCompletionParser, encode_vq

UNTOUCHED = 0xEE


def test_command_as_it_stands_on_the_wire() -> None:
    assert encode_vq(0x1234, [16, 512], [4096, 1]) == bytes.fromhex(
        "ff0f 3412 10020000 01100000 00 00 0000"
    )
    assert encode_request(Framing.LENGTHS, 1, [2], [3]) == encode_vq(1, [2], [3])


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
    direct=st.booleans(),
    status=st.sampled_from([0, 5]),
)
def test_data_fill_the_buffers_from_the_start(
    sizes: list[int], data: st.DataObject, direct: bool, status: int
) -> None:
    length = data.draw(st.integers(0, sum(sizes)))
    content = bytes(place % 200 for place in range(length))
    in_flight = InFlight(*sizes)
    parser = in_flight.parser()
    stream = pack(VqCompletion(status, 7, length)) + content
    [arrival] = deliver(parser, stream, direct=direct)
    assert b"".join(in_flight.storage) == content + bytes([UNTOUCHED] * (sum(sizes) - length))
    assert arrival.completion.status == status
    assert arrival.completion.value == length
    assert sum(arrival.lengths) == length
    assert len(arrival.lengths) == (0 if status and not length else len(sizes))
    assert parser.idle


def test_more_than_there_is_room_for() -> None:
    in_flight = InFlight(10, 1)
    parser = in_flight.parser()
    with pytest.raises(RemoteProtocolError, match=r"returns 12 bytes where .* room for 11"):
        parser.feed(pack(VqCompletion(0, 7, 12)))
    assert set(b"".join(in_flight.storage)) == {UNTOUCHED}


def test_a_control_command_is_completed_as_ever() -> None:
    [arrival] = InFlight().parser().feed(pack(Completion(0, 7, value=0x1122334455667788)))
    assert arrival.completion.value == 0x1122334455667788
    assert arrival.lengths == []
