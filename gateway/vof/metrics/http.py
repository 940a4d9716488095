# SPDX-License-Identifier: BSD-3-Clause
"""A server of one page: one thread for the listener and every connection (RFC 9110, RFC 9112).

A peer costs a descriptor and a deadline, never a thread; the page is made once for each request
that is whole, and the oldest connection gives way where there are too many. Must not know what the
page is.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable

from vof.logline import describe

MAX_CONNECTIONS = 32
MAX_REQUEST = 8 << 10
"""Bytes of a request's head; there is never a body."""

DEADLINE = 5.0
"""Seconds that a connection may take from its beginning to its end."""

PATHS = frozenset({"/", "/metrics"})

_PAUSE = 0.1
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
}

Page = Callable[[], bytes]


class _Connection:
    """A request being received, then an answer being sent."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.deadline = time.monotonic() + DEADLINE
        self.received = b""
        self.answer: memoryview | None = None


class PageServer:
    """Serves ``page`` on ``listener``, which belongs to it from now on."""

    def __init__(
        self, listener: socket.socket, page: Page, content_type: str, failed: Callable[[str], None]
    ) -> None:
        """``failed`` is told, in a line, why the page could not be made."""
        listener.setblocking(False)
        self._listener = listener
        self._page = page
        self._content_type = content_type
        self._failed = failed
        self._connections: dict[socket.socket, _Connection] = {}
        self._stopping = False
        self._wake = -1
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Serve, in a thread."""
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="vof-metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close everything. Idempotent; also for one that was not started."""
        if self._thread is None:
            self._listener.close()
            return
        self._stopping = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._thread = None
        os.close(self._wake)

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            self._selector = selector
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            while not self._stopping:
                for key, _events in selector.select(self._patience()):
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.data is not None and key.data.sock in self._connections:
                        self._advance(key.data)
                self._expire()
            for connection in list(self._connections.values()):
                self._drop(connection)
        self._listener.close()

    def _patience(self) -> float | None:
        # In the order in which they came, which is that of their deadlines.
        for connection in self._connections.values():
            return max(0.0, connection.deadline - time.monotonic())
        return None

    def _accept(self) -> None:
        try:
            sock, _address = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:
            # No descriptors: the listener stays readable, and this thread must not spin.
            time.sleep(_PAUSE)
            return
        sock.setblocking(False)
        if len(self._connections) >= MAX_CONNECTIONS:
            self._drop(next(iter(self._connections.values())))
        connection = self._connections[sock] = _Connection(sock)
        self._selector.register(sock, selectors.EVENT_READ, connection)

    def _advance(self, connection: _Connection) -> None:
        try:
            if connection.answer is None:
                self._receive(connection)
            else:
                self._send(connection)
        except BlockingIOError:
            pass
        except OSError:
            self._drop(connection)

    def _receive(self, connection: _Connection) -> None:
        data = connection.sock.recv(MAX_REQUEST)
        connection.received += data
        if not data:
            self._drop(connection)
        elif b"\r\n\r\n" in connection.received:
            self._answer(connection, *self._respond(connection.received))
        elif len(connection.received) >= MAX_REQUEST:
            self._answer(connection, 431)

    def _respond(self, request: bytes) -> tuple[int, bytes, bool]:
        """Return status and body, and whether the body is to be sent."""
        words = request.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return 400, b"", True
        method, path, _version = words
        if method not in ("GET", "HEAD"):
            return 405, b"", True
        if path.partition("?")[0] not in PATHS:
            return 404, b"", method == "GET"
        try:
            return 200, self._page(), method == "GET"
        except Exception as error:  # noqa: BLE001 - the next one may be good
            self._failed(describe(error))
            return 500, b"", True

    def _answer(
        self, connection: _Connection, status: int, body: bytes = b"", send: bool = True
    ) -> None:
        content_type = self._content_type
        if status != 200:
            body, content_type = f"{status} {_REASONS[status]}\n".encode(), "text/plain"
        lines = (
            f"HTTP/1.1 {status} {_REASONS[status]}",
            f"Content-Type: {content_type}",
            f"Content-Length: {len(body)}",
            *(("Allow: GET, HEAD",) if status == 405 else ()),
            "Connection: close",
            "\r\n",
        )
        connection.answer = memoryview("\r\n".join(lines).encode() + (body if send else b""))
        self._selector.modify(connection.sock, selectors.EVENT_WRITE, connection)
        self._send(connection)

    def _send(self, connection: _Connection) -> None:
        assert connection.answer is not None
        sent = connection.sock.send(connection.answer, socket.MSG_NOSIGNAL)
        connection.answer = connection.answer[sent:]
        if not connection.answer:
            self._drop(connection)

    def _expire(self) -> None:
        now = time.monotonic()
        for connection in list(self._connections.values()):
            if connection.deadline > now:
                break
            self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        del self._connections[connection.sock]
        self._selector.unregister(connection.sock)
        with contextlib.suppress(OSError):
            connection.sock.close()
