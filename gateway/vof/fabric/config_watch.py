# SPDX-License-Identifier: BSD-3-Clause
"""Watches an idle control queue for what the target says unasked (*v2*, "Command ID").

Owns one thread for each session that wants to know of config changes; where the dialect has no such
events there is none. It also notices at once that the control queue's connection has ended. Must
not know what changed: whoever watches reads the config again.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable

from vof.descriptors import explain
from vof.errors import ConnectError, VofError
from vof.fabric.interface import Queue

_PAUSE = 10
"""Milliseconds between looks while another thread receives from the queue."""


class ConfigWatch:
    """Calls ``changed`` in a thread of its own after each config change; errors of the session that
    it raises are the session's to report."""

    def __init__(self, queue: Queue, changed: Callable[[], None]) -> None:
        """Raises ConnectError."""
        self._queue = queue
        self._changed = changed
        self._seen = 0
        try:
            # What changed while nobody watched may have been read before it did.
            self._wake = os.eventfd(queue.config_changes, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except OSError as error:
            raise ConnectError(f"{queue.name}: {explain(error)}", errno=error.errno) from None
        self._lock = threading.Lock()
        self._stopping = False
        self._gone = False
        self._thread = threading.Thread(target=self._run, name="vof-config-watch", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look whether an event has come; from any thread."""
        with self._lock:
            if not self._gone:
                os.eventfd_write(self._wake, 1)

    def stop(self) -> None:
        """End the thread, and wait for it unless it is the caller. Idempotent."""
        self._stopping = True
        self.wake()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        poller.register(self._queue.fileno(), select.POLLIN)
        while not self._stopping and self._queue.error is None:
            poller.poll()
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wake)
            if self._stopping:
                break
            self._queue.look()
            if self._queue.config_changes != self._seen:
                self._tell()
            elif self._queue.activity().leading:
                # Another thread receives: what made the descriptor readable is its.
                select.poll().poll(_PAUSE)
        with self._lock:
            self._gone = True
            os.close(self._wake)

    def _tell(self) -> None:
        self._seen = self._queue.config_changes
        with contextlib.suppress(VofError):
            self._changed()
