# SPDX-License-Identifier: BSD-3-Clause
"""The listeners, and all connections that have not connected yet: one thread for all of them.

A silent peer costs a descriptor and a deadline, never a thread. Owns the number of connections:
beyond the limit, or without a descriptor for them, new ones are closed at once. Must not know
commands or devices.
"""

from __future__ import annotations

import errno
import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from vof.addresses import with_port
from vof.descriptors import SHORTAGES, explain
from vof.errors import RemoteProtocolError
from vof.logline import Throttle, event
from vof.target.association import AssociationTable, ConnectedQueue
from vof.target.capacity import Spare
from vof.target.config import Settings
from vof.target.serving import Serving, expired
from vof.target.taps import Taps
from vof.target.tcp.connection import Connection
from vof.target.tcp.handshake import Handshake, PeerClosed

_ACCEPTS_AT_ONCE = 64
_PAUSE = 0.1
_NO_ROOM = frozenset({*SHORTAGES, errno.ENOBUFS, errno.ENOMEM})


@dataclass(eq=False)
class _Pending:
    handshake: Handshake
    connection: Connection
    deadline: float

    @property
    def peer(self) -> str:
        return self.connection.peer


class Acceptor:
    """Accepts, waits for the Connect, and starts a thread for each connection that has had it."""

    def __init__(
        self,
        listeners: Iterable[socket.socket],
        table: AssociationTable,
        settings: Settings,
        taps: Taps | None = None,
    ) -> None:
        """``listeners`` belong to this object from now on."""
        self.settings = settings
        """May be replaced at any time; holds for what is accepted from then on."""
        self._listeners = {item.fileno(): item for item in listeners}
        self._table = table
        self._taps = taps
        self._selector = selectors.DefaultSelector()
        for listener in self._listeners.values():
            listener.setblocking(False)
        self._listen()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._spare = Spare()
        self._stopping = False
        self._paused_until = 0.0
        # In the order in which they were accepted, which is mostly that of their deadlines.
        self._pending: dict[socket.socket, _Pending] = {}
        self._serving: Serving[Connection] = Serving(table.release)
        self._full = Throttle(10.0)
        self._thread = threading.Thread(target=self._run, name="vof-acceptor", daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        self._thread.start()

    def stop_accepting(self) -> None:
        """Close the listeners and every connection without an association."""
        self._stopping = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        os.close(self._wake)

    def count(self) -> int:
        """Return how many connections there are."""
        return len(self._serving) + len(self._pending)

    def connected(self) -> list[Connection]:
        """Return the connections that have a thread."""
        return self._serving.connections()

    def wait_for(self, connections: Iterable[object], deadline: float) -> bool:
        """Wait until all of ``connections`` have ended; False where the time did not suffice."""
        return self._serving.wait_for(connections, deadline)

    def close(self) -> None:
        """Nothing is left to be closed."""

    def _run(self) -> None:
        while not self._stopping:
            for key, _events in self._selector.select(self._timeout()):
                if key.fd in self._listeners:
                    self._accept(self._listeners[key.fd])
                elif key.data is not None:
                    self._readable(key.data)
            self._expire()
        for pending in list(self._pending.values()):
            self._drop(pending)
        self._selector.close()
        for listener in self._listeners.values():
            listener.close()
        self._spare.close()

    def _timeout(self) -> float | None:
        times = [pending.deadline for pending in self._first()]
        if self._paused_until:
            times.append(self._paused_until)
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _first(self) -> list[_Pending]:
        return [next(iter(self._pending.values()))] if self._pending else []

    def _listen(self) -> None:
        for listener in self._listeners.values():
            self._selector.register(listener, selectors.EVENT_READ)

    def _accept(self, listener: socket.socket) -> None:
        if self._paused_until:
            return  # by another listener, just now
        # A few at a time: those already accepted want their answers too.
        for _ in range(_ACCEPTS_AT_ONCE):
            try:
                sock, peer = self._take(listener)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._pause(error)
                    return
                continue  # that connection failed before it was accepted (accept(2))
            if sock:
                self._admit(sock, peer)

    def _take(self, listener: socket.socket) -> tuple[socket.socket | None, str]:
        """Return the next connection and its peer; no connection where it had to be refused."""
        sock = None
        try:
            sock, address = listener.accept()
        except OSError as error:
            if error.errno not in SHORTAGES:
                raise
            address = self._spare.refuse(listener)
            self._full.event(logging.WARNING, "refused", peer=_peer(address), reason=explain(error))
        return sock, _peer(address)

    def _admit(self, sock: socket.socket, peer: str) -> None:
        settings = self.settings
        if self.count() >= settings.connections:
            sock.close()
            reason = f"{settings.connections} connections are the limit"
            self._full.event(logging.WARNING, "refused", peer=peer, reason=reason)
            return
        try:
            prepare(sock)
            if self._taps:
                sock = self._taps.stream(sock)
        except OSError:
            sock.close()  # gone again
            return
        connection = Connection(
            sock, peer, threads=settings.threads, send_timeout=settings.send_timeout
        )
        handshake = Handshake(sock, peer, self._table, connection)
        deadline = time.monotonic() + settings.handshake_timeout
        pending = self._pending[sock] = _Pending(handshake, connection, deadline)
        self._selector.register(sock, selectors.EVENT_READ, pending)

    def _readable(self, pending: _Pending) -> None:
        peer = pending.peer
        try:
            connected = pending.handshake.readable(
                lambda reason: event(logging.INFO, "connect-refused", peer=peer, reason=reason)
            )
        except RemoteProtocolError as error:
            event(logging.WARNING, "violation", peer=peer, reason=str(error))
            self._drop(pending)
        except (PeerClosed, OSError):
            self._drop(pending)
        else:
            if connected:
                self._hand_over(pending, connected)

    def _hand_over(self, pending: _Pending, connected: ConnectedQueue) -> None:
        sock, connection = pending.handshake.sock, pending.connection
        self._selector.unregister(sock)
        del self._pending[sock]
        connection.connect(connected)
        self._serving.start(connection, connected, sock.close)

    def _drop(self, pending: _Pending) -> None:
        sock = pending.handshake.sock
        self._selector.unregister(sock)
        del self._pending[sock]
        sock.close()

    def _expire(self) -> None:
        if self._paused_until and time.monotonic() >= self._paused_until:
            self._paused_until = 0.0
            self._spare.renew()
            self._listen()
        for pending in expired(self._pending.values()):
            self._drop(pending)

    def _pause(self, error: OSError) -> None:
        """Stop accepting for a moment: the listeners would stay readable and keep this thread
        spinning.
        """
        for listener in self._listeners.values():
            self._selector.unregister(listener)
        self._paused_until = time.monotonic() + _PAUSE
        self._full.event(logging.WARNING, "accept-paused", reason=str(error.strerror))


def prepare(sock: socket.socket) -> None:
    """Set what every accepted connection has."""
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # An initiator whose machine died is noticed after two minutes instead of never.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 6)


def _peer(address: tuple[Any, ...]) -> str:
    return with_port(*address[:2])
