# SPDX-License-Identifier: BSD-3-Clause
"""A stream socket that shows what passes through it; everything else is a socket's.

Bytes are shown as sent before the kernel has them, or their answer could be shown first; those that
it does not take at once are not shown again when they are offered again.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

from vof.decode.message import Direction
from vof.trace.trace import Tap, Trace


class TracedSocket(socket.socket):
    """Made by ``traced``. One thread at a time sends, and one receives."""

    _ahead = 0  # bytes that were shown as sent and that the kernel has not taken yet

    def __init__(self, sock: socket.socket, tap: Tap) -> None:
        timeout = sock.gettimeout()
        self._tap = tap
        super().__init__(sock.family, sock.type, sock.proto, sock.detach())
        self.settimeout(timeout)

    def send(self, data: Any, flags: int = 0, /) -> int:
        self._show([data])
        return self._taken(super().send(data, flags))

    def sendmsg(self, buffers: Iterable[Any], /, *rest: Any) -> int:
        parts = list(buffers)
        self._show(parts)
        return self._taken(super().sendmsg(parts, *rest))

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        data = super().recv(bufsize, flags)
        if not flags & socket.MSG_PEEK:
            self._tap.received(data)
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        count = super().recv_into(buffer, nbytes, flags)
        self._tap.received(bytes(memoryview(buffer).cast("B")[:count]))
        return count

    def recvmsg_into(self, buffers: Iterable[Any], /, *rest: Any) -> Any:
        parts = [memoryview(buffer).cast("B") for buffer in buffers]
        found = super().recvmsg_into(parts, *rest)
        left, data = found[0], bytearray()
        for part in parts:
            data += part[: left - len(data)]
        self._tap.received(bytes(data))
        return found

    def close(self) -> None:
        self._tap.closed()
        super().close()

    def _show(self, parts: list[Any]) -> None:
        data = b"".join(parts)
        if fresh := data[self._ahead :]:
            self._ahead = len(data)
            self._tap.sent(fresh)

    def _taken(self, count: int) -> int:
        self._ahead -= count
        return count


def traced(sock: socket.socket, trace: Trace, ours: Direction) -> socket.socket:
    """Return a socket in the place of ``sock``, which is connected and gone after this. ``ours`` is
    the direction in which this end sends. Raises OSError where the connection has ended."""
    ends = [_place(sock.getsockname()), _place(sock.getpeername())]
    if ours is Direction.T2I:
        ends.reverse()
    return TracedSocket(sock, trace.stream(ends[0], ends[1], ours))


def _place(address: Any) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
