# SPDX-License-Identifier: BSD-3-Clause
"""Decides what becomes of a session, and of its requests in flight, when its association ends.

The one place that is told of both: first of the end, before anybody else notices it, and then by
each connection of what was in flight over it. As it stands the session ends with its association,
and every request fails at once: nothing connects again.

Must not know how an association is made, nor what a request asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vof.errors import VofError
from vof.fabric.interface import InFlight, Queue


class Recovery:
    """A session's, told by its association from any thread."""

    def __init__(self, end_session: Callable[[VofError], None]) -> None:
        self._end_session = end_session

    def ended(self, error: VofError) -> None:
        """The association has ended because of ``error``."""
        self._end_session(error)

    def take(self, queue: Queue, error: VofError, in_flight: Sequence[InFlight]) -> None:
        """A connection has been torn down: nothing touches the buffers of ``in_flight`` any more.
        These are in the order of their submission, and the queue is to ``end`` each of them."""
        for item in in_flight:
            queue.end(item, error)
