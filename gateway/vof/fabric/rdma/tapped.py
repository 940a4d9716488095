# SPDX-License-Identifier: BSD-3-Clause
"""A link whose messages somebody looks at, but not what it writes to the peer's memory."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from vof.fabric.rdma.interface import Link, Write
from vof.fabric.taps import Tap


class TappedLink:
    """Takes the place of a ``Link``."""

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
