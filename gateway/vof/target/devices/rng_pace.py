# SPDX-License-Identifier: BSD-3-Clause
"""The pace at which the rng device gives bytes: its rate limit, and the waiting that comes of it.

Owns which requests wait: those whom the limit leaves nothing, and those for whom the source has
nothing. A request has no time (virtio 1.2 §5.4.6): it waits until it is cancelled, holds no thread,
and a source that lets it wait long is told of. Must not know virtio, nor where bytes come from.

The limit is one for all initiators of a device, at most so many bytes in a period; the first
request after a period begins the next one (ours, after libvirt's ``bytes`` and ``period``). Where
it is in force requests are served in the order they came, so that a greedy initiator cannot keep
the others from their turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock

from vof.target.clock import Clock, Timer
from vof.target.devices.device import Cancelled, Done, Outcome

PATIENCE = 20.0
"""Seconds for which the source has nothing before that is told."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.1


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


class Turn:
    """One request: room to be filled, and what it has waited for. All but the first three belongs
    to ``Pace``."""

    def __init__(self, buffer: memoryview, read: Callable[[memoryview], int], done: Done) -> None:
        """``done`` is told of how many bytes were read into the beginning of ``buffer``, 1 at
        least; of what ``read`` raised; or of Cancelled."""
        self.buffer = buffer
        self.read = read
        self.done = done
        self.timer: Timer | None = None
        self.pause = _FIRST_PAUSE
        self.tell_at: float | None = None
        self.reading = False
        self.cancelled = False
        self.over = False


class Pace:
    """Reads from sources no faster than allowed, and again later where there is nothing."""

    def __init__(
        self, limit: RateLimit | None, clock: Clock, on_dry: Callable[[], None] = lambda: None
    ) -> None:
        """``on_dry`` is called for a request that waits for the source longer than ``PATIENCE``."""
        self._limit = limit
        self._clock = clock
        self._on_dry = on_dry
        self._lock = Lock()
        self._line: deque[Turn] = deque()

    def begin(self, turn: Turn) -> None:
        """Let a turn have its bytes: at once, or when those before it have had theirs."""
        if self._limit:
            with self._lock:
                self._line.append(turn)
                if self._line[0] is not turn:
                    return
        self._go_on(turn)

    def cancel(self, turn: Turn) -> None:
        """Give a turn up, unless there are bytes for it."""
        with self._lock:
            turn.cancelled = True
            if turn.over or turn.reading:
                return
            following = self._end(turn)
        turn.done(Cancelled("waiting for random bytes"))
        self._go_on(following)

    def _go_on(self, turn: Turn | None) -> None:
        """Go on with a turn as far as it goes, and with those behind it."""
        while turn:
            outcome = self._read(turn)
            if outcome is None:
                return
            with self._lock:
                following = self._end(turn)
            turn.done(outcome)
            turn = following

    def _read(self, turn: Turn) -> Outcome | None:
        """Read once; return the turn's outcome, None where it has to wait."""
        granted = self._grant(turn)
        if not granted:
            return None
        count: Outcome
        try:
            count = turn.read(turn.buffer[:granted])
        except Exception as error:  # noqa: BLE001 - what it ends is not decided here
            count = error
        return self._judge(turn, granted, count)

    def _grant(self, turn: Turn) -> int:
        """Return how many bytes a turn may read now; 0 where it has to wait, or is over."""
        with self._lock:
            if turn.over:
                return 0
            granted = size = len(turn.buffer)
            if self._limit:
                granted = self._limit.grant(size, self._clock.now())
                if not granted:
                    self._wait(turn, self._limit.until_next(self._clock.now()))
            turn.reading = granted > 0
            return granted

    def _judge(self, turn: Turn, granted: int, count: Outcome) -> Outcome | None:
        """Return the outcome of what was read; None where it was nothing, and is to be read again
        later."""
        dry = False
        with self._lock:
            turn.reading = False
            if self._limit:
                self._limit.give_back(granted - (count if isinstance(count, int) else 0))
            if count:
                return count
            if turn.cancelled:
                return Cancelled("waiting for random bytes")
            now = self._clock.now()
            if turn.tell_at is None:
                turn.tell_at = now + PATIENCE
            elif now >= turn.tell_at:
                turn.tell_at = float("inf")
                dry = True
            self._wait(turn, turn.pause)
            turn.pause = min(2 * turn.pause, _LONGEST_PAUSE)
        if dry:
            self._on_dry()
        return None

    def _wait(self, turn: Turn, seconds: float) -> None:
        turn.timer = self._clock.after(seconds, lambda: self._go_on(turn))

    def _end(self, turn: Turn) -> Turn | None:
        """The turn is over; return whose it is now. The lock is held."""
        turn.over = True
        if turn.timer:
            turn.timer.cancel()
        if not self._limit:
            return None
        first = self._line[0] is turn
        self._line.remove(turn)
        return self._line[0] if first and self._line else None
