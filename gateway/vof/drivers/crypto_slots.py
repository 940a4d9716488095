# SPDX-License-Identifier: BSD-3-Clause
"""Spreads requests over virtqueues: each goes to the queue with the fewest in flight.

Owns how many a queue may have; must not know what they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Condition

from vof.initiator.virtqueue import Virtqueue


class Slots:
    """Places for requests in some virtqueues, of any thread.

    Each queue has as many as it holds requests of ``descriptors`` descriptors, at least one and at
    most ``most``.
    """

    def __init__(
        self, queues: Sequence[Virtqueue], descriptors: int, most: int | None = None
    ) -> None:
        self._changed = Condition()
        self._free: dict[Virtqueue, int] = {}
        for queue in queues:
            room = max(1, queue.depth(descriptors))
            self._free[queue] = room if most is None else min(room, most)
        self.total = sum(self._free.values())
        """All of the places."""

    def take(self, *, wait: bool) -> Virtqueue | None:
        """Return a queue with a place, now taken. Without any: waits, or returns None."""
        with self._changed:
            while True:
                queue = max(self._free, key=self._free.__getitem__)
                if self._free[queue]:
                    self._free[queue] -= 1
                    return queue
                if not wait:
                    return None
                self._changed.wait()

    def give(self, queue: Virtqueue) -> None:
        """Give a place back."""
        with self._changed:
            self._free[queue] += 1
            self._changed.notify()
