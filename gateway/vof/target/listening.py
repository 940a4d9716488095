# SPDX-License-Identifier: BSD-3-Clause
"""What a target listens with: one acceptor for each transport, all on one port.

Owns how they start, take new settings and end together. Must not know what a connection serves.
What RDMA needs is imported only where it is asked for.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from typing import Protocol

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
    """What accepts the connections of one transport."""

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
        self.port = settings.port
        self.places: list[str] = []
        """Every address, port and transport, as a user reads it."""
        self._acceptors: list[Acceptor] = []
        sock = None
        try:
            if Transport.TCP in settings.transports:
                sock = listen(settings)
                address, self.port = sock.getsockname()[:2]
                self._note(address, Transport.TCP)
            if Transport.RDMA in settings.transports:
                rdma = load()
                listeners = rdma.listen(settings.address, self.port)
                self.port = listeners[0].port
                for item in listeners:
                    self._note(item.address, Transport.RDMA)
                self._acceptors.append(rdma.acceptor(listeners, table, settings, taps))
        except BaseException:
            if sock:
                sock.close()
            raise
        if sock:
            self._acceptors.append(tcp.Acceptor(sock, table, settings, taps))

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

    def _note(self, address: str, transport: Transport) -> None:
        self.address = self.address or address
        place = f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"
        self.places.append(f"{place} ({transport.value})")


def check(settings: Settings) -> None:
    """Raise VofError where this machine cannot listen as ``settings`` say, as far as one can tell
    without doing it."""
    if Transport.RDMA in settings.transports:
        load()
        choose(settings.address)


def listen(settings: Settings) -> socket.socket:
    """Return a listening stream socket. Raises VofError."""
    address, port = settings.address, settings.port
    try:
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else "not a host name"
        raise ConfigError(
            f"cannot find the address {address!r}: {reason}; correct address in [target]"
        ) from None
    failure: OSError | None = None
    for family, kind, protocol, _name, place in found:
        sock = None
        try:
            sock = socket.socket(family, kind, protocol)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(place)
            sock.listen(_BACKLOG)
        except OSError as error:
            failure = error
            if sock:
                sock.close()
        else:
            return sock
    assert failure is not None  # getaddrinfo never returns an empty list
    raise VofError(
        f"cannot listen on {address} port {port}: {failure.strerror}; "
        "free it, or set another address or port in [target]",
        errno=failure.errno,
    )
