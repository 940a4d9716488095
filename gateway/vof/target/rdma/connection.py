# SPDX-License-Identifier: BSD-3-Clause
"""A connection after its Connect: one thread that waits for what was completed and serves its
queue.

Owns the thread's loop, the registered memory of the connection, and the bounds on waiting: for a
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
from collections.abc import Callable
from dataclasses import asdict

from vof.logline import event
from vof.target.association import ConnectedQueue
from vof.target.async_events import Mailbox
from vof.target.ending import Stalled, end_by
from vof.target.rdma.eager import EagerRange
from vof.target.rdma.endpoint import Endpoint
from vof.target.rdma.handshake import Accepted, Handshake
from vof.target.rdma.memory import PAGE, NotRegistered, Pool, Region, round_up
from vof.target.rdma.queue import KeyedQueue
from vof.target.rdma.send_queue import FIRST_IDENT, SendQueue
from vof.target.rdma.spin import Spin
from vof.target.rdma.work_completions import check
from vof.wire.constants import CONTROL_QUEUE_DEPTH, AsyncEvent
from vof.wire.keyed_commands import KeyedLimits

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


class Connection:
    """One connected queue: the control queue, or a virtqueue.

    ``run`` is the body of its thread. The rest but ``connect`` may be called from any other.
    """

    def __init__(self, endpoint: Endpoint, *, eager: int, send_timeout: float) -> None:
        """``eager`` is the size of a virtqueue's eager buffers; 0 for none."""
        self.endpoint = endpoint
        self.peer = endpoint.peer
        self.eager: EagerRange | None = None
        """A virtqueue's eager buffers."""
        self._eager_size = eager
        self._send_timeout = send_timeout
        self._events = Mailbox()
        self._lock = threading.Lock()
        self._wake = -1
        self._aborted = False
        self._deadline: float | None = None
        self._rested = False
        self._connected: ConnectedQueue
        self._accepted: Accepted
        self._inbox: _Inbox
        self._pool: Pool
        self._queue: KeyedQueue
        self._sends: SendQueue
        self._message_size = 0

    def connect(self, handshake: Handshake, accepted: Accepted) -> None:
        """Become the connection of a queue. To be called before the thread starts."""
        self._sends = handshake.sends
        self._accepted = accepted
        self._connected = accepted.connected
        if self._eager_size and not self.is_control:
            self.eager = EagerRange(self.endpoint.expose, self._eager_size)

    @property
    def is_control(self) -> bool:
        """True for the control queue's connection."""
        return self._connected.index is None

    @property
    def name(self) -> str:
        """Name of the thread, as debuggers show it."""
        queue = self._connected.index
        return f"vof-{self._connected.association.target_id}-{'c' if queue is None else queue}"

    def abort(self) -> None:
        """End the connection at once. What is being executed goes on, but is not answered."""
        self._aborted = True
        self.endpoint.shut_down()
        self._stir()

    def notify(self, event: AsyncEvent, completion: bytes) -> None:
        """Send the completion that says an event, some time."""
        self._events.post(event, completion)

    def reset(self) -> None:
        """Revoke the keys of the eager buffers."""
        if self.eager:
            self.eager.revoke()

    def finish(self, grace: float) -> None:
        """Serve what has arrived, for at most ``grace`` seconds of it, and close."""
        self._deadline = time.monotonic() + grace
        self._stir()
        self._connected.association.instance.stop_waiting()

    def run(self, release: Callable[[ConnectedQueue], None]) -> None:
        """Serve until the connection ends; then ``release`` its queue and close it."""
        try:
            self._open()
            self._serve()
        except NotRegistered as error:
            self._connected.association.end(
                "no-memory", str(error), level=logging.ERROR, peer=self.peer
            )
        except Exception as error:  # noqa: BLE001 - ends this association only
            end_by(error, self._connected.association, self.peer)
        finally:
            self._close(release)

    def _open(self) -> None:
        """Make what serving needs, and answer the Connect. Raises OSError or NotRegistered."""
        association, index = self._connected.association, self._connected.index
        limits = KeyedLimits(
            association.device.limits.max_ndesc,
            MAX_DESCS,
            association.device.limits.max_transfer,
        )
        if index is None:
            self._events.open()
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
            work=self._connected.work,
        )
        with self._lock:
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._sends.answer((), 0, 0, self._accepted.completion)

    def _serve(self) -> None:
        """Serve until the connection ends. Raises RemoteProtocolError, DeviceFailure, Unanswered,
        Stalled, NotRegistered or OSError."""
        endpoint, queue, spin = self.endpoint, self._queue, Spin()
        poll = select.poll()
        for fd in self._descriptors():
            poll.register(fd, select.POLLIN)
        association = self._connected.association
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
        return [*found, self._events.fileno()] if self.is_control else found

    def _is_over(self, *, idle: bool) -> bool:
        if self._queue.left:
            self._sends.hurry()
            return self._sends.idle
        if self._deadline is None:
            return False
        if time.monotonic() > self._deadline:
            return True
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
        if self.is_control and self._events.fileno() in ready:
            self._queue.tell(self._events.take())
        return ready

    def _range_of(self, index: int) -> EagerRange | None:
        link = self._connected.association.link(index)
        return link.eager if isinstance(link, Connection) else None

    def _stir(self) -> None:
        """Let the thread look again at what it has to do."""
        with self._lock:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def _close(self, release: Callable[[ConnectedQueue], None]) -> None:
        self._events.close()
        if self.eager:
            self.eager.close()
        event(
            logging.DEBUG,
            "operations",
            peer=self.peer,
            target_id=self._connected.association.target_id,
            queue="control" if self.is_control else self._connected.index,
            **asdict(self._sends.operations),
        )
        # Everything this queue had in progress is over: now it may be connected again, and a peer
        # that sees the connection closed can rely on that.
        release(self._connected)
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
