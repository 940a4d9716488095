# SPDX-License-Identifier: BSD-3-Clause
"""Counting requests: the arithmetic of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vof.counts import LATENCY_BOUNDS, MAX_KINDS, OTHER, Count, Tally, add_counts


def test_an_answer_is_counted_once_in_everything() -> None:
    tally = Tally()
    tally.answered("read", 0.005, 4096)
    tally.answered("read", 0.001, 512, refused=True)
    tally.answered("read", 0.002, 1, failed=True)
    tally.lost("read")
    count = tally.counts()["read"]
    assert count[:5] == (4, 4097, 1, 1, 1)
    assert round(count.seconds, 9) == 0.008
    assert sum(count.latencies) == 3  # what was lost took no known time


def test_a_failure_that_is_told_afterwards() -> None:
    tally = Tally()
    tally.answered("read", 0.0, 1)
    tally.failed("read")
    assert tally.counts()["read"][:4] == (1, 1, 0, 1)


@given(st.floats(0, 100))
def test_the_bucket_of_a_latency(seconds: float) -> None:
    tally = Tally()
    tally.answered("read", seconds, 0)
    place = tally.counts()["read"].latencies.index(1)
    assert place == len(LATENCY_BOUNDS) or seconds <= LATENCY_BOUNDS[place]
    assert not place or seconds > LATENCY_BOUNDS[place - 1]


def test_kinds_do_not_grow_without_end() -> None:
    tally = Tally()
    for number in range(1000):
        tally.answered(f"kind {number}", 0.0, 1)
    counts = tally.counts()
    assert len(counts) == MAX_KINDS
    assert counts[OTHER].requests == 1000 - (MAX_KINDS - 1)
    assert sum(count.requests for count in counts.values()) == 1000


def test_counts_together() -> None:
    one, two = Tally(), Tally()
    one.answered("read", 0.5, 10)
    two.answered("read", 0.5, 5)
    two.lost("write")
    total = add_counts((one.counts(), two.counts(), {}))
    assert total["read"][:2] == (2, 15)
    assert total["read"].seconds == 1.0
    assert max(total["read"].latencies) == 2
    assert total["write"] == Count(requests=1, lost=1)
