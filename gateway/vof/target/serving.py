# SPDX-License-Identifier: BSD-3-Clause
"""Connections of one transport after their Connect, each in a thread of its own.

Owns the threads, and who waits for their end. Must not know how a connection serves, nor how it is
closed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from vof.logline import event
from vof.target.association import ConnectedQueue
from vof.target.connection import Connection

ConnectionT = TypeVar("ConnectionT", bound=Connection)


class Serving(Generic[ConnectionT]):
    """The connections that have a thread."""

    def __init__(self, release: Callable[[ConnectedQueue], None]) -> None:
        """``release`` is told of the queue whose connection is gone."""
        self._release = release
        self._changed = threading.Condition()
        self._connections: set[ConnectionT] = set()

    def __len__(self) -> int:
        return len(self._connections)

    def connections(self) -> list[ConnectionT]:
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

    def start(self, connection: ConnectionT, **fields: object) -> None:
        """Serve ``connection``, or close it where the system has no more threads for us.
        ``fields`` are logged too."""
        with self._changed:
            self._connections.add(connection)
        connected = connection.connected
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
            connection.close()
            self._forget(connection)

    def _serve(self, connection: ConnectionT) -> None:
        connection.run(self._release)
        self._forget(connection)

    def _forget(self, connection: ConnectionT) -> None:
        with self._changed:
            self._connections.discard(connection)
            self._changed.notify_all()
