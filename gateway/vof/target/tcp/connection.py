# SPDX-License-Identifier: BSD-3-Clause
"""A connection after its Connect: one thread that serves its queue.

Owns its socket. Must not know what is served: ``control_queue`` and ``virtqueue`` do.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from vof.target.association import ConnectedQueue
from vof.target.async_events import Mailbox
from vof.target.ending import end_by
from vof.target.tcp.channel import Channel
from vof.target.tcp.control_queue import ControlQueue
from vof.target.tcp.virtqueue import Virtqueue
from vof.wire.constants import AsyncEvent


class Connection:
    """One connected queue: the control queue, or a virtqueue.

    ``run`` is the body of its thread. ``abort``, ``notify`` and ``finish`` are called from any
    other.
    """

    def __init__(
        self, sock: socket.socket, peer: str, *, threads: int, send_timeout: float
    ) -> None:
        """``threads`` may be 0 for what suits the queue."""
        self.peer = peer
        self._channel = Channel(sock, send_timeout)
        self._threads = threads
        self._events = Mailbox()
        self._connected: ConnectedQueue
        self._queue: ControlQueue | Virtqueue | None = None

    def connect(self, connected: ConnectedQueue) -> None:
        """Become the connection of a queue. To be called before the thread starts."""
        self._connected = connected
        if connected.index is None:
            self._queue = ControlQueue(self._channel, connected.association, self._events)
        else:
            self._queue = Virtqueue(
                self._channel,
                connected.association,
                connected.index,
                work=connected.work,
                threads=self._threads,
                name=self.name,
                failed=self._fail,
            )

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
        if self._queue:
            self._queue.stop()
        self._channel.abort()

    def notify(self, event: AsyncEvent, completion: bytes) -> None:
        """Send the completion that says an event, some time."""
        self._events.post(event, completion)

    def reset(self) -> None:
        """Nothing to do: there are no keys on a stream."""

    def finish(self, grace: float) -> None:
        """Serve what has arrived, for at most ``grace`` seconds of it, and close."""
        self._channel.finish(grace)
        if self._queue:
            self._queue.finish()
        self._connected.association.instance.stop_waiting()

    def run(self, release: Callable[[ConnectedQueue], None]) -> None:
        """Serve until the connection ends; then ``release`` its queue and close it."""
        assert self._queue is not None
        try:
            self._channel.open()
            self._queue.serve()
        except Exception as error:  # noqa: BLE001 - ends this association only
            self._fail(error)
        finally:
            self._queue.close()
            # Everything this queue had in progress is over: now it may be connected again, and a
            # peer that sees the connection closed can rely on that.
            release(self._connected)
            # The control queue's closing says it of all: those that ended with it were cut off with
            # requests in progress.
            if self.is_control:
                self._connected.association.wait_until_left()
            self._channel.close()

    def _fail(self, error: Exception) -> None:
        end_by(error, self._connected.association, self.peer)
        # Where the association had ended before, this connection is still to be ended.
        self.abort()
