# SPDX-License-Identifier: BSD-3-Clause
"""A virtqueue: gives requests their command ids and keeps to the queue's size.

A virtqueue of size N holds N descriptors (virtio 1.2 §2.7), so that many may be in flight, whatever
number of requests they belong to. Command ids are unique in flight and stay under the reserved
range (*v2*, "Command ID"); the lowest free one is taken. Must not know what a request asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from threading import Condition

from vof.errors import LocalProtocolError
from vof.fabric.pending import Pending
from vof.fabric.tcp import TcpQueue
from vof.wire.constants import MAX_COMMAND_ID
from vof.wire.stream import Arrival, encode_vring
from vof.wire.structs import Buffer


class Virtqueue:
    """Requests over one fabric queue, from any thread."""

    def __init__(self, index: int, size: int, fabric: TcpQueue) -> None:
        self.index = index
        self.size = min(size, MAX_COMMAND_ID + 1)
        """Descriptors that may be in flight."""
        self._fabric = fabric
        self._room = Condition()
        self._free_descriptors = self.size
        self._free_ids: list[int] = []
        self._next_id = 0

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
        with self._room:
            while self._free_descriptors < ndesc:
                if not wait:
                    return None
                self._room.wait()
            self._free_descriptors -= ndesc
            command_id = heappop(self._free_ids) if self._free_ids else self._take_new_id()
        command = encode_vring(command_id, readable, [len(buffer) for buffer in writable])
        pending = Pending(what, command_id, [command, *payload], len(readable), writable)
        try:
            self._fabric.submit(pending)
        except BaseException:
            self._release(command_id, ndesc)
            raise
        return pending

    def wait(self, pending: Pending) -> Arrival:
        """Return what arrived for a command of ours. Raises SessionLost if the queue ended under
        it."""
        try:
            return self._fabric.wait(pending)
        finally:
            self._release(pending.command_id, pending.first_id + len(pending.buffers))

    async def wait_in_task(self, pending: Pending) -> Arrival:
        """Await what arrived for a command of ours, from a trio task; as ``wait``."""
        from vof.fabric.tasks import wait_in_task  # noqa: PLC0415 - who has no tasks has no trio

        try:
            return await wait_in_task(self._fabric, pending)
        finally:
            self._release(pending.command_id, pending.first_id + len(pending.buffers))

    def _take_new_id(self) -> int:
        command_id = self._next_id
        self._next_id += 1
        return command_id

    def _release(self, command_id: int, ndesc: int) -> None:
        with self._room:
            heappush(self._free_ids, command_id)
            self._free_descriptors += ndesc
            self._room.notify_all()
