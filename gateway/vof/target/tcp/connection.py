# SPDX-License-Identifier: BSD-3-Clause
"""A connection over TCP: its socket, and what is served on it.

Must not know what that is: ``control_queue`` and ``virtqueue`` do.
"""

from __future__ import annotations

import socket

from vof.target.association import ConnectedQueue
from vof.target.connection import Connection
from vof.target.tcp.channel import Channel
from vof.target.tcp.control_queue import ControlQueue
from vof.target.tcp.virtqueue import Virtqueue


class StreamConnection(Connection):
    """One connected queue over TCP."""

    def __init__(
        self, sock: socket.socket, peer: str, *, threads: int, send_timeout: float
    ) -> None:
        """``threads`` may be 0 for what suits the queue."""
        super().__init__(peer)
        self._channel = Channel(sock, send_timeout)
        self._threads = threads
        self._queue: ControlQueue | Virtqueue | None = None

    def connect(self, connected: ConnectedQueue) -> None:
        """Become the connection of a queue. To be called before the thread starts."""
        self.connected = connected
        if connected.index is None:
            self._queue = ControlQueue(self._channel, connected.association, self.events)
        else:
            self._queue = Virtqueue(self._channel, connected, threads=self._threads, name=self.name)

    def abort(self) -> None:
        if self._queue:
            self._queue.stop()
        self._channel.abort()

    def finish(self, grace: float) -> None:
        self._channel.finish(grace)
        if self._queue:
            self._queue.finish()

    def serve(self) -> None:
        assert self._queue is not None
        self._channel.open()
        self._queue.serve()

    def settle(self) -> None:
        assert self._queue is not None
        self._queue.close()

    def close(self) -> None:
        self._channel.close()
