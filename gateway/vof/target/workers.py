# SPDX-License-Identifier: BSD-3-Clause
"""The threads of one virtqueue, where ``threads`` says that it works on several requests at a time.

Owns the bound: no more requests are held than there are threads, so that a peer which sends faster
than the disk works waits in its own socket. Must not know what a request is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class Workers(Generic[T]):
    """Calls ``work(item)`` in ``count`` threads, in no certain order. ``work`` must not raise."""

    def __init__(self, count: int, name: str, work: Callable[[T], None]) -> None:
        self._count = count
        self._work = work
        self._items: SimpleQueue[T | None] = SimpleQueue()
        self._free = threading.Semaphore(count)
        self._name = name
        self._threads: list[threading.Thread] = []

    def submit(self, item: T) -> None:
        """Hand over an item; waits while all threads are busy."""
        self._free.acquire()
        if len(self._threads) < self._count:
            thread = threading.Thread(
                target=self._run, name=f"{self._name}-{len(self._threads)}", daemon=True
            )
            thread.start()
            self._threads.append(thread)
        self._items.put(item)

    def finish(self) -> None:
        """Wait until every item is done, and end the threads. Idempotent."""
        for _thread in self._threads:
            self._items.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _run(self) -> None:
        while (item := self._items.get()) is not None:
            self._work(item)
            # An idle thread must not keep the memory of its last request.
            del item
            self._free.release()
