# SPDX-License-Identifier: BSD-3-Clause
"""Areas made of buffers: where an address is, and what is known of their content."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from vof.decode.buffers import HEAD, MAX_KNOWN, PAGE, Area, Place
from vof.decode.message import Bytes

BUFFERS = [
    {"addr": 100, "length": 10, "key": 1},
    {"addr": 200, "length": 5, "key": 2},
    {"addr": 100, "length": 20, "key": 3},
]


def test_places() -> None:
    area = Area(BUFFERS)
    assert area.size == 35
    assert area.find(100, 1) == Place(0, 0, 10)
    assert area.find(109, 1) == Place(0, 9, 1)
    assert area.find(203, 2) == Place(1, 13, 2)
    assert area.find(100, 3) == Place(2, 15, 20)
    for addr, key in ((110, 1), (99, 1), (100, 2), (100, 4)):
        assert area.find(addr, key) is None
    assert Area().find(0, 0) is None


@given(
    st.lists(st.tuples(st.integers(0, 40), st.binary(max_size=12)), max_size=8),
    st.integers(0, 45),
    st.integers(0, 20),
)
def test_the_latest_counts(moved: list[tuple[int, bytes]], offset: int, length: int) -> None:
    area = Area(BUFFERS)
    known: dict[int, int] = {}
    for start, data in moved:
        area.move(start, Bytes(data))
        known |= {start + place: byte for place, byte in enumerate(data)}
    found = area.read(offset, length)
    missing = {place for hole in found.missing for place in hole}
    for place in range(length):
        assert (place in missing) == (offset + place not in known)
        assert found.data[place] == known.get(offset + place, 0)
    assert area.known >= max(known, default=-1) + 1


def test_holes_stay_holes() -> None:
    area = Area(BUFFERS)
    area.move(2, Bytes(b"abcd", (range(1, 3),)))
    assert area.read(0, 7) == Bytes(b"\0\0abcd\0", (range(2), range(3, 5), range(6, 7)))


def test_what_is_known_is_bounded() -> None:
    area = Area([{"addr": 0, "length": 1 << 40, "key": 0}])
    area.move(MAX_KNOWN - 1, Bytes(b"ab"))
    assert area.known == 0
    assert len(area.read(0, 1 << 40).data) == MAX_KNOWN


def test_of_a_command_the_ends_are_kept() -> None:
    size = HEAD + 9 * PAGE + 1
    content = bytes(range(1, 256)) * (size // 255 + 1)
    area = Area([{"addr": 0, "length": size, "key": 0}])
    area.move(0, Bytes(content[:size]))
    found = area.read(0, size)
    assert found.missing == (range(HEAD, size - 1),)
    assert found.has(0, HEAD)
    assert found.data[-1] == content[size - 1]
    assert area.known == size
    whole = Area(area.descriptors, whole=True)
    whole.move(0, Bytes(content[:size]))
    assert whole.read(0, size) == Bytes(content[:size])


def test_a_far_place_costs_a_page() -> None:
    tracemalloc.start()
    try:
        for _ in range(16):
            area = Area([{"addr": 0, "length": 1 << 40, "key": 0}], whole=True)
            area.move(MAX_KNOWN - 1, Bytes(b"x"))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
