# SPDX-License-Identifier: BSD-3-Clause
"""The families of metrics that every program has, made of what was counted.

Owns their names, labels and units, which are stable and documented in vof-metrics(7). Each end has
a prefix of its own, so that a target and a gateway can be watched together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from vof import __version__
from vof.counts import LATENCY_BOUNDS, Count, Counts
from vof.logline import event_counts

_BLOCK_PREFIX = "VIRTIO_BLK_T_"
_NAMES = {"in": "read", "out": "write"}
_BOUNDS = (*(f"{bound:.6f}" for bound in LATENCY_BOUNDS), "+Inf")

MOVES_NO_DATA = frozenset({"flush", "discard", "write_zeroes", "secure_erase"})
"""Types whose bytes say where, and are not the data."""


Values = Mapping[Any, float]
"""By their labels' values, a tuple of strings."""


class QueueCounts(NamedTuple):
    """The counts of a queue."""

    tvqn: str
    queue: str
    counts: Counts


def type_of(kind: str) -> str:
    """Return the label of a kind of request."""
    name = kind.removeprefix(_BLOCK_PREFIX).lower()
    return _NAMES.get(name, name)


def request_families(prefix: str, queues: Iterable[QueueCounts]) -> Iterator[Metric]:
    """Yield requests, bytes, errors, and the histogram of latencies, which is over all queues."""
    labels = ("tvqn", "queue", "type")
    requests = CounterMetricFamily(
        f"{prefix}_requests", "Requests that have ended, however they did.", labels=labels
    )
    data = CounterMetricFamily(
        f"{prefix}_request_bytes", "Data of requests that were answered.", labels=labels
    )
    errors = CounterMetricFamily(
        f"{prefix}_request_errors",
        "Requests that failed: by the device, refused by the target, or lost with the session.",
        labels=(*labels, "reason"),
    )
    latencies = HistogramMetricFamily(
        f"{prefix}_request_seconds",
        "Time from a request to its answer.",
        labels=("tvqn", "type"),
    )
    together: dict[tuple[str, str], Count] = {}
    for tvqn, queue, counts in queues:
        for kind, count in counts.items():
            name = type_of(kind)
            place = tvqn, queue, name
            requests.add_metric(place, count.requests)
            if name not in MOVES_NO_DATA:
                data.add_metric(place, count.data_bytes)
            for reason in ("failed", "refused", "lost"):
                if number := getattr(count, reason):
                    errors.add_metric((*place, reason), number)
            key = tvqn, name
            together[key] = together[key].plus(count) if key in together else count
    for key, count in together.items():
        if any(count.latencies):
            latencies.add_metric(key, list(_buckets(count)), count.seconds)
    yield from (requests, data, errors, latencies)


def common_families(program: str) -> Iterator[Metric]:
    """Yield what every program has: which it is, and how often each event came to pass."""
    yield gauge(
        "vof_info",
        "The program and its version; always 1.",
        ("program", "version"),
        {(program, __version__): 1},
    )
    yield counter(
        "vof_events",
        "Events, logged or not, by name and device.",
        ("event", "tvqn"),
        {(name, tvqn): number for (name, tvqn), number in sorted(event_counts().items())},
    )


def gauge(name: str, text: str, labels: Sequence[str], values: Values) -> Metric:
    """Return a gauge with these values, by their labels'."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for place, value in values.items():
        family.add_metric(place, value)
    return family


def counter(name: str, text: str, labels: Sequence[str], values: Values) -> Metric:
    """Return a counter with these values, by their labels'; ``_total`` comes behind its name."""
    family = CounterMetricFamily(name, text, labels=labels)
    for place, value in values.items():
        family.add_metric(place, value)
    return family


def _buckets(count: Count) -> Iterator[tuple[str, float]]:
    total = 0
    for bound, number in zip(_BOUNDS, count.latencies, strict=True):
        total += number
        yield bound, total
