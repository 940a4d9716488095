# SPDX-License-Identifier: BSD-3-Clause
"""A queue's command ids, and its room.

A virtqueue of size N holds N descriptors (virtio 1.2 §2.7), so that many may be in flight, whatever
number of requests they belong to; in *v5*, where there are none, N commands ("Connect Command").
Which of them is counted, the caller knows. Command ids are unique in flight and stay under the
reserved range (*v2*, "Command ID"); the lowest free one is taken, since some targets answer every
command with the lowest.
"""

from __future__ import annotations

from heapq import heappop, heappush
from threading import Condition

from vof.wire.constants import MAX_COMMAND_ID


class Room:
    """Ids and room of ``size`` for at most ``commands`` commands, from any thread."""

    def __init__(self, size: int, commands: int = MAX_COMMAND_ID + 1) -> None:
        self._changed = Condition()
        self._size = self._free = min(size, MAX_COMMAND_ID + 1)
        self._commands = commands
        self._free_ids: list[int] = []
        self._next_id = 0
        self.waiting = 0
        """Threads that wait for room."""

    def resize(self, size: int) -> None:
        """Hold ``size`` from now on."""
        size = min(size, MAX_COMMAND_ID + 1)
        with self._changed:
            self._free += size - self._size
            self._size = size
            self._changed.notify_all()

    def take(self, room: int, *, wait: bool) -> int | None:
        """Return the lowest free id, with so much room; see ``interface.Queue``."""
        with self._changed:
            while self._free < room or not self._commands:
                if not wait:
                    return None
                self.waiting += 1
                self._changed.wait()
                self.waiting -= 1
            self._free -= room
            self._commands -= 1
            if self._free_ids:
                return heappop(self._free_ids)
            self._next_id += 1
            return self._next_id - 1

    def give_back(self, command_id: int, room: int) -> None:
        """Free an id and its room."""
        with self._changed:
            heappush(self._free_ids, command_id)
            self._free += room
            self._commands += 1
            self._changed.notify_all()
