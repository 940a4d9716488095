# SPDX-License-Identifier: BSD-3-Clause
"""Opens the TCP connections of an association, bound to the local end the user asked for.

Owns the socket options, and the words for what keeps a connection from being made. Must not send or
receive.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Sequence
from functools import partial
from typing import Any

from vof.descriptors import SHORTAGES, explain
from vof.errors import ConnectError
from vof.fabric.destination import Address, Destination, resolve
from vof.fabric.staggered import AllFailed, Attempt, Wait, first_of
from vof.fabric.unreachable import Failure, unreachable

KEEPALIVE_IDLE = 5
KEEPALIVE_INTERVAL = 5
KEEPALIVE_PROBES = 2
"""Seconds, seconds and probes: an idle connection to a host that has vanished ends after 15 s."""

_ADVICE = {
    errno.ECONNREFUSED: "is a target listening there?",
    errno.ETIMEDOUT: "is the target's host up?",
    errno.EHOSTUNREACH: "is the target's host up, and the address right?",
    errno.ENETUNREACH: "check the address and this machine's routes",
    errno.EAFNOSUPPORT: "use an address of another kind",
    errno.EADDRNOTAVAIL: "see which local ports are in use (ss -tn)",
    errno.EACCES: "check the address and this machine's firewall",
    errno.EPERM: "check this machine's firewall",
}
_OTHER_ADVICE = "check the address"


def connect_tcp(destination: Destination, iaddr: str | None, iport: int) -> socket.socket:
    """Return a connected, blocking socket without Nagle's delay, and settle ``destination`` at the
    address that it goes to.

    ``iaddr`` and ``iport`` (0: any) bind the local end. Raises ConnectError, ConfigError.
    """
    addresses = destination.addresses()
    local = resolve("iaddr", iaddr, iport, destination.deadline) if iaddr else []
    try:
        index, sock = first_of(
            [partial(_attempt, address, iaddr, iport, local) for address in addresses],
            destination.deadline,
        )
    except AllFailed as failed:
        explained = partial(_failure, destination.deadline.seconds)
        raise unreachable(destination, failed, explained) from None
    destination.settle(addresses[index])
    return sock


def _attempt(
    address: Address, iaddr: str | None, iport: int, local: Sequence[Address]
) -> Attempt[socket.socket]:
    # The kernel may lack the family.
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        if iaddr or iport:
            _bind(sock, iaddr, iport, local)
        sock.setblocking(False)
        error = sock.connect_ex(address.place)
        if error == errno.EINPROGRESS:
            yield Wait(sock.fileno(), select.POLLOUT)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        sock.setblocking(True)
        _set_options(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def _failure(seconds: float, address: str, reason: OSError | None) -> Failure:
    number = errno.ETIMEDOUT if reason is None else reason.errno
    if reason is None:
        text = f"no answer within {seconds:g} s"
    elif number in SHORTAGES:
        return Failure(address, explain(reason), number)
    else:
        text = reason.strerror or str(reason)
    return Failure(address, text, number, _ADVICE.get(number or 0, _OTHER_ADVICE))


def free_port(fd: int) -> None:
    """Let the closing of a connection free its local port at once, for another one to the same
    target: it is reset and not waited for."""
    sock = socket.socket(fileno=fd)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    finally:
        sock.detach()


def _bind(sock: socket.socket, iaddr: str | None, iport: int, local: Sequence[Address]) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    places: list[tuple[Any, ...]] = [item.place for item in local if item.family == sock.family]
    any_address = "::" if sock.family == socket.AF_INET6 else "0.0.0.0"
    if not iaddr:
        places = [(any_address, iport)]
    reason = "the target has no address of its kind"
    try:
        if places:
            sock.bind(places[0])
            return
    except OSError as error:
        reason = explain(error)
    raise ConnectError(
        f"cannot use iaddr={iaddr or any_address} iport={iport} as the local end: {reason}"
    )


def _set_options(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
