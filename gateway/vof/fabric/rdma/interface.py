# SPDX-License-Identifier: BSD-3-Clause
"""The connection of a keyed queue: messages, writes to the peer's memory, and an end.

``link.RdmaLink`` is the one on RDMA; tests have another, in which the peer is a script. Every
method that fails raises ConnectionError (an OSError) with the reason in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Write(NamedTuple):
    """Bytes of ours that go to the peer's memory."""

    addr: int
    lkey: int
    length: int
    remote_addr: int
    rkey: int


class Link(Protocol):
    """A reliable connection. Whoever has one keeps ``send`` and ``probe`` to one thread at a time,
    and ``take`` and ``wait`` to one; ``stop`` may be called at any time by anyone."""

    commands: int
    """Completions that it has receives posted for, beside asynchronous events: no more commands
    than these may be in flight."""

    @property
    def armed(self) -> bool:
        """The next message makes ``fileno`` readable."""

    @property
    def writes(self) -> int:
        """RDMA WRITEs posted so far, probes among them."""

    @property
    def doorbells(self) -> int:
        """Times that something was posted to be sent: a message and the writes ahead of it are
        one."""

    def fileno(self) -> int:
        """Return the descriptor that is readable when ``wait`` finds something; -1 once closed."""

    def send(self, addr: int, length: int, lkey: int, writes: Sequence[Write] = ()) -> bool:
        """Post ``writes`` and then the message at ``addr``, all in one go; False, and nothing done,
        where the send queue has no room now."""

    def take(self) -> list[bytes]:
        """Return messages that have come, some of them at least. RemoteProtocolError for one that
        is longer than any completion."""

    def arm(self) -> None:
        """Have ``fileno`` tell of the next message. One that came before is found by ``take``."""

    def wait(self, seconds: float) -> list[bytes]:
        """Return messages that have come, after at most ``seconds`` if there are none."""

    def probe(self) -> None:
        """Send nothing, so that the connection fails if the peer's host is gone."""

    def stop(self) -> None:
        """End the connection: nothing reaches our memory any more, and a ``wait`` returns."""

    def close(self) -> None:
        """Give up what there is of it, after ``stop``; idempotent."""
