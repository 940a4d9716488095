# SPDX-License-Identifier: BSD-3-Clause
"""The metrics of a gateway's sessions, made of its book. See vof-metrics(7) for their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import Metric

from vof.counts import Counts
from vof.gateways.sessions.book import QueueState, SessionBook
from vof.initiator.session import CONTROL
from vof.metrics.families import QueueCounts, counter, gauge, request_families

PREFIX = "vof"

_QUEUE = ("tvqn", "queue")
_CONNECT = "connect"


def session_families(book: SessionBook) -> Iterator[Metric]:
    """Yield them as they are now."""
    queues = book.queues()
    yield gauge(
        "vof_sessions",
        "Sessions that live.",
        ("tvqn",),
        {(tvqn,): number for tvqn, number in book.sessions().items()},
    )
    now = {place: state for place, state in queues.items() if state.open}
    yield gauge(
        "vof_queues",
        "Connections of a queue.",
        _QUEUE,
        {place: state.open for place, state in now.items()},
    )
    yield gauge(
        "vof_queue_size",
        "Descriptors that a virtqueue may have in flight.",
        _QUEUE,
        {place: state.size for place, state in now.items() if state.size},
    )
    yield gauge(
        "vof_in_flight",
        "Requests sent and not answered.",
        _QUEUE,
        {place: state.in_flight for place, state in now.items()},
    )
    yield gauge(
        "vof_waiting",
        "Requests that wait for room in the virtqueue.",
        _QUEUE,
        {place: state.waiting for place, state in now.items()},
    )
    yield from request_families(
        PREFIX,
        [
            QueueCounts(*place, _requests(state))
            for place, state in queues.items()
            if place[1] != CONTROL
        ],
    )
    yield from _control_families(queues)
    traffic = {place: state.traffic for place, state in queues.items()}
    yield counter(
        "vof_network_bytes",
        "Bytes on a queue's connection, framing included.",
        (*_QUEUE, "direction"),
        {(*place, "sent"): one.bytes_sent for place, one in traffic.items()}
        | {(*place, "received"): one.bytes_received for place, one in traffic.items()},
    )
    yield counter(
        "vof_network_calls",
        "System calls that moved some of these bytes.",
        (*_QUEUE, "direction"),
        {(*place, "sent"): one.sends for place, one in traffic.items()}
        | {(*place, "received"): one.receives for place, one in traffic.items()},
    )


def _requests(state: QueueState) -> Counts:
    return {kind: count for kind, count in state.counts.items() if kind != _CONNECT}


def _control_families(queues: Mapping[tuple[str, str], QueueState]) -> Iterator[Metric]:
    """Yield the commands of the control queues, and every queue's Connect."""
    commands: dict[tuple[str, ...], float] = {}
    errors: dict[tuple[str, ...], float] = {}
    for (tvqn, queue), state in queues.items():
        for kind, count in state.counts.items():
            if queue != CONTROL and kind != _CONNECT:
                continue
            place = tvqn, kind
            commands[place] = commands.get(place, 0) + count.requests
            for reason, number in (("refused", count.refused), ("lost", count.lost)):
                if number:
                    errors[*place, reason] = errors.get((*place, reason), 0) + number
    labels = ("tvqn", "command")
    yield counter("vof_control_commands", "Control commands that have ended.", labels, commands)
    yield counter(
        "vof_control_command_errors",
        "Control commands that the target refused, or that were lost with the session.",
        (*labels, "reason"),
        errors,
    )
