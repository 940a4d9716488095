# SPDX-License-Identifier: BSD-3-Clause
"""Connections of one transport after their Connect, each in a thread of its own; and the end of
those that never had one.

Owns the log lines of both. Must not know how a connection serves, nor how it is closed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from itertools import takewhile
from typing import Generic, Protocol, TypeVar

from vof.logline import event
from vof.target.association import ConnectedQueue


class Served(Protocol):
    """A connection that has an association."""

    @property
    def peer(self) -> str:
        """The initiator's end, for log lines."""

    @property
    def name(self) -> str:
        """Name of the thread, as debuggers show it."""

    @property
    def is_control(self) -> bool:
        """True for a control queue's."""

    def run(self, release: Callable[[ConnectedQueue], None]) -> None:
        """Serve until the connection ends; then ``release`` its queue and close it."""

    def finish(self, grace: float) -> None:
        """Serve what has arrived, for at most ``grace`` seconds of it, and close."""

    def abort(self) -> None:
        """End the connection at once."""


class Waiting(Protocol):
    """A connection that waits for its Connect."""

    @property
    def peer(self) -> str:
        """The initiator's end, for log lines."""

    @property
    def deadline(self) -> float:
        """The time (monotonic) until which it may wait."""


ServedT = TypeVar("ServedT", bound=Served)
WaitingT = TypeVar("WaitingT", bound=Waiting)


class Serving(Generic[ServedT]):
    """The connections that have a thread."""

    def __init__(self, release: Callable[[ConnectedQueue], None]) -> None:
        """``release`` is told of the queue whose connection is gone."""
        self._release = release
        self._changed = threading.Condition()
        self._connections: set[ServedT] = set()

    def __len__(self) -> int:
        return len(self._connections)

    def connections(self) -> list[ServedT]:
        """Return those that there are now."""
        with self._changed:
            return list(self._connections)

    def wait_for(self, connections: Iterable[object], deadline: float) -> bool:
        """Wait until all of ``connections`` have ended; False where the time did not suffice."""
        rest = set(connections)
        with self._changed:
            return self._changed.wait_for(
                lambda: not rest & self._connections, max(0.0, deadline - time.monotonic())
            )

    def start(
        self,
        connection: ServedT,
        connected: ConnectedQueue,
        close: Callable[[], None],
        **fields: object,
    ) -> None:
        """Serve ``connection``, or ``close`` it where the system has no more threads for us.
        ``fields`` are logged too."""
        with self._changed:
            self._connections.add(connection)
        association = connected.association
        event(
            logging.INFO,
            "connected",
            peer=connection.peer,
            tvqn=association.device.tvqn,
            ivqn=association.ivqn,
            target_id=association.target_id,
            queue="control" if connected.index is None else connected.index,
            **fields,
        )
        thread = threading.Thread(
            target=self._serve, args=(connection,), name=connection.name, daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            association.end("no-thread", str(error), peer=connection.peer)
            self._release(connected)
            close()
            self._forget(connection)

    def _serve(self, connection: ServedT) -> None:
        connection.run(self._release)
        self._forget(connection)

    def _forget(self, connection: ServedT) -> None:
        with self._changed:
            self._connections.discard(connection)
            self._changed.notify_all()


def expired(waiting: Iterable[WaitingT]) -> list[WaitingT]:
    """Return those whose time is up, and log it. ``waiting`` is in the order of their deadlines,
    mostly."""
    now = time.monotonic()
    found = list(takewhile(lambda item: item.deadline <= now, waiting))
    if found:
        event(
            logging.WARNING,
            "handshake-timeout",
            peer=found[0].peer,
            more=len(found) - 1 or None,
            reason="no Connect came in time",
        )
    return found
