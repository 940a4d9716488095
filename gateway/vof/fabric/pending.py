# SPDX-License-Identifier: BSD-3-Clause
"""A command in flight: what was sent, where its answer goes, and how it ended.

One kind of object for both kinds of waiter: a thread blocks on it through its fabric queue, a task
gets a callback. The buffers it lends come back only on completion or after its queue is torn down
(CONTRIBUTING.md): until ``done`` neither ``parts`` nor ``buffers`` may be touched by their owner.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vof.errors import VofError
from vof.wire.stream import Arrival
from vof.wire.structs import Buffer


class Pending:
    """One command from its submission to its end."""

    __slots__ = (
        "arrival",
        "buffers",
        "carriage",
        "command_id",
        "data_bytes",
        "deadline",
        "done",
        "error",
        "first_id",
        "on_done",
        "parts",
        "sequence",
        "submitted_at",
        "tail",
        "what",
    )

    def __init__(
        self,
        what: str,
        command_id: int,
        parts: Sequence[Buffer],
        first_id: int = 0,
        buffers: Sequence[memoryview] = (),
        tail: int = 0,
        on_done: Callable[[Pending], None] | None = None,
    ) -> None:
        self.what = what
        """The command's name, for messages."""
        self.command_id = command_id
        self.parts = parts
        """The bytes of the command, gathered by the fabric; kept so that it can be sent once
        more."""
        self.first_id = first_id
        """Descriptor id of the first device-writable buffer."""
        self.buffers = buffers
        """The device-writable buffers, in the order of their descriptors."""
        self.tail = tail
        """Bytes at their end that every answer has, whatever else was written: a status."""
        self.on_done = on_done
        """Called once, from whichever thread ended the command; must not block."""
        self.deadline: float | None = None
        """``time.monotonic()`` at which the queue is given up for this command's sake."""
        self.data_bytes = 0
        """What it is counted with once it is answered: data, that is no header and no status."""
        self.submitted_at = 0.0
        """``time.monotonic()`` of its submission, where the fabric is Python's."""
        self.carriage: object = None
        """What its transport keeps with the command while it is in flight."""
        self.sequence = 0
        """The order in which commands of a queue in Python were first submitted."""
        self.done = False
        self.arrival: Arrival | None = None
        self.error: VofError | None = None

    def result(self) -> Arrival:
        """Return what arrived for a command that is done. Raises the error that ended it."""
        if self.error is not None:
            raise self.error.again()
        assert self.arrival is not None
        return self.arrival


def data_bytes(readable: Sequence[int], writable: Sequence[int], tail: int) -> int:
    """Return how much of a request is data: all but the header, which is the first device-readable
    descriptor, and the tail."""
    return sum(readable[1:]) + sum(writable) - tail
