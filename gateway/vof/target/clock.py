# SPDX-License-Identifier: BSD-3-Clause
"""The time of a target: calls that are to be made later.

One service for all that waits for time to pass, in place of a thread for each. Owns the threads,
which begin with the first call that is asked for. There is more than one, so that a call that hangs
(a disk that is asked for its size) holds up no other. Must not know what is called.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

from vof.logline import describe, event

THREADS = 2


class Timer:
    """A call that is to be made."""

    def __init__(self, clock: Clock, call: Callable[[], object]) -> None:
        self.call = call
        self._clock = clock

    def cancel(self) -> None:
        """Have it not made, unless it is being made, or was."""
        self._clock.forget(self)


class Clock:
    """Makes calls when it is time. Used by any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._threads: list[threading.Thread] = []
        self._stopped = False

    def now(self) -> float:
        """Return seconds since some moment."""
        return time.monotonic()

    def after(self, seconds: float, call: Callable[[], object]) -> Timer:
        """Have ``call`` made in so many seconds, by a thread of this clock. It must not wait for a
        peer. Never, where the clock is stopped before."""
        timer = Timer(self, call)
        with self._changed:
            heapq.heappush(self._timers, (self.now() + seconds, next(self._numbers), timer))
            if not self._threads and not self._stopped:
                self._begin()
            if self._timers[0][2] is timer:
                self._changed.notify_all()
        return timer

    def forget(self, timer: Timer) -> None:
        """Make no call for ``timer``, if it is still to be made."""
        with self._changed:
            rest = [item for item in self._timers if item[2] is not timer]
            if len(rest) < len(self._timers):
                self._timers = rest
                heapq.heapify(rest)

    def stop(self, timeout: float) -> None:
        """Make no more calls. Waits for those that are being made, but no longer than so."""
        with self._changed:
            self._stopped = True
            self._timers.clear()
            self._changed.notify_all()
        until = self.now() + timeout
        for thread in self._threads:
            thread.join(max(0.0, until - self.now()))

    def _begin(self) -> None:
        for number in range(THREADS):
            thread = threading.Thread(target=self._run, name=f"vof-clock-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _run(self) -> None:
        while timer := self._next():
            try:
                timer.call()
            except Exception as error:  # noqa: BLE001 - others have something to be called, too
                event(logging.ERROR, "internal-error", reason=describe(error))

    def _next(self) -> Timer | None:
        """Wait for the next call; None where there will be none."""
        with self._changed:
            while not self._stopped:
                left = self._timers[0][0] - self.now() if self._timers else None
                if left is not None and left <= 0:
                    return heapq.heappop(self._timers)[2]
                self._changed.wait(left)
            return None
