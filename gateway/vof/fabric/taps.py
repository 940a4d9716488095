# SPDX-License-Identifier: BSD-3-Clause
"""Taps on connections, for somebody to look at what passes. Who looks is not this layer's business.

A program gives ``Taps`` to a session's parameters. Where there are none, nothing here is used.
"""

from __future__ import annotations

import socket
from typing import Protocol


class Tap(Protocol):
    """One connection's. ``sent`` is to be called before the peer can have the message, ``received``
    before anything is done with it. Nothing is raised."""

    def sent(self, data: bytes) -> None: ...

    def received(self, data: bytes) -> None: ...

    def closed(self) -> None: ...


class Taps(Protocol):
    """All connections'."""

    def stream(self, sock: socket.socket) -> socket.socket:
        """Return what is to be used in the place of a connected socket, which is gone. Raises
        OSError where the connection has ended."""

    def keyed(self, target: str) -> Tap:
        """Return what is to be told of the messages of a connection with such an address."""
