# SPDX-License-Identifier: BSD-3-Clause
"""Takes the signals that ask a supervisor for its end, wherever that is in its work.

Owns that an end is asked for once: the first one breaks into what is being done, and never into the
undoing of it. One that came before, held back since there was something to undo, is taken as well.
Must not know what is done.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from vof.gateways.attach.state import END, END_NOW
from vof.program import Interrupted

_ASKED_BY = (END, END_NOW)
_ENDING = (*_ASKED_BY, signal.SIGINT, signal.SIGHUP)


def hold_back() -> None:
    """Have the signals wait until there are Signals, and those are armed."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)


class Ended(Interrupted):
    """A signal has asked for the end."""

    def __init__(self, number: int) -> None:
        # To die of SIGQUIT would leave a core.
        super().__init__(END if number == END_NOW else number)
        self.force = number == END_NOW
        """Whether nothing is to be waited for."""


class Signals:
    """Takes END, END_NOW, SIGINT and SIGHUP, for the rest of this process's life."""

    def __init__(self, break_off: Callable[[], None]) -> None:
        """``break_off`` is called by an END_NOW that comes while nothing is to be broken into. To
        be made in the process's main thread."""
        self._break_off = break_off
        self._armed = False
        for each in _ENDING:
            # Nor is one heeded that is not to be: in the background, or by nohup(1). But SIGQUIT is
            # what we are asked by; that a shell ignores it in the background is for a terminal's.
            if each in _ASKED_BY or signal.getsignal(each) is not signal.SIG_IGN:
                signal.signal(each, self._take)

    @contextmanager
    def armed(self) -> Iterator[None]:
        """The first signal raises Ended in here."""
        self._armed = True
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
            yield
        finally:
            # One that comes just here still raises Ended; none does behind this.
            self._armed = False

    def _take(self, number: int, _frame: FrameType | None) -> None:
        if self._armed:
            self._armed = False
            raise Ended(number)
        if number == END_NOW:
            self._break_off()
