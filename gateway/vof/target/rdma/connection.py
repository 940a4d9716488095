# SPDX-License-Identifier: BSD-3-Clause
"""A connection over RDMA: the loop that waits for what was completed and serves its queue.

Owns that loop, the registered memory of the connection, and the bounds on waiting: for a
peer that lets nothing complete, for one that may be gone without a word, for the grace of a stop.
Must not know what a command means.

Memory: a receive for each entry of the queue and ``SPARE`` more, the first region of the pool, and
while requests need it the rest of ``limits.max_transfer``. ``vof-target(8)``, LIMITS, adds it up.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from vof.logline import event
from vof.target.association import ConnectedQueue
from vof.target.connection import Connection
from vof.target.ending import Stalled
from vof.target.execution import Execution
from vof.target.rdma.eager import EagerRange
from vof.target.rdma.memory import PAGE, NotRegistered, Pool, Region, round_up
from vof.target.rdma.queue import KeyedQueue
from vof.target.rdma.send_queue import FIRST_IDENT, SendQueue
from vof.target.rdma.spin import Spin
from vof.target.rdma.work_completions import check
from vof.wire.constants import CONTROL_QUEUE_DEPTH
from vof.wire.keyed_commands import KeyedLimits

if TYPE_CHECKING:
    from vof.target.rdma.endpoint import Endpoint

MAX_DESCS = 64
"""Keyed descriptors that a command may have."""

SPARE = 8
"""Receives beyond the size of a queue: for control commands."""

CONTROL_RECEIVES = CONTROL_QUEUE_DEPTH + SPARE
CONTROL_MESSAGE = 256
"""Bytes of a message on a control queue: room for one that belongs on a virtqueue, so that it can
be said what is wrong with it."""

FIRST_REGION = (1 << 20) + (1 << 16)
"""Bytes of a virtqueue's memory that are kept always: enough for an ordinary request of 1 MiB."""

REST = 2.0
"""Seconds without work until what is kept for more is given back."""

KEEPALIVE = 60.0
"""Seconds without work until the peer is asked whether it is there."""


