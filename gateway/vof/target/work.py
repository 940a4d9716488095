# SPDX-License-Identifier: BSD-3-Clause
"""Counts the requests done on a connection, and keeps what all of a target's connections have done.

Owns the totals, which outlive the connections they were counted on. A native queue counts for
itself and is asked. Must not know what a request is: the device instance does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from vof.counts import Count, Counts, Tally, add_counts
from vof.target.devices.device import DeviceInstance, Done, Outcome, Request

if TYPE_CHECKING:
    from vof.target import native


class Work:
    """Requests of one connection."""

    def __init__(self) -> None:
        self.native: native.Queue | None = None
        """What serves the connection, if that is native."""
        self._tally = Tally()
        self._lock = threading.Lock()
        self._executing = 0

    def submit(
        self, instance: DeviceInstance, request: Request, done: Done, *, waits: bool = False
    ) -> None:
        """Have the instance execute a request, which is counted; where it ``waits``, how long it
        took is not."""
        kind = instance.kind_of(request)
        with self._lock:
            self._executing += 1
        started = time.monotonic()

        def end(outcome: Outcome) -> None:
            with self._lock:
                self._executing -= 1
            result = None
            if not isinstance(outcome, Exception):
                try:
                    result = instance.result_of(request, outcome)
                except Exception as error:  # noqa: BLE001 - whoever waits is to hear of it
                    outcome = error
            if result is None:
                self._tally.lost(kind)
            else:
                seconds = None if waits else time.monotonic() - started
                self._tally.answered(kind, seconds, result.data_bytes, failed=result.failed)
            done(outcome)

        instance.submit(request, end)

    @property
    def in_flight(self) -> int:
        """Requests being executed at the moment."""
        return self._executing + (self.native.busy() if self.native else 0)

    def counts(self) -> Counts:
        """Return what was done so far."""
        native = self.native
        return add_counts((self._tally.counts(), native.counts() if native else {}))


class QueueWork(NamedTuple):
    """The work of all connections of one virtqueue of a device, whoever they were of."""

    tvqn: str
    queue: int
    connections: int
    """There are now."""
    in_flight: int
    counts: Counts


class Statistics:
    """The work of a target, by device and virtqueue; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._past: dict[tuple[str, int], dict[str, Count]] = {}
        self._present: dict[Work, tuple[str, int]] = {}

    def enter(self, work: Work, tvqn: str, queue: int) -> None:
        """A virtqueue was connected."""
        with self._lock:
            self._present[work] = tvqn, queue

    def leave(self, work: Work) -> None:
        """Its connection is gone, with nothing in progress any more."""
        with self._lock:
            place = self._present.pop(work, None)
            if place is not None:
                self._past[place] = add_counts((self._past.get(place, {}), work.counts()))

    def read(self) -> Iterable[QueueWork]:
        """Return the work at each virtqueue that was ever connected."""
        with self._lock:
            present: dict[tuple[str, int], list[Work]] = {}
            for work, place in self._present.items():
                present.setdefault(place, []).append(work)
            return [
                QueueWork(
                    *place,
                    connections=len(present.get(place, ())),
                    in_flight=sum(work.in_flight for work in present.get(place, ())),
                    counts=add_counts(
                        (
                            self._past.get(place, {}),
                            *(work.counts() for work in present.get(place, ())),
                        )
                    ),
                )
                for place in sorted({*self._past, *present})
            ]
