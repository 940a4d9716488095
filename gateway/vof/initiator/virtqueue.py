# SPDX-License-Identifier: BSD-3-Clause
"""A virtqueue: gives requests their command ids and keeps to the queue's size.

The ids and the room are the fabric queue's, which an engine may use besides. Must not know what a
request asks for.
"""

from __future__ import annotations

from collections.abc import Sequence

from vof.errors import LocalProtocolError
from vof.fabric.interface import Queue
from vof.fabric.pending import Pending
from vof.wire.constants import MAX_COMMAND_ID
from vof.wire.stream import Arrival
from vof.wire.structs import Buffer


class Virtqueue:
    """Requests over one fabric queue, from any thread."""

    def __init__(self, index: int, size: int, fabric: Queue) -> None:
        self.index = index
        self.size = min(size, MAX_COMMAND_ID + 1)
        """Descriptors that may be in flight."""
        self.fabric = fabric
        fabric.resize(self.size)

    def submit(
        self,
        what: str,
        readable: Sequence[int],
        payload: Sequence[Buffer],
        writable: Sequence[memoryview],
        *,
        wait: bool = True,
    ) -> Pending | None:
        """Send a vring command and return it in flight.

        ``readable`` gives the lengths of the device-readable descriptors, ``payload`` their bytes
        in any division; ``writable`` the device-writable buffers, lent until the command is done.
        With the queue full: waits, or returns None if ``wait`` is false. A thread that has commands
        in flight must not wait here, for it may be the one that would have received them.

        Raises LocalProtocolError for more descriptors than the queue holds, SessionLost if it has
        ended.
        """
        ndesc = len(readable) + len(writable)
        if ndesc > self.size:
            raise LocalProtocolError(
                f"{what} takes {ndesc} descriptors; the virtqueue holds {self.size}"
            )
        command_id = self.fabric.take_id(ndesc, wait=wait)
        if command_id is None:
            return None
        lengths = [len(buffer) for buffer in writable]
        command = self.fabric.framing.encode(command_id, readable, lengths)
        pending = Pending(what, command_id, [command, *payload], len(readable), writable)
        try:
            self.fabric.submit(pending)
        except BaseException:
            self.fabric.give_back_id(command_id, ndesc)
            raise
        return pending

    def wait(self, pending: Pending) -> Arrival:
        """Return what arrived for a command of ours. Raises SessionLost if the queue ended under
        it."""
        try:
            return self.fabric.wait(pending)
        finally:
            self._release(pending)

    async def wait_in_task(self, pending: Pending) -> Arrival:
        """Await what arrived for a command of ours, from a trio task; as ``wait``."""
        from vof.fabric.tasks import wait_in_task  # noqa: PLC0415 - who has no tasks has no trio

        try:
            return await wait_in_task(self.fabric, pending)
        finally:
            self._release(pending)

    def _release(self, pending: Pending) -> None:
        ndesc = pending.first_id + len(pending.buffers)
        self.fabric.give_back_id(pending.command_id, ndesc)
