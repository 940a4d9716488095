# SPDX-License-Identifier: BSD-3-Clause
"""A virtqueue: requests that keep to the queue's size, over one fabric queue after another.

The command ids and the room are the fabric queue's, which an engine may use besides. Must not know
what a request asks for, nor how it travels.
"""

from __future__ import annotations

from collections.abc import Sequence

from vof.errors import CompletionError, LocalProtocolError
from vof.fabric.interface import Queue
from vof.fabric.pending import Pending
from vof.wire.constants import MAX_COMMAND_ID
from vof.wire.dialect import Dialect
from vof.wire.framing import room_of
from vof.wire.stream import Arrival
from vof.wire.structs import Buffer


class Virtqueue:
    """A virtqueue as drivers have it: requests from any thread."""

    def __init__(
        self,
        index: int,
        size: int,
        fabric: Queue,
        dialect: Dialect,
        timeout: float | None = None,
    ) -> None:
        self.index = index
        self.size = min(size, MAX_COMMAND_ID + 1)
        """Descriptors that may be in flight; commands in *v5*."""
        self.timeout = timeout
        """Seconds that a request may take, None for ever."""
        self._dialect = dialect
        self._sent: dict[Pending, Queue] = {}
        """Requests in flight, each with the fabric queue that has it."""
        self.go_over(fabric)

    def go_over(self, fabric: Queue) -> None:
        """Send over ``fabric`` from now on. Requests that were sent before stay with the fabric
        queue that has them."""
        fabric.resize(self.size)
        fabric.set_timeout(self.timeout)
        self.fabric = fabric

    @property
    def max_descriptors(self) -> int:
        """Descriptors that one request may have for it to fit."""
        return self.size if self._dialect.framing.has_descriptors else MAX_COMMAND_ID

    def depth(self, descriptors: int) -> int:
        """Return how many requests of so many descriptors fit at a time."""
        return self.size // room_of(self._dialect.framing, descriptors)

    def submit(
        self,
        what: str,
        readable: Sequence[int],
        payload: Sequence[Buffer],
        writable: Sequence[memoryview],
        tail: int = 0,
        *,
        wait: bool = True,
        counted: bool = False,
    ) -> Pending | None:
        """Send a request and return it in flight; see ``fabric.interface.Queue.prepare``.

        ``payload`` and ``writable`` are lent until it is done.

        Raises LocalProtocolError for more descriptors than the queue holds, SessionLost if it has
        ended.
        """
        room = room_of(self._dialect.framing, len(readable) + len(writable))
        if room > self.size:
            raise LocalProtocolError(
                f"{what} takes {room} descriptors; the virtqueue holds {self.size}"
            )
        fabric = self.fabric
        pending = fabric.prepare(
            what, readable, payload, writable, tail, wait=wait, counted=counted
        )
        if pending is None:
            return None
        try:
            fabric.submit(pending)
        except BaseException:
            fabric.release(pending)
            raise
        self._sent[pending] = fabric
        return pending

    def refusal(self, what: str, status: int) -> CompletionError:
        """Return the error for a request that was completed with a status other than 0."""
        return self._dialect.refused(what, status)

    def wait(self, pending: Pending) -> Arrival:
        """Return what arrived for a command of ours. Raises SessionLost if the queue ended under
        it."""
        fabric = self._sent.pop(pending)
        try:
            return fabric.wait(pending)
        finally:
            fabric.release(pending)

    async def wait_in_task(self, pending: Pending) -> Arrival:
        """Await what arrived for a command of ours, from a trio task; as ``wait``."""
        from vof.fabric.tasks import wait_in_task  # noqa: PLC0415 - who has no tasks has no trio

        fabric = self._sent.pop(pending)
        try:
            return await wait_in_task(fabric, pending)
        finally:
            fabric.release(pending)
