# SPDX-License-Identifier: BSD-3-Clause
"""Leases of an eager range: each in memory of its own, and what a target may not say of it."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vof.errors import RemoteProtocolError
from vof.fabric.rdma.eager import MAX_PIECES, EagerRange, Lease
from vof.wire.v5 import KeyedDescriptor


def buffers_of(*sizes: int) -> list[KeyedDescriptor]:
    """Buffers of these sizes, with gaps between them, the last first in memory."""
    addr = 1 << 40
    found = []
    for key, size in enumerate(sizes):
        addr -= size + 100
        found.append(KeyedDescriptor(addr, size, 0x100 + key))
    return found


SIZES = st.lists(st.integers(1, 700), min_size=1, max_size=12)

# Lease so many bytes (a positive number), or release one of those leased before.
STEPS = st.lists(st.one_of(st.integers(1, 500), st.integers(-100, -1)), max_size=40)


@given(SIZES, STEPS)
def test_leases_never_share_a_byte(sizes: list[int], steps: list[int]) -> None:
    buffers = buffers_of(*sizes)
    eager = EagerRange(buffers)
    assert eager.size == sum(sizes)
    starts = [0, *accumulate(sizes)]
    leases: list[Lease] = []
    used: set[int] = set()
    for step in steps:
        if step < 0:
            if leases:
                gone = leases.pop(step % len(leases))
                eager.release(gone)
                used -= bytes_of(gone)
            continue
        lease = eager.lease(step)
        if lease is None:
            continue
        assert lease.length == step
        assert lease.offset + step <= eager.size
        assert len(lease.pieces) <= MAX_PIECES
        assert not bytes_of(lease) & used
        used |= bytes_of(lease)
        leases.append(lease)
        # What the pieces are is what the offset names in the logical concatenation.
        offset = lease.offset
        for piece in lease.pieces:
            place = max(n for n, start in enumerate(starts[:-1]) if start <= offset)
            assert piece.key == buffers[place].key
            assert piece.addr == buffers[place].addr + offset - starts[place]
            assert 0 < piece.length <= starts[place + 1] - offset
            offset += piece.length
        assert offset == lease.offset + step
    for lease in leases:
        eager.release(lease)
    assert eager.leased == 0


def bytes_of(lease: Lease) -> set[int]:
    return {addr for piece in lease.pieces for addr in range(piece.addr, piece.addr + piece.length)}


@pytest.mark.clause("v5 Get Keyed Eager Buffers 6", "initiator")
def test_a_lease_may_lie_in_several_buffers() -> None:
    one, two, three = buffers_of(64, 100, 200)
    lease = EagerRange([one, two, three]).lease(180)
    assert lease is not None
    assert lease.pieces == [one, two, KeyedDescriptor(three.addr, 16, three.key)]


def test_what_would_take_many_pieces_is_not_leased() -> None:
    eager = EagerRange(buffers_of(*[1] * 255))
    assert eager.lease(MAX_PIECES) is not None
    assert eager.lease(MAX_PIECES + 1) is None
    assert eager.lease(MAX_PIECES) is not None  # and took nothing


def test_a_full_range_gives_no_lease_until_one_is_released() -> None:
    eager = EagerRange(buffers_of(4096, 4096))
    first = eager.lease(4096)
    assert eager.lease(4096) is not None
    assert first is not None
    assert eager.lease(1) is None
    eager.release(first)
    assert eager.lease(4097) is None
    assert eager.lease(4096) is not None


@pytest.mark.clause("v5 Get Keyed Eager Buffers 1", "initiator")
def test_a_range_of_no_buffers_gives_none() -> None:
    eager = EagerRange([])
    assert eager.size == 0
    assert eager.lease(1) is None


class TestBuffersThatCannotBe:
    @pytest.mark.parametrize(
        ("buffers", "match"),
        [
            ([KeyedDescriptor(4096, 0, 1)], "length zero"),
            ([KeyedDescriptor(4096, 10, 1), KeyedDescriptor(0, 0, 0)], "length zero"),
            ([KeyedDescriptor((1 << 64) - 9, 10, 1)], "beyond the last address"),
            ([KeyedDescriptor(4096, 100, 1), KeyedDescriptor(4195, 1, 1)], "over another"),
            ([KeyedDescriptor(4195, 100, 1), KeyedDescriptor(4096, 100, 1)], "over another"),
            ([KeyedDescriptor(4096, 9, 1), KeyedDescriptor(4096, 9, 1)], "over another"),
            (
                [KeyedDescriptor(n << 32, 0xFFFF_FFFF, n) for n in range(2)],
                "8589934590 bytes; an offset can name 4294967296",
            ),
        ],
    )
    def test_are_refused(self, buffers: list[KeyedDescriptor], match: str) -> None:
        with pytest.raises(RemoteProtocolError, match=match):
            EagerRange(buffers)

    def test_neighbours_and_other_keys_are_well(self) -> None:
        EagerRange([KeyedDescriptor(4096, 100, 1), KeyedDescriptor(4196, 100, 1)])
        EagerRange([KeyedDescriptor(4096, 100, 1), KeyedDescriptor(4096, 100, 2)])
        EagerRange([KeyedDescriptor((1 << 64) - 10, 10, 1)])

    def test_255_buffers_of_almost_4_gib_cost_nothing(self) -> None:
        size = (1 << 32) // 255
        eager = EagerRange([KeyedDescriptor(n << 32, size, n) for n in range(255)])
        lease = eager.lease(3 * size)
        assert lease is not None
        assert [piece.length for piece in lease.pieces] == [size] * 3
