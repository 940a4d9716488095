# SPDX-License-Identifier: BSD-3-Clause
"""The signals that ask a supervisor for its end, wherever it is.

Owns that an end is asked for once: the first one breaks into what is being done, and never into the
undoing of it. Must not know what is done.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from vof.gateways.attach.state import END, END_NOW


class Ended(BaseException):
    """A signal has asked for the end; no Exception, so that nothing on the way keeps it."""

    def __init__(self, force: bool) -> None:
        super().__init__()
        self.force = force


class Signals:
    """How END, END_NOW and SIGINT are taken, for the rest of this process's life."""

    def __init__(self, break_off: Callable[[], None]) -> None:
        """``break_off`` is called by an END_NOW that comes while nothing is to be broken into. To
        be made in the process's main thread."""
        self._break_off = break_off
        self._armed = False
        for each in (END, END_NOW, signal.SIGINT):
            signal.signal(each, self._take)

    @contextmanager
    def armed(self) -> Iterator[None]:
        """The first signal raises Ended in here."""
        self._armed = True
        try:
            yield
        finally:
            # One that comes just here still raises Ended; none does behind this.
            self._armed = False

    def _take(self, number: int, _frame: FrameType | None) -> None:
        force = number == END_NOW
        if self._armed:
            self._armed = False
            raise Ended(force)
        if force:
            self._break_off()
