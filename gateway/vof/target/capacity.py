# SPDX-License-Identifier: BSD-3-Clause
"""The number of connections that a target's file descriptors suffice for.

A connection beyond them is to be refused, at once: while it waits to be accepted its initiator
waits too. Must not know what a connection is for.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from vof.descriptors import count_open, limit, too_few
from vof.errors import VofError
from vof.wire.constants import Transport

# Of one connection: over TCP a control queue has two, and so has a native queue that waits for its
# disk.
_EACH = {Transport.TCP: 2, Transport.RDMA: 3}

_RESERVE = 12
"""For what is opened beside them: listeners, what they are waited for with, a file that is read."""


@dataclass(frozen=True)
class Capacity:
    """The number of connections there is room for; made before the target listens, and after its
    devices are open."""

    connections: int
    """Of each transport."""
    descriptors: int
    """That this process may have."""

    @classmethod
    def now(cls, transports: Collection[Transport]) -> Capacity:
        """Return what there is room for. Raises VofError where that is not a single connection."""
        descriptors = limit()
        room = descriptors - count_open() - _RESERVE
        connections = room // sum(_EACH[item] for item in transports)
        if connections < 1:
            raise VofError(
                f"no room for these devices and one connection: {too_few()}",
                errno=errno.EMFILE,
            )
        return cls(connections, descriptors)

    def wanted(self, connections: int, transports: Collection[Transport]) -> int:
        """Return how many descriptors it takes for so many connections."""
        missing = connections - self.connections
        return self.descriptors + missing * sum(_EACH[item] for item in transports)


class Spare:
    """A descriptor that is given up for a moment where there is none left, to refuse a connection.

    Without it the connection would stay in the queue of its listener, and its initiator would wait.
    """

    def __init__(self) -> None:
        self._fd = -1
        self.renew()

    def refuse(self, listener: socket.socket) -> tuple[str, int]:
        """Close the connection that ``listener`` has waiting; return its peer's address.

        Raises OSError where there is none, or somebody else has taken the descriptor.
        """
        self.close()
        try:
            sock, address = listener.accept()
            sock.close()
        finally:
            self.renew()
        return address  # type: ignore[no-any-return]

    def close(self) -> None:
        """Give it up. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def renew(self) -> None:
        """Have one again, as soon as there is one. Idempotent."""
        if self._fd < 0:
            with suppress(OSError):
                self._fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
