# SPDX-License-Identifier: BSD-3-Clause
"""Which bytes of registered memory are free, and how much of it one connection can have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.target.rdma.verbs_free import Heap
from vof.target.rdma.memory import GRAIN, PAGE, Chunk, NotRegistered, Pool, Space, round_up


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=60))
def test_no_byte_is_given_twice_and_none_is_lost(steps: list[tuple[bool, int]]) -> None:
    size = 100
    space = Space(size)
    taken: list[range] = []
    for gives, number in steps:
        used = {byte for part in taken for byte in part}
        if gives and taken:
            part = taken.pop(number % len(taken))
            space.give(part.start, len(part))
            continue
        start = space.take(number)
        if start is None:
            free = "".join("x" if byte in used else "." for byte in range(size))
            assert "." * number not in free
        else:
            part = range(start, start + number)
            assert not used & set(part)
            assert part.stop <= size
            taken.append(part)
    assert space.unused == (not taken)
    for part in taken:
        space.give(part.start, len(part))
    assert space.unused
    assert space.take(size) == 0


def pool(heap: Heap, first: int = PAGE, budget: int = 4 * PAGE) -> Pool:
    return Pool(heap.register, first=first, budget=budget)


def take(from_: Pool, size: int) -> Chunk:
    chunk = from_.take(size)
    assert chunk is not None
    assert len(chunk.view) == chunk.size == size
    assert chunk.address == chunk.region.address + chunk.offset
    return chunk


def test_requests_share_the_first_region() -> None:
    heap = Heap()
    memory = pool(heap)
    chunks = [take(memory, size) for size in (1, GRAIN, GRAIN + 1)]
    assert [chunk.offset for chunk in chunks] == [0, GRAIN, 2 * GRAIN]
    for chunk in chunks:
        memory.give(chunk)
    assert take(memory, PAGE).offset == 0
    assert len(heap.regions) == 1


def test_more_is_registered_where_it_is_needed_and_kept_until_there_is_a_rest() -> None:
    heap = Heap()
    memory = pool(heap)
    small, large = take(memory, 64), take(memory, PAGE)
    assert large.region is not small.region
    memory.trim()
    assert memory.size == heap.size > PAGE
    memory.give(large)
    assert take(memory, PAGE).region is large.region
    memory.give(large)
    memory.trim()
    assert memory.size == heap.size == PAGE


def test_the_budget_is_what_all_but_the_first_have_together() -> None:
    heap = Heap()
    memory = pool(heap)
    whole = take(memory, 4 * PAGE)
    rest = take(memory, PAGE)
    assert memory.take(1) is None
    assert heap.size == 5 * PAGE
    memory.give(rest)
    assert memory.take(PAGE + 1) is None
    memory.give(whole)
    assert take(memory, 4 * PAGE).size == 4 * PAGE
    assert heap.size == 5 * PAGE


def test_unused_regions_make_way_for_a_larger_one() -> None:
    heap = Heap()
    memory = pool(heap, budget=6 * PAGE)
    first = take(memory, PAGE)
    small = take(memory, PAGE)
    memory.give(small)
    assert take(memory, 6 * PAGE).size == 6 * PAGE
    assert heap.size == 7 * PAGE
    assert small.region.view is not first.region.view


def test_the_system_may_have_no_more() -> None:
    heap = Heap(limit=PAGE)
    memory = pool(heap)
    chunk = take(memory, PAGE)
    # Something is in use, so that there is something to wait for.
    assert memory.take(PAGE) is None
    memory.give(chunk)
    with pytest.raises(NotRegistered, match="ulimit -l"):
        memory.take(PAGE + 1)
    with pytest.raises(NotRegistered, match="cannot register 8192 bytes of memory: too much"):
        pool(heap, first=2 * PAGE)


def test_close_lets_go_of_everything() -> None:
    heap = Heap()
    memory = pool(heap)
    take(memory, PAGE)
    take(memory, PAGE)
    memory.close()
    assert heap.size == memory.size == 0


def test_round_up() -> None:
    assert [round_up(size, 64) for size in (0, 1, 64, 65)] == [0, 64, 64, 128]
