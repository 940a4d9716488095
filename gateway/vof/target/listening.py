# SPDX-License-Identifier: BSD-3-Clause
"""Listens for initiators: one acceptor for each transport, all at the same ports.

Owns how they start, take new settings and end together. Must not know what a connection serves.
What RDMA needs is imported only where it is asked for.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterable, Sequence
from typing import Protocol

from vof.addresses import with_port
from vof.errors import ConfigError, VofError
from vof.target import acceptor as tcp
from vof.target.association import AssociationTable
from vof.target.config import Settings
from vof.target.rdma.addresses import choose
from vof.target.rdma.loading import load
from vof.target.serving import Served
from vof.target.taps import Taps
from vof.wire.constants import Transport

_BACKLOG = 4096


class Acceptor(Protocol):
    """Accepts the connections of one transport."""

    settings: Settings

    def start(self) -> None:
        """Begin to accept."""

    def stop_accepting(self) -> None:
        """Accept nothing more, and close every connection without an association."""

    def count(self) -> int:
        """Return how many connections there are."""

    def connected(self) -> Sequence[Served]:
        """Return the connections that have an association."""

    def wait_for(self, connections: Iterable[object], deadline: float) -> bool:
        """Wait until all of ``connections`` have ended; False where the time did not suffice."""

    def close(self) -> None:
        """Close what is left; no connection is."""


class Listening:
    """All that one target listens with."""

    def __init__(
        self, table: AssociationTable, settings: Settings, taps: Taps | None = None
    ) -> None:
        """``taps`` look at all that passes. Raises VofError, with nothing left open."""
        self.address = ""
        """The first numeric address that is listened on."""
        self.ports: list[int] = []
        """Those that are listened on."""
        self.places: list[str] = []
        """Every address, port and transport, as a user reads it."""
        self._acceptors: list[Acceptor] = []
        # Those with a number first: a free one that is chosen must be none of them.
        wanted = sorted(settings.ports, key=lambda port: port == 0)
        socks: list[socket.socket] = []
        with contextlib.ExitStack() as undo:
            if Transport.TCP in settings.transports:
                socks = [undo.enter_context(sock) for sock in listen(settings.address, wanted)]
                for sock in socks:
                    address, port = sock.getsockname()[:2]
                    self._note(address, port, Transport.TCP)
                wanted = list(self.ports)
            if Transport.RDMA in settings.transports:
                rdma = load()
                listeners = []
                for port in wanted:
                    for item in rdma.listen(settings.address, port):
                        undo.callback(item.close)
                        listeners.append(item)
                        self._note(item.address, item.port, Transport.RDMA)
                self._acceptors.append(rdma.acceptor(listeners, table, settings, taps))
            if socks:
                self._acceptors.append(tcp.Acceptor(socks, table, settings, taps))
            undo.pop_all()

    def start(self) -> None:
        """Begin to accept."""
        for acceptor in self._acceptors:
            acceptor.start()

    def count(self) -> int:
        """Return how many connections there are, those without an association included."""
        return sum(acceptor.count() for acceptor in self._acceptors)

    def apply(self, settings: Settings) -> None:
        """Let ``settings`` hold for what is accepted from now on."""
        for acceptor in self._acceptors:
            acceptor.settings = settings

    def stop(self, grace: float, deadline: float) -> bool:
        """Serve what has arrived, and close everything; False where that took longer than until
        ``deadline`` (monotonic)."""
        for acceptor in self._acceptors:
            acceptor.stop_accepting()
        finished = True
        # The virtqueues first: an association ends with its control queue, whatever is in flight.
        for control in (False, True):
            groups = [
                (acceptor, [item for item in acceptor.connected() if item.is_control is control])
                for acceptor in self._acceptors
            ]
            for _acceptor, group in groups:
                for connection in group:
                    connection.finish(grace)
            for acceptor, group in groups:
                if not acceptor.wait_for(group, deadline):
                    finished = False
                    for connection in group:
                        connection.abort()
        if finished:
            for acceptor in self._acceptors:
                acceptor.close()
        return finished

    def _note(self, address: str, port: int, transport: Transport) -> None:
        self.address = self.address or address
        if port not in self.ports:
            self.ports.append(port)
        self.places.append(f"{with_port(address, port)} ({transport.value})")


def check(settings: Settings) -> None:
    """Raise VofError where this machine cannot listen as ``settings`` say, as far as one can tell
    without doing it."""
    if Transport.RDMA in settings.transports:
        load()
        choose(settings.address)


def listen(address: str, ports: Sequence[int]) -> list[socket.socket]:
    """Return listening stream sockets, one for each port, all at one address: the first that
    ``address`` is the name of where every port can be had. Raises VofError."""
    try:
        found = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else "not a host name"
        raise ConfigError(
            f"cannot find the address {address!r}: {reason}; correct address in [target]"
        ) from None
    failure: VofError | None = None
    for family, kind, protocol, _name, place in found:
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
