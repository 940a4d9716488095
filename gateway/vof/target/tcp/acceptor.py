# SPDX-License-Identifier: BSD-3-Clause
"""The listening sockets, and the thread that accepts on them.

Owns what an accepted socket is set to, and that a connection without a descriptor for it is closed
at once. Must not know commands or devices; whom there is room for is ``admission``'s.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
import time
from collections.abc import Iterable
from typing import Any

from vof.addresses import with_port
from vof.descriptors import SHORTAGES, explain
from vof.target.admission import Admission
from vof.target.association_table import AssociationTable
from vof.target.capacity import Spare
from vof.target.config import Settings
from vof.target.taps import Taps
from vof.target.tcp.connection import StreamConnection
from vof.target.tcp.handshake import Handshake

_ACCEPTS_AT_ONCE = 64
_PAUSE = 0.1
_NO_ROOM = frozenset({*SHORTAGES, errno.ENOBUFS, errno.ENOMEM})


class Acceptor:
    """Accepts, and waits for whatever comes before a Connect."""

    def __init__(
        self,
        listeners: Iterable[socket.socket],
        table: AssociationTable,
        settings: Settings,
        taps: Taps | None = None,
    ) -> None:
        """``listeners`` belong to this object from now on."""
        self._listeners = {item.fileno(): item for item in listeners}
        self._table = table
        self._taps = taps
        self._selector = selectors.DefaultSelector()
        self.admission: Admission[StreamConnection] = Admission(
            settings, table.release, self._selector
        )
        for listener in self._listeners.values():
            listener.setblocking(False)
        self._listen()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._spare = Spare()
        self._stopping = False
        self._paused_until = 0.0
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

    def close(self) -> None:
        """Nothing is left to be closed."""

    def _run(self) -> None:
        while not self._stopping:
            for key, _events in self._selector.select(self._timeout()):
                if key.fd in self._listeners:
                    self._accept(self._listeners[key.fd])
                elif key.data is not None:
                    self.admission.advance(key.data)
            self._go_on()
            self.admission.drop_late()
        self.admission.drop_all()
        self._selector.close()
        for listener in self._listeners.values():
            listener.close()
        self._spare.close()

    def _timeout(self) -> float | None:
        left = self.admission.seconds_left()
        if not self._paused_until:
            return left
        pause = max(0.0, self._paused_until - time.monotonic())
        return pause if left is None else min(pause, left)

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
            self.admission.refuse(_peer(address), explain(error))
        return sock, _peer(address)

    def _admit(self, sock: socket.socket, peer: str) -> None:
        if not self.admission.has_room(peer):
            sock.close()
            return
        try:
            prepare(sock)
            if self._taps:
                sock = self._taps.stream(sock)
        except OSError:
            sock.close()  # gone again
            return
        settings = self.admission.settings
        connection = StreamConnection(
            sock, peer, threads=settings.threads, send_timeout=settings.send_timeout
        )
        self.admission.admit(Handshake(sock, self._table, connection))

    def _go_on(self) -> None:
        """Accept again once a pause is over."""
        if self._paused_until and time.monotonic() >= self._paused_until:
            self._paused_until = 0.0
            self._spare.renew()
            self._listen()

    def _pause(self, error: OSError) -> None:
        """Stop accepting for a moment: the listeners would stay readable and keep this thread
        spinning.
        """
        for listener in self._listeners.values():
            self._selector.unregister(listener)
        self._paused_until = time.monotonic() + _PAUSE
        self.admission.warn("accept-paused", reason=str(error.strerror))


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
