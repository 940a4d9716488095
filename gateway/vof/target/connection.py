# SPDX-License-Identifier: BSD-3-Clause
"""A connection after its Connect: the thread that serves its queue, and the order in which it ends.

Owns its name, its events, and the order of closing, which peers rely on and every transport keeps.
Must not know how bytes travel: a transport fills in ``serve``, ``settle`` and
``close``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from vof.target.association import ConnectedQueue
from vof.target.async_events import Mailbox
from vof.target.ending import end_by
from vof.wire.constants import AsyncEvent


class Connection(ABC):
    """One connected queue: the control queue, or a virtqueue.

    ``run`` is the body of its thread. ``abort``, ``notify``, ``reset`` and ``finish`` are called
    from any other.
    """

    connected: ConnectedQueue
    """The queue; to be set before the thread starts."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        """The initiator's end, for log lines."""
        self.events = Mailbox()

    @property
    def is_control(self) -> bool:
        """True for the control queue's connection."""
        return self.connected.index is None

    @property
    def name(self) -> str:
        """Name of the thread, as debuggers show it."""
        queue = self.connected.index
        return f"vof-{self.connected.association.target_id}-{'c' if queue is None else queue}"

    def notify(self, event: AsyncEvent, completion: bytes) -> None:
        """Send the completion that says an event, some time."""
        self.events.post(event, completion)

    def reset(self) -> None:  # noqa: B027 - most have none
        """The device was reset: revoke what the initiator can reach by key, if there are keys."""

    def run(self, release: Callable[[ConnectedQueue], None]) -> None:
        """Serve until the connection ends; then ``release`` its queue and close it."""
        try:
            self.serve()
        except Exception as error:  # noqa: BLE001 - ends this association only
            self.fail(error)
        finally:
            self.settle()
            # Everything this queue had in progress is over: now it may be connected again, and a
            # peer that sees the connection closed can rely on that.
            release(self.connected)
            # The control queue's closing says it of all: those that ended with it were cut off with
            # requests in progress.
            if self.is_control:
                self.connected.association.wait_until_left()
            self.close()

    def fail(self, error: Exception) -> None:
        """End what ``error`` ends, the connection with it."""
        end_by(error, self.connected.association, self.peer)
        # Where the association had ended before, this connection is still to be ended.
        self.abort()

    @abstractmethod
    def abort(self) -> None:
        """End the connection at once. What is being executed goes on, but is not answered."""

    @abstractmethod
    def finish(self, grace: float) -> None:
        """Serve what has arrived, for at most ``grace`` seconds of it, and close."""

    @abstractmethod
    def serve(self) -> None:
        """Serve until the connection ends. Raises what ends it."""

    @abstractmethod
    def settle(self) -> None:
        """Wait for what is in progress; nothing is sent any more that nobody asked for."""

    @abstractmethod
    def close(self) -> None:
        """Close it, and let go of all that it holds. Nothing of it is in progress."""
