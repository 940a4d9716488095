# SPDX-License-Identifier: BSD-3-Clause
"""Taps on connections, for somebody to look at what passes. Who looks is not this layer's business.

A program gives ``Taps`` to a session's parameters. Where there are none, nothing here is used.
"""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Sequence
from typing import Protocol

from vof.fabric.link import Link, Write


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


class TappedLink:
    """A ``Link`` whose messages somebody looks at, but not what it writes to the peer's memory."""

    def __init__(self, link: Link, tap: Tap) -> None:
        self._link = link
        self._tap = tap
        self._refused = False
        self.commands = link.commands

    @property
    def armed(self) -> bool:
        return self._link.armed

    @property
    def writes(self) -> int:
        return self._link.writes

    @property
    def doorbells(self) -> int:
        return self._link.doorbells

    def fileno(self) -> int:
        return self._link.fileno()

    def send(self, addr: int, length: int, lkey: int, writes: Sequence[Write] = ()) -> bool:
        if not self._refused:  # or else it is offered again, and was seen
            self._tap.sent(ctypes.string_at(addr, length))
        self._refused = not self._link.send(addr, length, lkey, writes)
        return not self._refused

    def take(self) -> list[bytes]:
        return self._seen(self._link.take())

    def arm(self) -> None:
        self._link.arm()

    def wait(self, seconds: float) -> list[bytes]:
        return self._seen(self._link.wait(seconds))

    def probe(self) -> None:
        self._link.probe()

    def stop(self) -> None:
        self._link.stop()

    def close(self) -> None:
        self._tap.closed()
        self._link.close()

    def _seen(self, messages: list[bytes]) -> list[bytes]:
        for message in messages:
            self._tap.received(bytes(message))
        return messages
