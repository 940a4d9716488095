# SPDX-License-Identifier: BSD-3-Clause
"""The requests of one virtqueue while its device has them, the same over every transport.

Owns how many there may be and in what order they begin, as the device's policy for the queue says;
the threads, where it blocks and the configuration wants several; and the way back: whoever says
that a request is done, its outcome is taken by the one thread that serves the queue. So no thread
of a device ever waits for a peer. Must not know how a request came.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from vof.target.association import ConnectedQueue
from vof.target.devices.device import Outcome, Request
from vof.target.workers import Workers

T = TypeVar("T")


class Execution(Generic[T]):
    """The requests of one queue. ``T`` is what its transport knows one by.

    All of it belongs to the thread that serves the queue.
    """

    def __init__(
        self, connected: ConnectedQueue, *, threads: int, name: str, wake: Callable[[], None]
    ) -> None:
        """``threads`` may be 0 for what suits the queue. ``wake`` is called by other threads when
        there is something to take."""
        assert connected.index is not None
        association = connected.association
        policy = association.device.policy(connected.index)
        self._instance = association.instance
        self._work = connected.work
        self._wake = wake
        self._policy = policy
        self._workers: Workers[Request] | None = None
        if policy.blocks and not policy.ordered and threads > 1:
            self._workers = Workers(threads, name, self._begin)
        self.is_direct = policy.blocks and not self._workers
        """True where ``submit`` returns with the request done, and ``wake`` is never called."""
        self._width = 1
        """Requests that the device may have at a time."""
        if self._workers:
            self._width = threads
        elif not (policy.blocks or policy.ordered):
            self._width = association.queue_sizes[connected.index]
        self._changed = threading.Condition()
        self._owner = 0
        self._items: dict[Request, T] = {}
        self._executed: set[Request] = set()
        """Those of them that are not done."""
        self._done: deque[tuple[Request, Outcome]] = deque()

    @property
    def busy(self) -> bool:
        """True while there is a request that was not taken back."""
        return bool(self._items)

    @property
    def has_room(self) -> bool:
        """True where one more may be submitted."""
        return len(self._items) < self._width

    @property
    def may_wait(self) -> bool:
        """True where a request may wait for ever, so that an end is not to wait for it."""
        return self._policy.waits

    def submit(self, item: T, request: Request) -> None:
        """Have the device execute a request; there is room."""
        assert self.has_room
        self._owner = threading.get_ident()
        self._items[request] = item
        self._executed.add(request)
        if self._workers:
            self._workers.submit(request)
        else:
            self._begin(request)

    def take(self) -> tuple[T, Request, int] | None:
        """Return a request that is done and the bytes that were written for it; None where there is
        none. Raises what one has failed with."""
        if not self._done:
            return None
        request, outcome = self._done.popleft()
        item = self._items.pop(request)
        if isinstance(outcome, Exception):
            raise outcome
        return item, request, outcome

    def cancel(self) -> None:
        """Have requests given up that wait; the others go on."""
        for request in list(self._items):
            self._instance.cancel(request)

    def finish(self) -> None:
        """Cancel, and wait until the device has none; what is not taken is lost. Idempotent."""
        self.cancel()
        with self._changed:
            self._changed.wait_for(lambda: not self._executed)
        if self._workers:
            self._workers.finish()

    def _begin(self, request: Request) -> None:
        end = partial(self._end, request)
        try:
            self._work.submit(self._instance, request, end, waits=self._policy.waits)
        except Exception as error:  # noqa: BLE001 - a mistake of the device's: it ends here
            end(error)

    def _end(self, request: Request, outcome: Outcome) -> None:
        with self._changed:
            if request not in self._executed:
                return
            self._executed.discard(request)
            self._done.append((request, outcome))
            if threading.get_ident() != self._owner:
                # Under the lock: once it is released, what is to be woken may be gone.
                self._wake()
            self._changed.notify_all()
