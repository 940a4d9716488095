# SPDX-License-Identifier: BSD-3-Clause
"""Opens the TCP connections of an association, bound to the local end the user asked for.

Owns name resolution, the connect deadline and the socket options. Must not send or receive.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time

from vof.errors import ConnectError

KEEPALIVE_IDLE = 5
KEEPALIVE_INTERVAL = 5
KEEPALIVE_PROBES = 2
"""Seconds, seconds and probes: an idle connection to a host that has vanished ends after 15 s."""


def connect_tcp(
    taddr: str, tport: int, iaddr: str | None, iport: int, timeout: float
) -> socket.socket:
    """Return a connected, blocking socket without Nagle's delay.

    ``taddr`` is an IPv4 or IPv6 address or a host name, whose addresses are tried in order within
    ``timeout`` seconds altogether. ``iaddr`` and ``iport`` (0: any) bind the local end. Raises
    ConnectError.
    """
    where = f"{taddr}:{tport}" if ":" not in taddr else f"[{taddr}]:{tport}"
    deadline = time.monotonic() + timeout
    try:
        found = socket.getaddrinfo(taddr, tport, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise ConnectError(f"cannot resolve taddr={taddr}: {error}; check the address") from None
    reason: OSError | None = None
    unbound: ConnectError | None = None
    for family, kind, protocol, _name, address in found:
        try:
            # The kernel may lack the family.
            sock = socket.socket(family, kind, protocol)
        except OSError as error:
            reason = error
            continue
        try:
            if iaddr or iport:
                _bind(sock, iaddr, iport)
            sock.settimeout(max(0.01, deadline - time.monotonic()))
            sock.connect(address)
        except ConnectError as error:
            # iaddr may be of the family of another of the target's addresses.
            sock.close()
            unbound = error
            continue
        except OSError as error:
            sock.close()
            reason = error
            continue
        sock.settimeout(None)
        _set_options(sock)
        return sock
    if reason is None:
        raise unbound or ConnectError(f"cannot connect to {where}: it has no address")
    if isinstance(reason, TimeoutError):
        raise ConnectError(
            f"cannot connect to {where}: no answer within {timeout:g} s; is the target's host up?",
            errno=errno.ETIMEDOUT,
        ) from None
    raise ConnectError(
        f"cannot connect to {where}: {_text(reason)}; is a target listening there?",
        errno=reason.errno,
    ) from None


def free_port(fd: int) -> None:
    """Let the closing of a connection free its local port at once, for another one to the same
    target: it is reset and not waited for."""
    with socket.socket(fileno=os.dup(fd)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _bind(sock: socket.socket, iaddr: str | None, iport: int) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    any_address = "::" if sock.family == socket.AF_INET6 else "0.0.0.0"
    try:
        local = socket.getaddrinfo(
            iaddr or any_address, iport, sock.family, socket.SOCK_STREAM, 0, socket.AI_PASSIVE
        )[0][4]
        sock.bind(local)
    except OSError as error:
        raise ConnectError(
            f"cannot use iaddr={iaddr or any_address} iport={iport} as the local end: "
            f"{_text(error)}"
        ) from None


def _text(error: OSError) -> str:
    # Errors of name resolution have negative numbers, and a text of their own.
    number = error.errno or 0
    return os.strerror(number) if number > 0 else str(error)


def _set_options(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
