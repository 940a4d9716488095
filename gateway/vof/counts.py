# SPDX-License-Identifier: BSD-3-Clause
"""Counts requests by kind: how many, how much, how they ended, how long they took.

Records and arithmetic only, for both ends: who counts says what and how long, who shows asks. The
twin in C is gateway/native/counts.h. Knows no layer, no clock, and not what a kind means.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import NamedTuple

LATENCY_BOUNDS = tuple((4 << place) / 1e6 for place in range(23))
"""Upper bounds of the latency buckets but the last, in seconds: 4 µs, doubled up to 16.8 s."""

LATENCY_BUCKETS = len(LATENCY_BOUNDS) + 1

MAX_KINDS = 32
"""Kinds that are told apart; what comes after is ``OTHER``, so that nothing grows without end."""

OTHER = "other"


class Count(NamedTuple):
    """Requests of one kind that have ended."""

    requests: int = 0
    """All of them, however they ended."""
    data_bytes: int = 0
    """Data of those that were answered, headers and statuses not among it."""
    refused: int = 0
    """Answered by the transport's status alone: the peer did not execute them."""
    failed: int = 0
    """Executed, and ended with an error of the device."""
    lost: int = 0
    """Ended without an answer."""
    seconds: float = 0.0
    """That all answered ones took together."""
    latencies: tuple[int, ...] = (0,) * LATENCY_BUCKETS
    """Answered ones by the bucket of ``LATENCY_BOUNDS`` that they fall into; the last has none.
    Those whose time says nothing are in none."""

    def plus(self, other: Count) -> Count:
        """Return the two together."""
        return Count(
            self.requests + other.requests,
            self.data_bytes + other.data_bytes,
            self.refused + other.refused,
            self.failed + other.failed,
            self.lost + other.lost,
            self.seconds + other.seconds,
            tuple(map(sum, zip(self.latencies, other.latencies, strict=True))),
        )


Counts = Mapping[str, Count]
"""By kind."""


def add_counts(many: Iterable[Counts]) -> dict[str, Count]:
    """Return all of them together."""
    total: dict[str, Count] = {}
    for counts in many:
        for kind, count in counts.items():
            total[kind] = total[kind].plus(count) if kind in total else count
    return total


class _Sum:
    """A ``Count`` that grows."""

    def __init__(self) -> None:
        self.requests = self.data_bytes = self.refused = self.failed = self.lost = 0
        self.seconds = 0.0
        self.latencies = [0] * LATENCY_BUCKETS

    def count(self) -> Count:
        return Count(
            self.requests,
            self.data_bytes,
            self.refused,
            self.failed,
            self.lost,
            self.seconds,
            tuple(self.latencies),
        )


class Tally:
    """Counts requests, from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._sums: dict[str, _Sum] = {}

    def answered(
        self,
        kind: str,
        seconds: float | None,
        data_bytes: int,
        *,
        refused: bool = False,
        failed: bool = False,
    ) -> None:
        """Count a request that was answered after ``seconds``; None where the time says nothing of
        who answered."""
        with self._lock:
            known = self._sum(kind)
            known.requests += 1
            known.refused += refused
            known.failed += failed
            known.data_bytes += 0 if refused else data_bytes
            if seconds is not None:
                known.seconds += seconds
                known.latencies[bisect_left(LATENCY_BOUNDS, seconds)] += 1

    def lost(self, kind: str) -> None:
        """Count a request that ended without an answer."""
        with self._lock:
            known = self._sum(kind)
            known.requests += 1
            known.lost += 1

    def failed(self, kind: str) -> None:
        """Say of a request that was counted as answered that the device had failed it."""
        with self._lock:
            self._sum(kind).failed += 1

    def counts(self) -> dict[str, Count]:
        """Return what was counted so far."""
        with self._lock:
            return {kind: known.count() for kind, known in self._sums.items()}

    def _sum(self, kind: str) -> _Sum:
        known = self._sums.get(kind)
        if known is None:
            kind = kind if len(self._sums) < MAX_KINDS - 1 else OTHER
            known = self._sums.setdefault(kind, _Sum())
        return known
