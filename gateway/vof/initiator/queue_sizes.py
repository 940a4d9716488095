# SPDX-License-Identifier: BSD-3-Clause
"""The virtqueues of a device: their number and their sizes.

*proposal* and *v2* say how many there are; in *v5* a size is asked for, and one virtqueue too far
is refused. Owns what was asked already. Must not know a device type, whose config space may say the
number, too.
"""

from __future__ import annotations

from vof.errors import CompletionError
from vof.initiator.control import ControlQueue
from vof.wire.constants import Command
from vof.wire.dialect import Dialect
from vof.wire.status import Reason

_MOST = 1 << 16
"""A virtqueue's index has 16 bits."""


class QueueSizes:
    """The virtqueues of one device. Asks the target; raises as ``ControlQueue``."""

    def __init__(self, control: ControlQueue, dialect: Dialect) -> None:
        self._control = control
        self._no_queue = dialect.status_of(Reason.NO_SUCH_QUEUE)
        self._count = control.get_num_queues() if dialect.has(Command.GET_NUM_QUEUES) else None
        self._sizes: dict[int, int | None] = {}

    def size(self, index: int) -> int | None:
        """Return the size of a virtqueue, None where there is none of that index."""
        if self._count is not None and index >= self._count:
            return None
        if index not in self._sizes:
            try:
                self._sizes[index] = self._control.get_queue_size(index)
            except CompletionError as error:
                if self._count is not None or error.status != self._no_queue:
                    raise
                self._sizes[index] = None
        return self._sizes[index]

    def has(self, index: int) -> bool:
        """Return whether there is a virtqueue of that index."""
        if self._count is not None:
            return index < self._count
        return self.size(index) is not None

    def up_to(self, most: int) -> int:
        """Return how many virtqueues there are, or ``most`` if there are more."""
        if self._count is not None:
            return min(self._count, most)
        return next((index for index in range(most) if not self.has(index)), most)

    def count(self) -> int:
        """Return how many virtqueues there are."""
        if self._count is None:
            beyond = 1
            while beyond < _MOST and self.has(beyond - 1):
                beyond *= 2
            first = beyond // 2
            while first < beyond:
                middle = (first + beyond) // 2
                if self.has(middle):
                    first = middle + 1
                else:
                    beyond = middle
            self._count = first
        return self._count
