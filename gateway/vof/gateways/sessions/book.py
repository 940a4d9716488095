# SPDX-License-Identifier: BSD-3-Clause
"""The sessions of a gateway, open and past, and what was done in them.

Owns the totals, which outlive the sessions: numbers that are shown never go back. Sessions are told
apart by tvqn alone; two of one name are one here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from threading import Lock

from vof.counts import Count, Counts, add_counts
from vof.fabric.interface import Queue
from vof.initiator.session import Session

MAX_LEAVING = 64
"""Closed sessions that may have a request in flight, which is still to be counted."""


@dataclass
class Traffic:
    """The traffic of a queue's connection: system calls that moved something, and bytes."""

    sends: int = 0
    receives: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0


@dataclass
class QueueState:
    """All queues of one name, past ones included, of all sessions with one device."""

    counts: Counts = field(default_factory=dict)
    traffic: Traffic = field(default_factory=Traffic)
    open: int = 0
    """How many there are now; the next three are of these."""
    in_flight: int = 0
    waiting: int = 0
    size: int = 0
    """Descriptors they hold, all together."""


class SessionBook:
    """The sessions of one gateway. From any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._open: list[Session] = []
        self._leaving: list[Session] = []
        self._past: dict[tuple[str, str], QueueState] = {}

    def enter(self, session: Session) -> None:
        """Take a session that is ready."""
        with self._lock:
            self._open.append(session)

    def leave(self, session: Session) -> None:
        """Take a session that was closed to those that are past."""
        with self._lock:
            if session in self._open:
                self._open.remove(session)
                self._leaving.append(session)
                self._settle()

    def sessions(self) -> Mapping[str, int]:
        """Return how many sessions with each device there are that live."""
        with self._lock:
            found: dict[str, int] = {}
            for session in self._open:
                found[session.tvqn] = found.get(session.tvqn, 0) + (session.error is None)
            return found

    def queues(self) -> Mapping[tuple[str, str], QueueState]:
        """Return every queue there was, by tvqn and name."""
        with self._lock:
            self._settle()
            found = {place: _copy(state) for place, state in self._past.items()}
            for session in (*self._leaving, *self._open):
                live = session.error is None
                sizes = {str(queue.index): queue.size for queue in list(session.virtqueues)}
                for name, queue in session.queues().items():
                    state = found.setdefault((session.tvqn, name), QueueState())
                    _add(state, queue)
                    activity = queue.activity()
                    state.in_flight += activity.in_flight
                    state.waiting += activity.waiting_for_room
                    state.open += live
                    state.size += sizes.get(name, 0) if live else 0
            return found

    def _settle(self) -> None:
        """Take what has nothing in flight any more to what is past."""
        for session in list(self._settled()):
            self._leaving.remove(session)
            for name, queue in session.queues().items():
                _add(self._past.setdefault((session.tvqn, name), QueueState()), queue)

    def _settled(self) -> Iterator[Session]:
        excess = len(self._leaving) - MAX_LEAVING
        for place, session in enumerate(self._leaving):
            busy = any(queue.activity().in_flight for queue in session.queues().values())
            if place < excess or not busy:
                yield session


def _copy(state: QueueState) -> QueueState:
    traffic = state.traffic
    return QueueState(
        state.counts,
        Traffic(traffic.sends, traffic.receives, traffic.bytes_sent, traffic.bytes_received),
    )


def _add(state: QueueState, queue: Queue) -> None:
    total: dict[str, Count] = add_counts((state.counts, queue.counts()))
    state.counts = total
    statistics = queue.statistics()
    state.traffic.sends += statistics.sends
    state.traffic.receives += statistics.receives
    state.traffic.bytes_sent += statistics.bytes_sent
    state.traffic.bytes_received += statistics.bytes_received
