# SPDX-License-Identifier: BSD-3-Clause
"""Pieces of a connection that need no socket; the rest is tested over TCP in tests/target."""

from __future__ import annotations

import pytest

from vof.target.connection import KEPT_RESPONSE, ResponseBuffer, _describe, _split


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
    buffers = ResponseBuffer()
    for size in (0, 1, 4097, 70_000, KEPT_RESPONSE):
        assert len(buffers.take(size)) == size
    kept = buffers.take(KEPT_RESPONSE)
    assert kept.obj is buffers.take(512).obj
    # One that is larger goes when its request is done.
    assert len(buffers.take(KEPT_RESPONSE + 1)) == KEPT_RESPONSE + 1
    assert buffers.take(KEPT_RESPONSE).obj is kept.obj


def test_an_unexpected_exception_is_named_with_its_place() -> None:
    empty: dict[str, int] = {}
    with pytest.raises(KeyError) as caught:
        empty["x"]
    assert _describe(caught.value).startswith(
        "KeyError at test_an_unexpected_exception_is_named_with_its_place, line "
    )
