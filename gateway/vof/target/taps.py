# SPDX-License-Identifier: BSD-3-Clause
"""Taps on a target's connections, for somebody to look at what passes, whoever that may be.

Where nobody does, nothing of this is used.
"""

from __future__ import annotations

import socket
from typing import Protocol


class Tap(Protocol):
    """One connection's. ``sent`` is to be called before the initiator can have the message,
    ``received`` before anything is done with it. Nothing is raised."""

    def sent(self, data: bytes) -> None: ...

    def received(self, data: bytes) -> None: ...

    def closed(self) -> None: ...


class Taps(Protocol):
    """All connections'."""

    def stream(self, sock: socket.socket) -> socket.socket:
        """Return what is to be used in the place of a socket that was accepted, which is gone.
        Raises OSError where the connection has ended."""

    def keyed(self, initiator: str, target: str) -> Tap:
        """Return what is to be told of the messages of a connection between these, named as in
        log lines."""
