# SPDX-License-Identifier: BSD-3-Clause
"""Operations out of packets: divided, sent twice, and missing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vof.decode.budget import MAX_DATA
from vof.decode.message import Bytes
from vof.decode.queue_pair import MAX_READS, Done, Missing, Requester
from vof.decode.rocev2 import PSNS, Opcode, Operation, RocePacket

MTU = 256
FIRST = PSNS - 2


def packet(
    opcode: Opcode, psn: int, data: bytes = b"", *, addr: int = 0, length: int = 0
) -> RocePacket:
    return RocePacket(opcode, 1, (FIRST + psn) % PSNS, Bytes(data), addr, addr, length)


def sent(psn: int, *parts: bytes) -> list[RocePacket]:
    last = len(parts) - 1
    if not last:
        return [packet(Opcode.SEND_ONLY, psn, parts[0])]
    kinds = [Opcode.SEND_FIRST] + [Opcode.SEND_MIDDLE] * (last - 1) + [Opcode.SEND_LAST]
    return [packet(kind, psn + place, parts[place]) for place, kind in enumerate(kinds)]


def take(requester: Requester, packets: list[RocePacket]) -> list[Done | Missing]:
    found: list[Done | Missing] = []
    for each in packets:
        response = each.opcode.operation is Operation.READ_RESPONSE
        found += requester.answer(each) if response else requester.request(each)
    return found


@given(st.lists(st.lists(st.binary(max_size=5), min_size=1, max_size=4), max_size=5))
def test_messages_of_several_packets(messages: list[list[bytes]]) -> None:
    requester = Requester(FIRST, MTU)
    packets: list[RocePacket] = []
    for parts in messages:
        packets += sent(len(packets), *parts)
    found = take(requester, packets)
    assert found == [Done(Operation.SEND, Bytes(b"".join(parts))) for parts in messages]


def test_a_write_has_its_place_in_the_first_packet() -> None:
    packets = [
        packet(Opcode.WRITE_FIRST, 0, b"ab", addr=7, length=4),
        packet(Opcode.WRITE_LAST, 1, b"cd"),
        packet(Opcode.WRITE_ONLY, 2, b"ef", addr=9, length=2),
    ]
    assert take(Requester(FIRST, MTU), packets) == [
        Done(Operation.WRITE, Bytes(b"abcd"), 7, 7),
        Done(Operation.WRITE, Bytes(b"ef"), 9, 9),
    ]


def test_what_is_sent_again_counts_once() -> None:
    one, two = sent(0, b"a", b"b"), sent(2, b"c")
    found = take(Requester(FIRST, MTU), [*one, *one, *two, *one, *two])
    assert [each.data.data for each in found if isinstance(each, Done)] == [b"ab", b"c"]


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_missing_packet_costs_its_message(lost: int) -> None:
    packets = sent(0, b"a", b"b", b"c")
    del packets[lost]
    found = take(Requester(FIRST, MTU), [*packets, *sent(3, b"next")])
    assert found == [Missing(1), Done(Operation.SEND, Bytes(b"next"))]


def answers(psn: int, *parts: bytes) -> list[RocePacket]:
    last = len(parts) - 1
    if not last:
        return [packet(Opcode.READ_RESPONSE_ONLY, psn, parts[0])]
    kinds = [Opcode.READ_RESPONSE_FIRST] + [Opcode.READ_RESPONSE_MIDDLE] * (last - 1)
    kinds += [Opcode.READ_RESPONSE_LAST]
    return [packet(kind, psn + place, parts[place]) for place, kind in enumerate(kinds)]


PART = bytes(MTU)


def test_reads_with_others_between() -> None:
    asked = packet(Opcode.READ_REQUEST, 0, addr=5, length=MTU + 3)
    also = packet(Opcode.READ_REQUEST, 2, addr=6, length=1)
    found = take(
        Requester(FIRST, MTU),
        [asked, also, *sent(3, b"x"), *answers(0, PART, b"end"), *answers(2, b"y")],
    )
    assert found == [
        Done(Operation.SEND, Bytes(b"x")),
        Done(Operation.READ_RESPONSE, Bytes(PART + b"end"), 5, 5),
        Done(Operation.READ_RESPONSE, Bytes(b"y"), 6, 6),
    ]


def test_the_rest_of_a_read_that_is_asked_for_again() -> None:
    asked = packet(Opcode.READ_REQUEST, 0, addr=5, length=MTU * 2 + 3)
    again = packet(Opcode.READ_REQUEST, 1, addr=5 + MTU, length=MTU + 3)
    first, middle, last = answers(0, PART, PART, b"end")
    found = take(Requester(FIRST, MTU), [asked, first, last, again, middle, last])
    assert found == [Done(Operation.READ_RESPONSE, Bytes(PART * 2 + b"end"), 5, 5)]


def test_a_missing_part_of_a_read() -> None:
    asked = packet(Opcode.READ_REQUEST, 0, addr=5, length=MTU + 3)
    also = packet(Opcode.READ_REQUEST, 2, addr=6, length=1)
    requester = Requester(FIRST, MTU)
    found = take(requester, [asked, also, answers(0, PART, b"end")[1], *answers(2, b"y")])
    holes = Bytes(PART + b"end", (range(MTU),))
    assert found == [
        Done(Operation.READ_RESPONSE, holes, 5, 5),
        Done(Operation.READ_RESPONSE, Bytes(b"y"), 6, 6),
    ]
    assert not list(requester.end())


def test_a_read_without_an_answer_at_the_end() -> None:
    requester = Requester(FIRST, MTU)
    take(requester, [packet(Opcode.READ_REQUEST, 0, addr=5, length=3)])
    assert list(requester.end()) == [
        Done(Operation.READ_RESPONSE, Bytes(bytes(3), (range(3),)), 5, 5)
    ]


def test_an_empty_read() -> None:
    asked = packet(Opcode.READ_REQUEST, 0, addr=5)
    found = take(Requester(FIRST, MTU), [asked, *answers(0, b""), *sent(1, b"x")])
    assert [each.data.data for each in found if isinstance(each, Done)] == [b"", b"x"]


def test_a_read_of_more_than_can_be() -> None:
    asked = packet(Opcode.READ_REQUEST, 0, length=MAX_DATA + 1)
    requester = Requester(FIRST, MTU)
    assert not take(requester, [asked, *answers(0, b"x")])
    assert not list(requester.end())


@given(
    st.lists(
        st.builds(
            packet,
            st.sampled_from(Opcode),
            st.integers(0, 12),
            st.binary(max_size=4),
            length=st.sampled_from([0, 1, MTU, MTU + 1, 1 << 32]),
        ),
        max_size=20,
    )
)
def test_whatever_comes(packets: list[RocePacket]) -> None:
    requester = Requester(FIRST, MTU)
    take(requester, packets)
    list(requester.end())


def test_reads_without_an_answer_are_bounded() -> None:
    asked = [packet(Opcode.READ_REQUEST, place, length=4) for place in range(MAX_READS + 3)]
    found = take(Requester(FIRST, MTU), asked)
    assert [done.data for done in found if isinstance(done, Done)] == [
        Bytes(bytes(4), (range(4),))
    ] * 3


def test_a_message_without_an_end_is_bounded() -> None:
    requester = Requester(FIRST, MTU)
    size = MAX_DATA // 4
    parts = [packet(Opcode.SEND_FIRST, 0, bytes(size))]
    parts += [packet(Opcode.SEND_MIDDLE, place, bytes(size)) for place in range(1, 5)]
    assert not take(requester, [*parts, packet(Opcode.SEND_LAST, 5, b"x")])
    assert take(requester, sent(6, b"next")) == [Done(Operation.SEND, Bytes(b"next"))]
