# SPDX-License-Identifier: BSD-3-Clause
"""Admission: the connections of one transport until their Connect has succeeded.

Owns how many connections there may be, the time that one has for its Connect, and the log lines by
which one is refused or dropped. A silent peer costs a descriptor and a deadline, never a thread.
Must not know how a connection comes about, nor how its Connect travels: an acceptor does, which
calls all of this in its one thread, but for ``count``.
"""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Callable
from itertools import takewhile
from typing import Generic, Protocol, TypeVar

from vof.errors import RemoteProtocolError
from vof.logline import Throttle, event
from vof.target.association import ConnectedQueue
from vof.target.config import Settings
from vof.target.connection import Connection
from vof.target.ending import Stalled
from vof.target.serving import Serving

ConnectionT = TypeVar("ConnectionT", bound=Connection)
ConnectionT_co = TypeVar("ConnectionT_co", bound=Connection, covariant=True)


class Newcomer(Protocol[ConnectionT_co]):
    """A connection that waits for its Connect. Compared by identity."""

    @property
    def peer(self) -> str:
        """The initiator's end, for log lines."""

    def fileno(self) -> int:
        """Return the descriptor that is readable when something has come."""

    def advance(self, refused: Callable[[str], None]) -> ConnectionT_co | None:
        """Take what has come; return the connection, of its queue now, once a Connect has
        succeeded.

        ``refused`` is told why one was refused. Raises RemoteProtocolError, Stalled or OSError
        where the connection is to be closed.
        """

    def close(self) -> None:
        """Close the connection."""


class Admission(Generic[ConnectionT]):
    """The connections of one transport, from their beginning to their thread."""

    def __init__(
        self,
        settings: Settings,
        release: Callable[[ConnectedQueue], None],
        selector: selectors.BaseSelector,
        **fields: object,
    ) -> None:
        """``selector`` is the acceptor's; what waits is registered there with itself as data.
        ``fields`` are logged of each connection that has connected."""
        self.settings = settings
        """May be replaced at any time; holds for what is accepted from then on."""
        self.serving: Serving[ConnectionT] = Serving(release)
        self._selector = selector
        self._fields = fields
        # In the order in which they were accepted, which is mostly that of their deadlines.
        self._deadlines: dict[Newcomer[ConnectionT], float] = {}
        self._throttle = Throttle(10.0)

    def count(self) -> int:
        """Return how many connections there are."""
        return len(self.serving) + len(self._deadlines)

    def has_room(self, peer: str | None = None) -> bool:
        """Return whether there may be one more, from ``peer``, having said so where not."""
        limit = self.settings.connections
        if self.count() < limit:
            return True
        self.refuse(peer, f"{limit} connections are the limit")
        return False

    def refuse(self, peer: str | None, reason: str) -> None:
        """Log that a connection is refused."""
        self.warn("refused", peer=peer, reason=reason)

    def warn(self, what: str, *, reason: str, peer: str | None = None) -> None:
        """Log why somebody is not let in, unless that was done just now."""
        self._throttle.event(logging.WARNING, what, peer=peer, reason=reason)

    def admit(self, newcomer: Newcomer[ConnectionT]) -> None:
        """Let it wait for its Connect."""
        self._deadlines[newcomer] = time.monotonic() + self.settings.handshake_timeout
        self._selector.register(newcomer.fileno(), selectors.EVENT_READ, newcomer)

    def waiting(self) -> list[Newcomer[ConnectionT]]:
        """Return those that wait for their Connect."""
        return list(self._deadlines)

    def advance(self, newcomer: Newcomer[ConnectionT]) -> None:
        """Something has come on a connection that waits; nothing is done where it does not."""
        if newcomer not in self._deadlines:
            return
        peer = newcomer.peer
        try:
            connection = newcomer.advance(
                lambda reason: event(logging.INFO, "connect-refused", peer=peer, reason=reason)
            )
        except RemoteProtocolError as error:
            event(logging.WARNING, "violation", peer=peer, reason=str(error))
            self.drop(newcomer)
        except (Stalled, OSError):
            self.drop(newcomer)
        else:
            if connection:
                self._forget(newcomer)
                self.serving.start(connection, **self._fields)

    def seconds_left(self) -> float | None:
        """Return the time until the next deadline; None where there is none."""
        for deadline in self._deadlines.values():
            return max(0.0, deadline - time.monotonic())
        return None

    def drop_late(self) -> None:
        """Close those whose time is up."""
        now = time.monotonic()
        late = list(takewhile(lambda item: self._deadlines[item] <= now, self._deadlines))
        if late:
            event(
                logging.WARNING,
                "handshake-timeout",
                peer=late[0].peer,
                more=len(late) - 1 or None,
                reason="no Connect came in time",
            )
        for newcomer in late:
            self.drop(newcomer)

    def drop(self, newcomer: Newcomer[ConnectionT]) -> None:
        """Close a connection that waits."""
        self._forget(newcomer)
        newcomer.close()

    def drop_all(self) -> None:
        """Close all that wait."""
        for newcomer in self.waiting():
            self.drop(newcomer)

    def _forget(self, newcomer: Newcomer[ConnectionT]) -> None:
        del self._deadlines[newcomer]
        self._selector.unregister(newcomer.fileno())
