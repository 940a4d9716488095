# SPDX-License-Identifier: BSD-3-Clause
"""The range that eager buffers make: its bounds, and who has which of its bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.target.rdma.verbs_free import Heap
from vof.errors import RemoteProtocolError
from vof.target.rdma.eager import REGIONS, EagerRange, region_sizes
from vof.target.rdma.memory import PAGE, NotRegistered

TOTAL = 4 * PAGE
U32 = 0xFFFF_FFFF


def exposed(heap: Heap, total: int = TOTAL) -> EagerRange:
    """A range whose byte n holds n % 251."""
    eager = EagerRange(heap.register, total)
    eager.expose(255)
    data = bytes(place % 251 for place in range(eager.size))
    start = 0
    for region in heap.regions:
        region.view[:] = data[start : start + len(region.view)]
        start += len(region.view)
    return eager


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (1, [PAGE]),
        (PAGE, [PAGE]),
        (PAGE + 1, [PAGE, PAGE]),
        (6 * PAGE, [2 * PAGE, 2 * PAGE, PAGE, PAGE]),
        (1 << 20, [1 << 18] * 4),
    ],
)
def test_several_regions_of_whole_pages(total: int, expected: list[int]) -> None:
    assert region_sizes(total) == expected
    assert len(region_sizes(1 << 20)) == REGIONS


def test_nothing_is_registered_before_it_is_asked_for() -> None:
    heap = Heap()
    eager = EagerRange(heap.register, TOTAL)
    assert (heap.size, eager.size) == (0, 0)
    assert eager.expose(0) == []
    found = eager.expose(2)
    assert [(item.addr, item.length, item.key) for item in found] == [
        (region.address, PAGE, region.remote_key) for region in heap.regions
    ]
    assert eager.size == heap.size == 2 * PAGE
    assert list(eager.expose(1)) == list(found[:1])
    assert list(eager.expose(255))[:2] == list(found)
    assert eager.size == heap.size == TOTAL


def test_what_is_not_exposed_is_not_in_the_range() -> None:
    eager = EagerRange(Heap().register, TOTAL)
    with pytest.raises(RemoteProtocolError, match="not within the 0 bytes"):
        eager.lease(0, 1)
    eager.expose(1)
    with pytest.raises(RemoteProtocolError, match=f"1 bytes at offset {PAGE} are not within"):
        eager.lease(PAGE, 1)
    assert eager.lease(PAGE - 1, 1) == b"\0"


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, TOTAL + 1), (TOTAL, 1), (TOTAL + 1, 0), (TOTAL - 1, 2), (U32, U32), (1, U32), (U32, 1)],
)
def test_bytes_outside(offset: int, length: int) -> None:
    """Among them are sums that 32 bits do not hold."""
    eager = exposed(Heap())
    with pytest.raises(RemoteProtocolError, match="are not within"):
        eager.lease(offset, length)
    assert len(eager.lease(0, TOTAL)) == TOTAL


@given(st.integers(0, TOTAL), st.integers(0, TOTAL))
def test_a_copy_of_bytes_in_any_regions(first: int, second: int) -> None:
    begin, end = sorted((first, second))
    heap = Heap()
    found = exposed(heap).lease(begin, end - begin)
    assert found == bytes(place % 251 for place in range(begin, end))
    for region in heap.regions:
        region.view[:] = bytes(len(region.view))
    assert found == bytes(place % 251 for place in range(begin, end))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(0, 12)), max_size=40))
def test_two_requests_in_flight_have_no_byte_in_common(steps: list[tuple[bool, int, int]]) -> None:
    eager = exposed(Heap())
    leases: list[tuple[int, int]] = []
    for ends, offset, length in steps:
        if ends and leases:
            eager.release(*leases.pop(offset % len(leases)))
            continue
        wanted = set(range(offset, offset + length))
        if any(wanted & set(range(start, start + size)) for start, size in leases):
            with pytest.raises(RemoteProtocolError, match="overlap those of a request in flight"):
                eager.lease(offset, length)
        else:
            eager.lease(offset, length)
            leases.append((offset, length))


def test_keys_are_revoked_and_new_ones_are_others() -> None:
    heap = Heap()
    eager = exposed(heap)
    before = eager.expose(4)
    eager.lease(0, 16)
    eager.revoke()
    assert all(region.closed for region in heap.regions)
    assert eager.size == 0
    with pytest.raises(RemoteProtocolError, match="not within the 0 bytes"):
        eager.lease(16, 16)
    after = eager.expose(4)
    assert not {item.key for item in before} & {item.key for item in after}
    # What was in flight may still end.
    eager.release(0, 16)
    assert eager.lease(0, 16) == bytes(16)


def test_a_closed_range_exposes_nothing_any_more() -> None:
    heap = Heap()
    eager = exposed(heap)
    eager.close()
    eager.close()
    assert eager.expose(4) == ()
    assert heap.size == 0


def test_memory_that_is_not_to_be_had() -> None:
    heap = Heap(limit=2 * PAGE)
    eager = EagerRange(heap.register, TOTAL)
    with pytest.raises(NotRegistered):
        eager.expose(4)
    assert len(eager.expose(2)) == 2
