# SPDX-License-Identifier: BSD-3-Clause
"""Leader and followers: of those who wait on one connection, one at a time receives for all.

At depth 1 the thread that waits is the one that reads the socket, so no request pays for a
hand-over between threads. Owns who leads and who sleeps; must not know what is received or how.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from vof.fabric.pending import Pending

_KEPT_TICK = 0.05


class Leadership:
    """Shared by the waiters of one connection, threads and tasks alike.

    ``receive`` is called by a thread that leads, and returns once something may have been completed
    or a short time has passed. ``expired`` is called for a pending whose deadline has passed; it
    must make ``receive`` end every pending soon.
    """

    def __init__(self, receive: Callable[[], None], expired: Callable[[Pending], None]) -> None:
        self._receive = receive
        self._expired = expired
        self._mutex = Lock()
        self._leading = False
        self._followers: dict[Pending, Callable[[], None]] = {}
        self._heir: Pending | None = None
        """Who was given the lead and has not taken it yet."""
        self.led = self.followed = 0
        """Waits that took the lead at once, and those that did not."""

    def wait(self, pending: Pending) -> None:
        """Block until ``pending`` is done, leading or following."""
        wake = Lock()
        wake.acquire()
        if not self.lead_or_follow(pending, wake.release):
            try:
                self._sleep(pending, wake)
            except BaseException:
                self._leave(pending)
                raise
            if not self.leads(pending):
                return
        try:
            while not pending.done:
                self._receive()
                if not pending.done:
                    self.check_deadline(pending)
        finally:
            self.release()

    def lead_or_follow(self, pending: Pending, wake: Callable[[], None]) -> bool:
        """Return True if the caller leads now. If not, ``wake`` is called once, from any thread.

        Then the pending is either done, or the caller leads. One that is done already is neither
        led nor followed: False, and ``wake`` is called at once.
        """
        with self._mutex:
            if pending.done:
                wake()
                return False
            if self._leading:
                self._followers[pending] = wake
                self.followed += 1
                return False
            self._leading = True
            self.led += 1
            return True

    def leads(self, pending: Pending) -> bool:
        """Return whether one that was woken has the lead; False where it is done.

        It may be done although it was given the lead, by who kept it when the connection was lost.
        """
        with self._mutex:
            leads = self._heir is pending
            if leads:
                self._heir = None
        if leads and pending.done:
            self.release()
            return False
        return leads

    def try_lead(self) -> bool:
        """Take the lead if nobody has it; the caller must ``release`` it."""
        with self._mutex:
            if self._leading:
                return False
            self._leading = True
            return True

    def release(self) -> None:
        """Give up the lead; one of the followers has it next."""
        with self._mutex:
            for pending, wake in self._followers.items():
                del self._followers[pending]
                self._heir = pending
                wake()
                return
            self._leading = False

    @property
    def leading(self) -> bool:
        """True while somebody leads."""
        return self._leading

    @property
    def followers(self) -> int:
        """The number of those who wait for another to receive."""
        return len(self._followers)

    def finish(self, pending: Pending) -> None:
        """Mark a pending as done and wake its waiter. Its arrival or error is already set."""
        with self._mutex:
            pending.done = True
            wake = self._followers.pop(pending, None)
        if wake is not None:
            wake()
        if pending.on_done is not None:
            pending.on_done(pending)

    def check_deadline(self, pending: Pending) -> None:
        """Give up the connection if the pending's deadline has passed."""
        if pending.deadline is not None and time.monotonic() >= pending.deadline:
            self._expired(pending)

    def _sleep(self, pending: Pending, wake: Lock) -> None:
        if pending.deadline is None:
            wake.acquire()
            return
        while not wake.acquire(timeout=_patience(pending)):
            deadline = pending.deadline
            if deadline is not None and time.monotonic() >= deadline:
                # Once. The buffers stay lent until the leader has let go of them.
                pending.deadline = None
                self._expired(pending)

    def _leave(self, pending: Pending) -> None:
        """Follow no longer, because of an exception. The lead may have come just before it."""
        with self._mutex:
            self._followers.pop(pending, None)
            leads = self._heir is pending
            if leads:
                self._heir = None
        if leads:
            self.release()


def _patience(pending: Pending) -> float:
    """Return how long a follower sleeps before it looks at its deadline.

    While it has none it is kept for another connection, and gets its next one with that.
    """
    if pending.deadline is None:
        return _KEPT_TICK
    return max(0.0, pending.deadline - time.monotonic())
