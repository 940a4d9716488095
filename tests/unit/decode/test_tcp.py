# SPDX-License-Identifier: BSD-3-Clause
"""A stream in order out of segments, however they came."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vof.decode.budget import Budget
from vof.decode.message import Where
from vof.decode.tcp import MAX_WAITING, SEGMENT_COST, HalfStream, Piece

AT = Where(1)
FIRST = 0xFFFF_FFF0


def heard(pieces: list[Piece]) -> list[bytes | int]:
    """Return the bytes between two losses as one, and each loss."""
    found: list[bytes | int] = []
    for piece in pieces:
        if piece.lost:
            found.append(piece.lost)
        elif found and isinstance(found[-1], bytes):
            found[-1] += piece.data
        else:
            found.append(piece.data)
    return found


def number(position: int) -> int:
    return (FIRST + position) % (1 << 32)


@given(
    content=st.binary(min_size=1, max_size=60),
    cuts=st.lists(st.tuples(st.integers(0, 59), st.integers(1, 20)), max_size=12),
    order=st.randoms(use_true_random=False),
)
def test_segments_in_any_order_with_some_sent_again(
    content: bytes, cuts: list[tuple[int, int]], order: object
) -> None:
    size = len(content)
    segments = [(place, content[place : place + 7]) for place in range(0, size, 7)]
    segments += [(place, content[place : place + length]) for place, length in cuts if place < size]
    order.shuffle(segments)  # type: ignore[attr-defined]
    half = HalfStream()
    half.begin(FIRST)
    pieces: list[Piece] = []
    for place, data in segments:
        pieces += half.segment(number(place), data, len(data), AT)
    assert heard(pieces) == [content]


def test_what_the_receiver_has_and_the_capture_has_not() -> None:
    half = HalfStream()
    half.begin(FIRST)
    pieces = list(half.segment(number(0), b"abc", 3, AT))
    assert not list(half.segment(number(5), b"fgh", 3, AT))
    assert not list(half.acknowledged(number(3), AT))
    pieces += half.acknowledged(number(8), AT)
    assert heard(pieces) == [b"abc", 2, b"fgh"]


def test_a_loss_up_to_what_is_acknowledged() -> None:
    half = HalfStream()
    half.begin(FIRST)
    pieces = list(half.acknowledged(number(10), AT))
    pieces += half.segment(number(10), b"xyz", 3, AT)
    assert heard(pieces) == [10, b"xyz"]


def test_the_first_bytes_of_segments() -> None:
    half = HalfStream()
    half.begin(FIRST)
    pieces = list(half.segment(number(0), b"ab", 5, AT))
    pieces += half.segment(number(5), b"fg", 2, AT)
    pieces += half.segment(number(0), b"abcdefg", 7, AT)  # too late
    assert heard(pieces) == [b"ab", 3, b"fg"]


def test_a_stream_whose_beginning_was_not_seen() -> None:
    half = HalfStream()
    assert heard(list(half.segment(77, b"abc", 3, AT))) == [b"abc"]
    other = HalfStream()
    assert not list(other.acknowledged(100, AT))
    pieces = list(other.segment(103, b"def", 3, AT))
    pieces += other.segment(100, b"abc", 3, AT)
    assert heard(pieces) == [b"abcdef"]


def test_a_probe_that_is_no_data() -> None:
    half = HalfStream()
    half.begin(FIRST)
    assert heard(list(half.segment(number(0), b"abc", 3, AT))) == [b"abc"]
    assert not list(half.segment(number(2), b"c", 1, AT))
    assert not list(half.segment(number(2), b"", 0, AT))


def test_what_is_left_at_the_end() -> None:
    half = HalfStream()
    half.begin(FIRST)
    list(half.segment(number(4), b"x", 1, AT))
    list(half.segment(number(9), b"y", 1, AT))
    assert heard(list(half.end(AT))) == [4, b"x", 4, b"y"]


def test_what_waits_is_bounded() -> None:
    """Where nobody acknowledges anything."""
    half = HalfStream()
    half.begin(0)
    size = MAX_WAITING // 4
    pieces: list[Piece] = []
    for place in range(5):
        pieces += half.segment(1 + place * size, bytes(size), size, AT)
    assert pieces[0].lost == 1
    assert sum(len(piece.data) for piece in pieces) == 5 * size


def test_what_all_streams_keep_is_bounded() -> None:
    """Segments without a byte in the capture cost something, too."""
    budget = Budget(10 * SEGMENT_COST)
    halves = [HalfStream(budget) for _ in range(4)]
    for half in halves:
        half.begin(0)
    pieces: list[Piece] = []
    for place in range(8):
        for half in halves:
            pieces += half.segment(100 + 10 * place, b"", 10, AT)
    assert sum(piece.lost for piece in pieces) > 100
    for half in halves:
        pieces += half.end(AT)
    assert sum(piece.lost for piece in pieces) == 4 * 180
    assert budget.left == 10 * SEGMENT_COST


def test_where_it_began() -> None:
    half = HalfStream()
    half.begin(FIRST)
    half.begin(FIRST + 5)  # once only
    assert half.began(FIRST)
    assert not half.began(FIRST + 5)
