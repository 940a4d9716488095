# SPDX-License-Identifier: BSD-3-Clause
"""Listens for initiators: one acceptor for each transport, all at the same ports.

Owns how they start, take new settings and end together. Must not know what a connection serves.
What RDMA needs is imported only where it is asked for.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any, Protocol

from vof.addresses import with_port
from vof.target.admission import Admission
from vof.target.association_table import AssociationTable
from vof.target.config import Settings
from vof.target.rdma.addresses import choose
from vof.target.rdma.loading import load
from vof.target.taps import Taps
from vof.target.tcp.acceptor import Acceptor as TcpAcceptor
from vof.target.tcp.listener import listen
from vof.wire.constants import Transport


class Acceptor(Protocol):
    """Accepts the connections of one transport."""

    admission: Admission[Any]

    def start(self) -> None:
        """Begin to accept."""

    def stop_accepting(self) -> None:
        """Accept nothing more, and close every connection without an association."""

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
                self._acceptors.append(TcpAcceptor(socks, table, settings, taps))
            undo.pop_all()

    def start(self) -> None:
        """Begin to accept."""
        for acceptor in self._acceptors:
            acceptor.start()

    def count(self) -> int:
        """Return how many connections there are, those without an association included."""
        return sum(acceptor.admission.count() for acceptor in self._acceptors)

    def apply(self, settings: Settings) -> None:
        """Let ``settings`` hold for what is accepted from now on."""
        for acceptor in self._acceptors:
            acceptor.admission.settings = settings

    def stop(self, grace: float, deadline: float) -> bool:
        """Serve what has arrived, and close everything; False where that took longer than until
        ``deadline`` (monotonic)."""
        for acceptor in self._acceptors:
            acceptor.stop_accepting()
        finished = True
        # The virtqueues first: an association ends with its control queue, whatever is in flight.
        for control in (False, True):
            groups = [
                (serving, [item for item in serving.connections() if item.is_control is control])
                for serving in (acceptor.admission.serving for acceptor in self._acceptors)
            ]
            for _serving, group in groups:
                for connection in group:
                    connection.finish(grace)
            for serving, group in groups:
                if not serving.wait_for(group, deadline):
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
