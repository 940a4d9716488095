# SPDX-License-Identifier: BSD-3-Clause
"""The pace at which the rng device gives bytes: its rate limit, and the waiting that comes of it.

Owns all waiting of the device, ended at once by ``stop``: where the limit leaves nothing, and where
the source has nothing. A request has no time (virtio 1.2 §5.4.6): it waits as long as its
association lives, holds its queue's thread and nobody else's, and a source that lets it wait long
is told of. Must not know virtio, nor where bytes come from.

The limit is one for all initiators of a device, at most so many bytes in a period; the first
request after a period begins the next one (ours, after libvirt's ``bytes`` and ``period``). Where
it is in force requests are served in the order they came, so that a greedy initiator cannot keep
the others from their turn.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition

from vof.target.devices.device import Unanswered

PATIENCE = 20.0
"""Seconds for which the source has nothing before that is told."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.1


class Clock:
    """Time as it passes."""

    def now(self) -> float:
        """Return seconds since some moment."""
        return time.monotonic()

    def wait(self, changed: Condition, until: Callable[[], bool], seconds: float | None) -> None:
        """Wait until ``until`` is true or the time is over. ``changed`` is held."""
        changed.wait_for(until, seconds)


class RateLimit:
    """At most ``amount`` bytes in each ``period`` seconds. For one thread at a time."""

    def __init__(self, amount: int, period: float) -> None:
        self.amount = amount
        self.period = period
        self._left = amount
        self._end = float("-inf")

    def grant(self, wanted: int, now: float) -> int:
        """Return how many of ``wanted`` bytes may be given; 0 until the next period."""
        if now >= self._end:
            self._left = self.amount
            self._end = now + self.period
        granted = min(wanted, self._left)
        self._left -= granted
        return granted

    def give_back(self, count: int) -> None:
        """Take back what was granted and not used."""
        self._left = min(self.amount, self._left + count)

    def until_next(self, now: float) -> float:
        """Return the seconds until the next period."""
        return max(0.0, self._end - now)


class Waiter:
    """One association, whose requests may be waiting."""

    stopped = False


class Pace:
    """Reads from sources no faster than allowed, and waits where there is nothing."""

    def __init__(
        self,
        limit: RateLimit | None,
        clock: Clock | None = None,
        on_dry: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_dry`` is called for a request that waits for the source longer than ``PATIENCE``."""
        self._limit = limit
        self._clock = clock or Clock()
        self._on_dry = on_dry
        self._changed = Condition()
        self._line: deque[object] = deque()

    def stop(self, waiter: Waiter) -> None:
        """End all waiting of one association, now and from now on."""
        with self._changed:
            waiter.stopped = True
            self._changed.notify_all()

    def fill(self, waiter: Waiter, buffer: memoryview, read: Callable[[memoryview], int]) -> int:
        """Fill ``buffer`` from its beginning by ``read``; return how much, at least 1 byte.

        Raises Unanswered, and what ``read`` raises.
        """
        if self._limit is None:
            return self._fill(waiter, buffer, read)
        with self._turn(waiter):
            return self._fill(waiter, buffer, read)

    @contextmanager
    def _turn(self, waiter: Waiter) -> Iterator[None]:
        """Wait for those who came before."""
        place = object()
        with self._changed:
            self._line.append(place)
        try:
            self._wait(waiter, lambda: self._line[0] is place, None)
            yield
        finally:
            with self._changed:
                self._line.remove(place)
                self._changed.notify_all()

    def _fill(self, waiter: Waiter, buffer: memoryview, read: Callable[[memoryview], int]) -> int:
        limit, now = self._limit, self._clock.now
        tell_at: float | None = None
        pause = _FIRST_PAUSE
        while True:
            granted = limit.grant(len(buffer), now()) if limit else len(buffer)
            if granted:
                count = read(buffer[:granted])
                if limit:
                    limit.give_back(granted - count)
                if count:
                    return count
                if tell_at is None:
                    tell_at = now() + PATIENCE
                elif now() >= tell_at:
                    tell_at = float("inf")
                    self._on_dry()
                delay, pause = pause, min(2 * pause, _LONGEST_PAUSE)
            else:
                assert limit is not None
                delay = limit.until_next(now())
            self._wait(waiter, lambda: False, delay)

    def _wait(self, waiter: Waiter, until: Callable[[], bool], seconds: float | None) -> None:
        with self._changed:
            self._clock.wait(self._changed, lambda: waiter.stopped or until(), seconds)
            if waiter.stopped and not until():
                raise Unanswered("waiting for random bytes")
