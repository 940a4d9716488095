# SPDX-License-Identifier: BSD-3-Clause
"""A connected stream socket of the target's, which one thread sends to and receives from.

Owns the descriptor from the Connect to its close, the bound on sending to a peer that takes
nothing, and the end of receiving when the target stops. Must not know what the bytes are.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from struct import Struct

from vof.target.ending import Stalled

_TIMEVAL = Struct("@ll")


class Channel:
    """One connection's socket. ``abort`` and ``finish`` may be called from any thread."""

    def __init__(self, sock: socket.socket, send_timeout: float) -> None:
        self._sock = sock
        # An abort must not hit a descriptor that was closed and is somebody else's by now.
        self._lock = threading.Lock()
        self.send_timeout = send_timeout
        """Seconds."""
        self._deadline: float | None = None

    def open(self) -> None:
        """Let the calls below wait. Raises OSError."""
        self._sock.settimeout(None)
        self._sock.setsockopt(
            socket.SOL_SOCKET,
            socket.SO_SNDTIMEO,
            _TIMEVAL.pack(int(self.send_timeout), int(self.send_timeout % 1 * 1e6)),
        )

    def fileno(self) -> int:
        """Return the descriptor, for who polls or serves it natively."""
        return self._sock.fileno()

    @property
    def seconds_left(self) -> float | None:
        """The rest of the time that ``finish`` gave, at least 0; None where it was not called."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    @property
    def overdue(self) -> bool:
        """True where that time is over."""
        return self._deadline is not None and time.monotonic() > self._deadline

    def receive_into(self, buffer: memoryview) -> int:
        """Receive what there is; return how many bytes, 0 at the end. Raises OSError."""
        return self._sock.recv_into(buffer)

    def receive(self, size: int) -> bytes:
        """Receive so many bytes; fewer at the end. Raises OSError."""
        return self._sock.recv(size, socket.MSG_WAITALL)

    def peek(self, size: int) -> bytes:
        """Return the next so many bytes, which are still to be received; fewer at the end. Raises
        OSError."""
        return self._sock.recv(size, socket.MSG_WAITALL | socket.MSG_PEEK)

    def send(self, parts: Sequence[bytes | memoryview]) -> None:
        """Send all of the parts. Raises Stalled where the peer takes nothing, OSError where it is
        gone."""
        try:
            sent = self._sock.sendmsg(parts)
            for part in parts:
                if sent >= len(part):
                    sent -= len(part)
                    continue
                rest = memoryview(part)[sent:]
                sent = 0
                while rest:
                    rest = rest[self._sock.send(rest) :]
        except BlockingIOError:  # SO_SNDTIMEO
            raise Stalled(self.send_timeout) from None

    def finish(self, grace: float) -> None:
        """Take nothing more from the peer but what has arrived, for at most ``grace`` seconds."""
        self._deadline = time.monotonic() + grace
        self._shutdown(socket.SHUT_RD)

    def abort(self) -> None:
        """Let everything that waits for the peer fail."""
        self._shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket. No other thread uses it for anything but an abort."""
        with self._lock:
            self._sock.close()

    def _shutdown(self, how: int) -> None:
        with self._lock:
            try:
                self._sock.shutdown(how)
            except OSError:
                pass  # closed already, by either side