class KeyedConnection(Connection):
    """One connected queue over RDMA."""

    def __init__(
        self, endpoint: Endpoint, *, threads: int, eager: int, send_timeout: float
    ) -> None:
        """``threads`` may be 0 for what suits the queue; ``eager`` is the size of a virtqueue's
        eager buffers, 0 for none."""
        super().__init__(endpoint.peer)
        self.endpoint = endpoint
        self.eager: EagerRange | None = None
        """A virtqueue's eager buffers."""
        self._threads = threads
        self._eager_size = eager
        self._execution: Execution[Any] | None = None
        self._send_timeout = send_timeout
        self._lock = threading.Lock()
        self._wake = -1
        self._aborted = False
        self._deadline: float | None = None
        self._rested = False
        self._completion: bytes
        self._pool: Pool
        self._queue: KeyedQueue
        self._sends: SendQueue
        self._message_size = 0

    def connect(self, connected: ConnectedQueue, completion: bytes, sends: SendQueue) -> None:
        """Become the connection of a queue, whose Connect ``completion`` is to answer. To be called
        before the thread starts."""
        self.connected = connected
        self._completion = completion
        self._sends = sends
        if self.is_control:
            return
        self._execution = Execution(
            connected, threads=self._threads, name=self.name, wake=self._stir
        )
        if self._eager_size:
            self.eager = EagerRange(self.endpoint.expose, self._eager_size)

    def abort(self) -> None:
        self._aborted = True
        self.endpoint.shut_down()
        self._stir()

    def reset(self) -> None:
        """Revoke the keys of the eager buffers."""
        if self.eager:
            self.eager.revoke()

    def finish(self, grace: float) -> None:
        self._deadline = time.monotonic() + grace
        self._stir()

    def serve(self) -> None:
        self._open()
        self._serve()

    def fail(self, error: Exception) -> None:
        if isinstance(error, NotRegistered):
            self.connected.association.end(
                "no-memory", str(error), level=logging.ERROR, peer=self.peer
            )
        super().fail(error)

    def _open(self) -> None:
        """Make what serving needs, and answer the Connect. Raises OSError or NotRegistered."""
        association, index = self.connected.association, self.connected.index
        limits = KeyedLimits(
            association.device.limits.max_ndesc,
            MAX_DESCS,
            association.device.limits.max_transfer,
        )
        if index is None:
            self.events.open()
            count, self._message_size = CONTROL_RECEIVES, CONTROL_MESSAGE
            self._pool = Pool(self.endpoint.register, first=PAGE, budget=PAGE)
        else:
            count = association.queue_sizes[index] + SPARE
            self._message_size = limits.message_size
            self._pool = Pool(
                self.endpoint.register, first=FIRST_REGION, budget=limits.max_transfer
            )
        count = min(count, self.endpoint.receive_room)
        inbox = _Inbox(self.endpoint, count, self._message_size)
        self._queue = KeyedQueue(
            association,
            index,
            inbox=inbox,
            sends=self._sends,
            pool=self._pool,
            ranges=self._range_of,
            limits=limits,
            largest=self.endpoint.max_message,
            execution=self._execution,
        )
        with self._lock:
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._sends.answer((), 0, 0, self._completion)

    def _serve(self) -> None:
        """Serve until the connection ends. Raises RemoteProtocolError, DeviceFailure, Cancelled,
        Stalled, NotRegistered or OSError."""
        endpoint, queue, spin = self.endpoint, self._queue, Spin()
        poll = select.poll()
        for fd in self._descriptors():
            poll.register(fd, select.POLLIN)
        association = self.connected.association
        while not (self._aborted or association.ended):
            found = endpoint.reap()
            if found:
                self._rested = False
                spin.found()
                queue.begin_batch()
                for item in found:
                    check(item, self._message_size, self._send_timeout)
                    if item.wr_id >= FIRST_IDENT:
                        self._sends.ended(item.wr_id)
                    else:
                        queue.received(item.wr_id, item.byte_len)
            more = queue.work()
            if self._is_over(idle=not (found or more)):
                return
            if found or more:
                continue
            if spin.again():
                self._look(poll, 0.0)
            elif not endpoint.arm():  # else once more: what came before would not wake us
                self._wait(poll)

    def _descriptors(self) -> list[int]:
        found = [self.endpoint.fileno(), self._wake]
        return [*found, self.events.fileno()] if self.is_control else found

    def _is_over(self, *, idle: bool) -> bool:
        if self._queue.left:
            self._sends.hurry()
            return self._sends.idle
        if self._deadline is None:
            return False
        if time.monotonic() > self._deadline:
            return True
        if self._execution and self._execution.may_wait:
            self._execution.cancel()
        if idle and not self._queue.busy:
            self._sends.hurry()
            return self._sends.idle
        return False

    def _wait(self, poll: select.poll) -> None:
        """Wait until there is something to do. Raises Stalled."""
        since = self._sends.waiting_since
        timeout = KEEPALIVE if self._rested else REST
        if since is not None:
            timeout = min(timeout, max(0.0, since + self._send_timeout - time.monotonic()))
        if self._deadline is not None:
            timeout = min(timeout, max(0.0, self._deadline - time.monotonic()))
        ready = self._look(poll, timeout)
        if self.endpoint.fileno() in ready:
            return
        if since is not None and time.monotonic() >= since + self._send_timeout:
            raise Stalled(self._send_timeout)
        if not ready:
            if self._rested:
                self._sends.probe()
            self._rested = True
            self._queue.rest()

    def _look(self, poll: select.poll, timeout: float) -> set[int]:
        """Wait for at most ``timeout`` seconds; return which descriptors were readable."""
        ready = {fd for fd, _what in poll.poll(timeout * 1000)}
        if self.endpoint.fileno() in ready:
            self.endpoint.disarm()
        if self._wake in ready:
            os.eventfd_read(self._wake)
        if self.is_control and self.events.fileno() in ready:
            self._queue.tell(self.events.take())
        return ready

    def _range_of(self, index: int) -> EagerRange | None:
        link = self.connected.association.link(index)
        return link.eager if isinstance(link, KeyedConnection) else None

    def _stir(self) -> None:
        """Let the thread look again at what it has to do."""
        with self._lock:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def settle(self) -> None:
        self.events.close()
        if self.eager:
            self.eager.close()
        if self._execution:
            self._execution.finish()
        event(
            logging.DEBUG,
            "operations",
            peer=self.peer,
            target_id=self.connected.association.target_id,
            queue="control" if self.is_control else self.connected.index,
            **asdict(self._sends.operations),
        )

    def close(self) -> None:
        self.endpoint.close()
        with self._lock:
            wake, self._wake = self._wake, -1
        if wake >= 0:
            os.close(wake)


class _Inbox:
    """The receives of a connection."""

    def __init__(self, endpoint: Endpoint, count: int, size: int) -> None:
        """Post ``count`` receives of messages of at most ``size`` bytes. Raises OSError or
        NotRegistered."""
        self._stride = size
        self._region: Region = endpoint.register(round_up(count * size, PAGE))
        endpoint.make_receives(self._region, 0, size, count)
        self.post_receive = endpoint.post_receive
        for number in range(count):
            endpoint.post_receive(number)

    def message(self, number: int, length: int) -> memoryview:
        """Return the ``length`` bytes that receive ``number`` has brought."""
        start = number * self._stride
        return self._region.view[start : start + length]
