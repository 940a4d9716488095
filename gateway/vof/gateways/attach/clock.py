# SPDX-License-Identifier: BSD-3-Clause
"""Time, as attaching and detaching spend it: passed in, so that a test can have another.

Must not know what is waited for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from vof.errors import VofError


class Clock:
    """The machine's. Seconds throughout."""

    def now(self) -> float:
        """Return the time since some moment in the past; it never goes back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Return after that time."""
        time.sleep(seconds)

    def done_within(self, act: Callable[[], object], seconds: float) -> bool:
        """Return whether ``act`` is done in time; otherwise a thread goes on with it.

        Raises OSError and VofError as it does, if that is in time.
        """
        failures: list[OSError | VofError] = []

        def run() -> None:
            try:
                act()
            except (OSError, VofError) as error:
                failures.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            return False
        if failures:
            raise failures[0]
        return True


CLOCK = Clock()


class Deadline:
    """A moment by which something has to be over, whoever of several does a part of it."""

    def __init__(self, seconds: float, clock: Clock = CLOCK) -> None:
        """``seconds`` from now."""
        self.clock = clock
        self._end = clock.now() + seconds

    def left(self, most: float = float("inf")) -> float:
        """Return the seconds that are left, at least 0 and at most ``most``."""
        return min(most, max(0.0, self._end - self.clock.now()))

    @property
    def is_over(self) -> bool:
        return self.clock.now() >= self._end
