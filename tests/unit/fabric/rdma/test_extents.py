# SPDX-License-Identifier: BSD-3-Clause
"""Extents of a range: never two over one another, and none lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vof.fabric.rdma.extents import ALIGNMENT, Extents, rounded

SIZE = 64 * ALIGNMENT

# Take so many bytes (a positive number), or give back one of those taken before.
STEPS = st.lists(st.one_of(st.integers(1, SIZE // 3), st.integers(-100, -1)), max_size=60)


@given(STEPS)
def test_extents_never_overlap_and_come_back(steps: list[int]) -> None:
    extents = Extents(SIZE)
    taken: list[tuple[int, int]] = []
    for step in steps:
        if step > 0:
            before = extents.free
            start = extents.take(step)
            if start is None:
                assert extents.free == before
                continue
            assert start % ALIGNMENT == 0
            assert start >= 0
            assert start + step <= SIZE
            assert all(start >= at + size or at >= start + step for at, size in taken)
            taken.append((start, step))
        elif taken:
            extents.give_back(*taken.pop(step % len(taken)))
        assert extents.free == SIZE - sum(rounded(size) for _at, size in taken)
    for at, size in taken:
        extents.give_back(at, size)
    assert extents.take(SIZE) == 0  # in one piece again


def test_what_fits_nowhere_is_refused() -> None:
    extents = Extents(4 * ALIGNMENT)
    first, _second, third, _fourth = (extents.take(ALIGNMENT) for _ in range(4))
    assert extents.take(1) is None
    assert first is not None
    assert third is not None
    extents.give_back(first, ALIGNMENT)
    extents.give_back(third, ALIGNMENT)
    assert extents.free == 2 * ALIGNMENT
    assert extents.take(2 * ALIGNMENT) is None  # they are not neighbours
    assert extents.take(1) == first


def test_a_range_smaller_than_a_unit_holds_nothing() -> None:
    extents = Extents(ALIGNMENT - 1)
    assert extents.size == 0
    assert extents.take(1) is None


def test_the_part_of_a_unit_at_the_end_is_left_over() -> None:
    extents = Extents(2 * ALIGNMENT + 1)
    assert extents.take(2 * ALIGNMENT + 1) is None
    assert extents.take(2 * ALIGNMENT) == 0
