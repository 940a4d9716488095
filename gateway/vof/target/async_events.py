# SPDX-License-Identifier: BSD-3-Clause
"""Asynchronous events on their way to one initiator (*v5* "Events"; *v2*, "Command ID").

Owns what waits to be sent: each kind of event once, the latest, however often it is posted, so
that a peer that takes nothing costs nothing. Whoever posts never waits; the thread that serves the
control queue polls ``fileno`` beside its connection and sends what it takes. Must not know how.
"""

from __future__ import annotations

import os
import threading

from vof.wire.constants import AsyncEvent


class Mailbox:
    """The events of one control queue."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._posted: dict[AsyncEvent, bytes] = {}
        self._wake = -1
        self._closed = False

    def open(self) -> None:
        """Make the descriptor that says that something waits. Raises OSError."""
        with self._lock:
            self._wake = os.eventfd(len(self._posted), os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        """Return the descriptor, readable while something waits. Only after ``open``."""
        return self._wake

    def post(self, event: AsyncEvent, completion: bytes) -> None:
        """Have the completion that says an event sent. From any thread, at any time, closed or
        not."""
        with self._lock:
            if self._closed:
                return
            known = event in self._posted
            self._posted[event] = completion
            if self._wake >= 0 and not known:
                os.eventfd_write(self._wake, 1)

    def take(self) -> bytes:
        """Return the completions that are to be sent; the descriptor is not readable any more."""
        with self._lock:
            posted, self._posted = self._posted, {}
            if posted:
                os.eventfd_read(self._wake)
        return b"".join(posted.values())

    def close(self) -> None:
        """Forget everything; what is posted later is dropped. Idempotent."""
        with self._lock:
            self._closed = True
            self._posted = {}
            if self._wake >= 0:
                os.close(self._wake)
                self._wake = -1
