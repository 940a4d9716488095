# SPDX-License-Identifier: BSD-3-Clause
"""Waits for what an nbdkit that died has left at the target, before another begins (ours).

The kernel sends again what was in flight when nbdkit died, while the target may still execute the
first copy, or have it yet to come: once the second was answered, the late first one could undo a
write that is newer than both. So the supervisor has a copy of each TCP connection of nbdkit's: they
outlive it. When it has died they are closed in one direction, behind all that was sent, and what
the target still answers is read, until it closes the other direction. vof-target does that only
when nothing of the association is executed any more. Of another target it shows that it has taken
all that was sent, and no more than that unless it does likewise.

Nothing can be copied of RDMA's connections. There, and after a supervisor that was killed, it is
the kernel's patience alone that keeps the copies apart: see `Plan.kernel_timeout`.

Must not know what the connections carry, nor nbdkit's ways.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
from collections.abc import Iterable
from pathlib import Path

logger = logging.getLogger(__name__)

_CHUNK = 1 << 16
_LOST = "nbdkit had lost its session before it ended"

# States in which our side is closed, and the other is not (Linux's net/tcp_states.h). There is an
# end to be read then only where nbdkit has closed both directions.
_WAITING = (4, 5)

_FAMILIES = (socket.AF_INET, socket.AF_INET6)


class Fence:
    """The connections of one process to a target."""

    def __init__(self, sockets: Iterable[socket.socket]) -> None:
        """Take the connections, which belong to this object from now on."""
        self._open = list(sockets)
        self._closing = False
        self.reason = "" if self._open else "there is no TCP connection to wait for"
        """Why nothing is known of what the target executes, empty if that is over or to come."""

    @classmethod
    def of(cls, process: int, port: int, proc: Path = Path("/proc")) -> Fence:
        """Return one with the connections that the process has to ``port``. Nothing is raised:
        where they cannot be had it says so itself."""
        try:
            return cls(_copies(process, port, proc))
        except (ImportError, OSError) as error:
            found = cls(())
            found.reason = f"nbdkit's connections cannot be copied: {error}"
            return found

    def passed_within(self, seconds: float) -> bool:
        """Return whether the target has closed every connection, at the latest after so long. To be
        called after the process has ended, and may be again."""
        if not self._closing:
            self._closing = True
            for sock in list(self._open):
                try:
                    sock.shutdown(socket.SHUT_WR)
                except OSError:
                    self.reason = _LOST
                    self._ended(sock)
        poll = select.poll()
        for sock in self._open:
            poll.register(sock, select.POLLIN)
        ready = {fd for fd, _events in poll.poll(seconds * 1000)} if self._open else set()
        for sock in [each for each in self._open if each.fileno() in ready]:
            self._read(sock)
        return not self._open

    def drop(self, reason: str = "") -> None:
        """Close what is left of them, and know no more."""
        self.reason = reason or self.reason
        for sock in list(self._open):
            self._ended(sock)

    def _read(self, sock: socket.socket) -> None:
        try:
            while sock.recv(_CHUNK, socket.MSG_DONTWAIT):
                pass
            if _state(sock) in _WAITING:
                self.reason = _LOST
        except BlockingIOError:
            return
        except ConnectionResetError:
            pass
        except OSError as error:
            self.reason = f"the connection to the target failed: {error.strerror}"
        self._ended(sock)

    def _ended(self, sock: socket.socket) -> None:
        self._open.remove(sock)
        sock.close()


def _copies(process: int, port: int, proc: Path) -> list[socket.socket]:
    from vof.gateways.process import copy_descriptor  # noqa: PLC0415 - compiled

    handle = os.pidfd_open(process)
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, handle)
        found: list[socket.socket] = []
        for entry in (proc / str(process) / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if not str(entry.readlink()).startswith("socket:"):
                    continue
            try:
                copy = copy_descriptor(handle, int(entry.name))
            except OSError as error:
                for sock in found:
                    sock.close()
                raise error from None
            sock = socket.socket(fileno=copy)
            if _leads_to(sock, port):
                found.append(sock)
            else:
                sock.close()
        return found


def _state(sock: socket.socket) -> int:
    """Return the first field of TCP_INFO."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


def _leads_to(sock: socket.socket, port: int) -> bool:
    if sock.family not in _FAMILIES or sock.type != socket.SOCK_STREAM:
        return False
    try:
        return bool(sock.getpeername()[1] == port)
    except OSError:
        return False
