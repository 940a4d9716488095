# SPDX-License-Identifier: BSD-3-Clause
"""The metrics of a target, made of its table and its connections. See vof-metrics(7) for their
names."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import Metric

from vof.metrics.families import QueueCounts, gauge, request_families
from vof.target.association_table import AssociationTable

PREFIX = "vof_target"

_QUEUE = ("tvqn", "queue")


def target_families(table: AssociationTable, connections: Callable[[], int]) -> Iterator[Metric]:
    """Yield them as they are now; ``connections`` says how many there are of any kind."""
    yield gauge(
        "vof_target_associations",
        "Initiators that use a device.",
        ("tvqn",),
        {(tvqn,): number for tvqn, number in table.users().items()},
    )
    yield gauge(
        "vof_target_connections",
        "Connections, those without an association included.",
        (),
        {(): connections()},
    )
    works = list(table.statistics.read())
    places = {(work.tvqn, str(work.queue)): work for work in works}
    yield gauge(
        "vof_target_queues",
        "Connections of a virtqueue.",
        _QUEUE,
        {place: work.connections for place, work in places.items()},
    )
    yield gauge(
        "vof_target_in_flight",
        "Requests being executed, but for those that take no longer than to look at them.",
        _QUEUE,
        {place: work.in_flight for place, work in places.items()},
    )
    yield from request_families(
        PREFIX, [QueueCounts(*place, work.counts) for place, work in places.items()]
    )
