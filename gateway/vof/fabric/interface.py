# SPDX-License-Identifier: BSD-3-Clause
"""The interface between fabric and initiator: a queue, whatever carries it.

``tcp.queue.TcpQueue`` is the reference; ``vof.engine.native.NativeQueue`` does the same without the
interpreter, and the same tests run on each. ``rdma.queue.RdmaQueue`` carries by keys what they
stream.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from vof.counts import Counts
from vof.errors import VofError
from vof.fabric.pending import Pending
from vof.wire.connect import Connect, Names
from vof.wire.stream import Arrival
from vof.wire.structs import Buffer


class InFlight(Protocol):
    """A request that ``on_lost`` was given: a ``Pending``, or one of an engine's own."""

    @property
    def what(self) -> str: ...

    @property
    def command_id(self) -> int: ...


class Activity(NamedTuple):
    """The state of a queue at this moment."""

    in_flight: int
    """Commands submitted and not done."""
    leading: bool
    """Somebody receives for all, or is about to."""
    followers: int
    """Those who wait meanwhile."""
    sending: bool
    waiting_for_room: int
    """Threads whose command has no room yet."""


class Statistics(NamedTuple):
    """The work of a queue since it was made."""

    submitted: int
    completed: int
    """Commands, however they ended."""
    sends: int
    receives: int
    """System calls that moved something."""
    bytes_sent: int
    bytes_received: int
    led: int
    followed: int
    """Waits that received themselves, and those that slept while another did."""
    rdma_writes: int = 0
    doorbells: int = 0
    """RDMA WRITEs posted, and how often anything was posted to be sent: writes and the message
    behind them go at once. Over RDMA ``sends`` and ``receives`` are messages."""
    eager_sent: int = 0
    eager_full: int = 0
    """Requests whose device-readable bytes went to the target's eager range, and those that had to
    be read by it because there was no room in there."""


class Queue(Protocol):
    """One queue's connection. All methods may be called from any thread."""

    name: str

    @property
    def error(self) -> VofError | None:
        """The error that ended this queue, or None while it lives."""

    def set_timeout(self, timeout: float | None) -> None:
        """Set the seconds that each command submitted from now on may take; None for ever."""

    def accept_refusals_with_buffers(self) -> None:
        """Parse refused vring commands as the reference target sends them (see
        ``wire.stream.CompletionParser``)."""

    def accept_events(self) -> None:
        """Take asynchronous events from now on, as a control queue does in a dialect that has them;
        without this their command ids are a violation."""

    @property
    def config_changes(self) -> int:
        """The number of times the target has said that its device's config space changed."""

    # Forming commands: in the form in which they travel here, with what they need in flight.

    def resize(self, size: int) -> None:
        """Say how many descriptors may be in flight, or commands in *v5*."""

    def take_id(self, room: int, *, wait: bool) -> int | None:
        """Take so much room, at most the size; return the lowest free command id.

        Without room: waits, or returns None if ``wait`` is false.
        """

    def give_back_id(self, command_id: int, room: int) -> None:
        """Give back what ``take_id`` gave, once the command is done."""

    def prepare(
        self,
        what: str,
        readable: Sequence[int],
        payload: Sequence[Buffer],
        writable: Sequence[memoryview],
        tail: int = 0,
        *,
        wait: bool = True,
        counted: bool = False,
    ) -> Pending | None:
        """Form a virtqueue's request, with the lowest free command id and room for its descriptors,
        or in *v5* for one command.

        ``readable`` gives the lengths of the device-readable descriptors, ``payload`` their bytes
        in any division; ``writable`` the device-writable buffers, of which every answer that has
        any bytes has the last ``tail``. ``counted`` says that the answer may have a gap before the
        tail, and that its size matters. At most as much as the size.

        Without room: waits, or returns None if ``wait`` is false. A thread that has commands in
        flight must not wait here, for it may be the one that would have received them.
        """

    def release(self, pending: Pending) -> None:
        """Give back what ``prepare`` took, once the request is done or was not submitted."""

    def prepare_control(self, what: str, command: bytes) -> Pending:
        """Form a control command that is its 16 bytes alone, command id included."""

    def prepare_connect(self, what: str, connect: Connect, names: Names) -> Pending:
        """Form a Connect."""

    # Commands.

    def submit(self, pending: Pending) -> None:
        """Send a command. Its command id must not be in flight.

        Raises the error that ended the queue, if it had ended before the command was taken;
        afterwards the pending carries the outcome.
        """

    def wait(self, pending: Pending) -> Arrival:
        """Return what arrived for a submitted command. Raises the error that ended it."""

    # Waiting in a task: see ``tasks``.

    def fileno(self) -> int:
        """Return the socket's descriptor, valid for whoever leads."""

    def lead_or_follow(self, pending: Pending, wake: Callable[[], None]) -> bool:
        """Return True if the caller leads now. If not, ``wake`` is called once, from any thread.

        Then the pending is done, or the caller leads: see ``leads``. One that is done already is
        neither led nor followed: False, and ``wake`` is called at once.
        """

    def leads(self, pending: Pending) -> bool:
        """Return whether one that was woken has the lead; False where its command is done."""

    def release_lead(self) -> None:
        """Give up the lead; one of the followers has it next."""

    def receive_ready(self) -> None:
        """Receive what has come, if anything has; for who leads."""

    def check_deadline(self, pending: Pending) -> None:
        """Give up the connection if the pending's deadline has passed."""

    def expire(self, pending: Pending) -> None:
        """End the queue because a command's deadline has passed; who leads ends its commands."""

    # The end.

    def look(self) -> None:
        """Notice, without blocking, that the connection has ended while nobody waited on it."""

    def fail(self, error: VofError) -> None:
        """End the queue: every command in flight gets ``error``, and so does every later one."""

    def give_up(self, error: BaseException) -> None:
        """End the queue because a waiter leaves by an exception that is no mistake of the peer's.

        It takes its buffers along, so nothing may be received into them any more.
        """

    def close(self) -> None:
        """End the queue for good. Idempotent."""

    def settle(self) -> None:
        """Finish the end of a queue that was marked as failed, if nobody else is about to."""

    def end(self, item: InFlight, error: VofError) -> None:
        """End a command that ``on_lost`` was given."""

    # Going on over another connection.

    def attach(self, sock: socket.socket) -> None:
        """Go on over ``sock``, which belongs to the queue from now on.

        To be called after ``on_lost`` was, by whoever kept what it was given. Raises
        LocalProtocolError if the queue has not ended, or not wholly.
        """

    def resubmit(self, item: InFlight) -> None:
        """Send a command that ``on_lost`` was given once more, over the connection attached since.

        Raises as ``submit``.
        """

    def activity(self) -> Activity: ...

    def statistics(self) -> Statistics: ...

    def counts(self) -> Counts:
        """Return what was done so far, by the commands' names."""

    def count_failed(self, what: str) -> None:
        """Say that a device has failed a request of that name, which was counted as answered."""


OnLost: TypeAlias = Callable[[Queue, VofError, Sequence[InFlight]], None]
"""Called once for each connection of a queue, when it has failed and nothing touches the buffers of
the commands in flight any more. It must ``end`` each of them or keep it to ``resubmit``; they come
in the order of their submission."""
