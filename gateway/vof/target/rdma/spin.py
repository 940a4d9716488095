# SPDX-License-Identifier: BSD-3-Clause
"""Decides whether a thread with nothing to do looks again at once, or sleeps until it is woken.

To be woken costs more than a short wait. So as long as waits are short there is no sleeping, and a
wait that turns out to be a long one is slept through but for its beginning. Owns what is short.
Must not know what is waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable

LIMIT = 400e-6
"""Seconds that a short wait has at most."""


class Spin:
    """The waits of one thread: each is taken to be as the one before it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None
        self._short = False

    def found(self) -> None:
        """There was something to do."""
        if self._since is not None:
            # Twice: that of a sleeper is longer by what waking it costs.
            self._short = self._clock() - self._since < 2 * LIMIT
            self._since = None

    def again(self) -> bool:
        """There is nothing to do: return whether to look again at once."""
        now = self._clock()
        if self._since is None:
            self._since = now
        return self._short and now - self._since < LIMIT
