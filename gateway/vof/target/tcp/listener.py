# SPDX-License-Identifier: BSD-3-Clause
"""Listening sockets, one for each port, all at one address.

Owns the choice among the addresses of a name, and the words for what keeps a target from listening.
Must not know connections.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Sequence

from vof.errors import VofError
from vof.target.resolving import resolve

_BACKLOG = 4096


def listen(address: str, ports: Sequence[int]) -> list[socket.socket]:
    """Return listening stream sockets, one for each port, all at one address: the first that
    ``address`` is the name of where every port can be had. Raises VofError."""
    failure: VofError | None = None
    for family, kind, protocol, _name, place in resolve(address):
        with contextlib.ExitStack() as undo:
            socks = []
            for port in ports:
                try:
                    sock = undo.enter_context(socket.socket(family, kind, protocol))
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    sock.bind((place[0], port, *place[2:]))
                    sock.listen(_BACKLOG)
                except OSError as error:
                    failure = _reason(address, str(place[0]), port, error)
                    break
                socks.append(sock)
            else:
                undo.pop_all()
                return socks
    assert failure is not None  # getaddrinfo never returns an empty list
    raise failure


def _reason(name: str, address: str, port: int, error: OSError) -> VofError:
    """Say what keeps us from listening, and what to do about it."""
    where = address if address == name else f"{name} ({address})"
    free = "free it, or " if error.errno == errno.EADDRINUSE else ""
    return VofError(
        f"cannot listen on {where} port {port}: {error.strerror}; "
        f"{free}set another address or port in [target] (--address, --port with --demo)",
        errno=error.errno or errno.EIO,
    )
