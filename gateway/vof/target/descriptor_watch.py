# SPDX-License-Identifier: BSD-3-Clause
"""Waits for a backend's file descriptor, in a thread that does nothing else.

Owns that thread, and that it ends. For backends whose bytes come from outside, such as a
terminal's. Must not know what the descriptor is, nor any connection.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from collections.abc import Callable

from vof.logline import describe, event


class DescriptorWatch:
    """Tells when a descriptor can be read or written. It has to outlive this."""

    def __init__(self, fd: int, name: str) -> None:
        """``name`` is the thread's. Raises OSError."""
        self._fd = fd
        self._name = name
        self._thread: threading.Thread | None = None
        with contextlib.ExitStack() as stack:
            self._end = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            stack.callback(os.close, self._end)
            self._poll = stack.enter_context(select.epoll())
            self._poll.register(self._end, select.EPOLLIN)
            self._poll.register(fd, select.EPOLLONESHOT)
            self._stack = stack.pop_all()

    def begin(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` from now on when what is waited for has come. Raises RuntimeError."""
        thread = threading.Thread(target=self._run, args=(changed,), name=self._name, daemon=True)
        thread.start()
        self._thread = thread

    def wait_for(self, *, reading: bool, writing: bool) -> None:
        """Say what is waited for: it is told of once. From any thread."""
        events = select.EPOLLIN * reading | select.EPOLLOUT * writing
        self._poll.modify(self._fd, events | select.EPOLLONESHOT)

    def close(self) -> None:
        """Let the thread end, and wait for it. Idempotent."""
        if self._thread:
            os.eventfd_write(self._end, 1)
            self._thread.join()
            self._thread = None
        self._stack.close()

    def _run(self, changed: Callable[[], None]) -> None:
        while self._end not in {fd for fd, _events in self._poll.poll()}:
            try:
                changed()
            except Exception as error:  # noqa: BLE001 - what is watched is to go on
                event(logging.ERROR, "internal-error", reason=describe(error))
