# SPDX-License-Identifier: BSD-3-Clause
"""A queue in Python, but for its transport: commands in flight, who waits for them, the end.

Any failure ends the connection and every command in flight at once; whoever made the queue is told
through ``on_lost``. A subclass for each transport sends, receives and gives up the connection:
``tcp.queue`` over a stream, ``rdma.queue`` by keys.

Must not know how a command travels, nor what it means.
"""

from __future__ import annotations

import itertools
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from threading import Lock
from typing import cast

from vof.counts import Tally
from vof.errors import NoAnswer, RemoteProtocolError, SessionLost, VofError
from vof.fabric.ended import count_ended
from vof.fabric.interface import Activity, InFlight, OnLost, Queue
from vof.fabric.leader import Leadership
from vof.fabric.pending import Pending
from vof.fabric.room import Room
from vof.fabric.ticks import SHORT_TICK
from vof.wire.constants import MAX_COMMAND_ID, AsyncEvent
from vof.wire.stream import Arrival

EVENTS = {int(event): event for event in AsyncEvent}
"""By their command ids."""


class BaseQueue(ABC):
    """One queue's connection; see ``interface.Queue`` for what is not described here.

    ``timeout`` is the seconds a command may take before the connection is given up, None for ever;
    ``size`` and ``commands`` are the room and the number of commands that may be in flight.
    """

    def __init__(
        self,
        name: str,
        on_lost: OnLost,
        timeout: float | None,
        size: int,
        commands: int = MAX_COMMAND_ID + 1,
    ) -> None:
        self.name = name
        self._on_lost = on_lost
        self._error: VofError | None = None
        self._torn_down = False
        self._owner = os.getpid()
        self._inherited = False
        self._in_flight: dict[int, Pending] = {}
        self._takes_events = False
        self.config_changes = 0
        self._mutex = Lock()
        self._sending = Lock()
        self._leadership = Leadership(self._receive, self.expire)
        self._room = Room(size, commands)
        self._timeout = timeout
        self._sequence = itertools.count()
        self._submitted = self._completed = 0
        self._tally = tally = Tally()
        self.counts, self.count_failed = tally.counts, tally.failed

    # What each transport does.

    @abstractmethod
    def fileno(self) -> int: ...

    @abstractmethod
    def _send(self, pending: Pending) -> None:
        """Send a command, or stop where the queue has failed meanwhile; nobody else does. Raises
        OSError where the connection fails."""

    @abstractmethod
    def _receive_once(self, *, wait: bool) -> None:
        """Receive once, with ``wait`` after a while if need be, and ``_finish`` what came; for who
        leads. Raises OSError where the connection fails, BlockingIOError where nothing came,
        RemoteProtocolError."""

    @abstractmethod
    def _interrupt(self) -> None:
        """End the connection, and so every send and receive that goes on; the queue has failed."""

    @abstractmethod
    def _discard(self) -> list[Pending]:
        """Close what was interrupted; nobody sends or receives. From here on nothing touches the
        buffers of the commands in flight. Returns those that are not in ``_in_flight``."""

    # Commands.

    @property
    def error(self) -> VofError | None:
        """The error that ended this queue, or None while it lives."""
        return self._error

    def set_timeout(self, timeout: float | None) -> None:
        self._timeout = timeout

    def accept_events(self) -> None:
        self._takes_events = True

    def resize(self, size: int) -> None:
        self._room.resize(size)

    def take_id(self, room: int, *, wait: bool) -> int | None:
        return self._room.take(room, wait=wait)

    def give_back_id(self, command_id: int, room: int) -> None:
        self._room.give_back(command_id, room)

    def submit(self, pending: Pending) -> None:
        pending.sequence = next(self._sequence)
        pending.submitted_at = time.monotonic()
        self._submit(pending)

    def resubmit(self, item: InFlight) -> None:
        assert isinstance(item, Pending)
        self._submit(item, again=True)

    def _submit(self, pending: Pending, *, again: bool = False) -> None:
        with self._mutex:
            if self._error is not None:
                raise self._error.again()
            assert pending.command_id not in self._in_flight
            if self._timeout is not None:
                pending.deadline = time.monotonic() + self._timeout
            self._in_flight[pending.command_id] = pending
            self._submitted += not again
        try:
            with self._sending:
                if self._error is None:
                    self._send(pending)
        except OSError as error:
            self._mark_failed(self._lost(f"sending {pending.what}: {error.strerror or error}"))
        except BaseException as error:
            self.give_up(error)
            raise
        if self._error is not None:
            self.settle()

    def wait(self, pending: Pending) -> Arrival:
        if not pending.done:
            try:
                self._leadership.wait(pending)
            except BaseException as error:
                self.give_up(error)
                # The buffers stay lent until who leads has let go of them.
                self._leadership.wait(pending)
                raise
            if self._error is not None:
                self.settle()
        return pending.result()

    def activity(self) -> Activity:
        return Activity(
            in_flight=self._submitted - self._completed,
            leading=self._leadership.leading,
            followers=self._leadership.followers,
            sending=self._sending.locked(),
            waiting_for_room=self._room.waiting,
        )

    def _finish(self, pending: Pending) -> None:
        with self._mutex:
            self._completed += 1
        count_ended(self._tally, pending)
        self._leadership.finish(pending)

    def _take_event(self, event: AsyncEvent) -> None:
        self.config_changes += event is AsyncEvent.CONFIG_CHANGE

    def _not_in_flight(self, command_id: int) -> RemoteProtocolError:
        return RemoteProtocolError(
            f"completion for command id {command_id}, which is not in flight"
        )

    # Waiting in a task.

    def lead_or_follow(self, pending: Pending, wake: Callable[[], None]) -> bool:
        return self._leadership.lead_or_follow(pending, wake)

    def leads(self, pending: Pending) -> bool:
        return self._leadership.leads(pending)

    def release_lead(self) -> None:
        self._leadership.release()

    def check_deadline(self, pending: Pending) -> None:
        self._leadership.check_deadline(pending)

    # Receiving: by the thread that leads.

    def receive_ready(self) -> None:
        self._receive(wait=False)

    def look(self) -> None:
        if self._error is None and self._leadership.try_lead():
            try:
                self._receive(wait=False)
            finally:
                self._leadership.release()

    def _receive(self, *, wait: bool = True) -> None:
        if self._error is None:
            self._pump(wait=wait)
        elif self._torn_down and wait:
            # What was in flight is kept to be sent again, over another connection.
            time.sleep(SHORT_TICK)
        if self._error is not None:
            self._tear_down()

    def _pump(self, *, wait: bool) -> None:
        """Receive once; a failure is marked, for the caller to see."""
        try:
            self._receive_once(wait=wait)
        except BlockingIOError:
            pass  # nothing has come, or a tick has passed: the waiter looks at its deadline
        except RemoteProtocolError as error:
            self._mark_failed(
                RemoteProtocolError(f"{self.name}: protocol violation by the target: {error}")
            )
        except OSError as error:
            self._mark_failed(self._lost(error.strerror or str(error)))

    # The end of the connection. First it is marked, by anyone: no send or receive goes on. Then a
    # thread that leads, so that none is receiving, waits for the sender and hands back what was in
    # flight.

    def end(self, item: InFlight, error: VofError) -> None:
        assert isinstance(item, Pending)
        item.error = error
        self._finish(item)

    def fail(self, error: VofError) -> None:
        if os.getpid() != self._owner and not self._inherited:
            self._leave_to_parent()
        self._mark_failed(error)
        self.settle()

    def close(self) -> None:
        self.fail(SessionLost(f"{self.name}: closed"))

    def give_up(self, error: BaseException) -> None:
        self.fail(SessionLost(f"{self.name}: internal error: {type(error).__name__}: {error}"))

    def expire(self, pending: Pending) -> None:
        pending.deadline = None
        within = f" within {self._timeout:g} s" if self._timeout else ""
        reason = f"no answer to {pending.what}{within}"
        self._mark_failed(NoAnswer(f"{self.name}: connection lost: {reason}"))

    def settle(self) -> None:
        # Where another thread leads, the interruption wakes it and it comes by here or in _receive.
        if not self._torn_down and self._leadership.try_lead():
            try:
                self._tear_down()
            finally:
                self._leadership.release()

    def _leave_to_parent(self) -> None:
        """In a child made by fork, forget the threads that were in here: they are its parent's."""
        self._inherited = True
        self._torn_down &= self.fileno() < 0
        self._mutex = Lock()
        self._sending = Lock()
        self._leadership = Leadership(self._receive, self.expire)

    def _mark_failed(self, error: VofError) -> None:
        with self._mutex:
            if self._error is not None:
                return
            self._error = error
            # A child made by fork must not end its parent's connection.
            if os.getpid() == self._owner:
                self._interrupt()

    def _tear_down(self) -> None:
        if self._torn_down or self._error is None:
            return
        # A sender may still be reading its caller's buffer, and someone interrupting the two.
        with self._sending, self._mutex:
            self._torn_down = True
            error = self._error
            in_flight = [*self._discard(), *self._in_flight.values()]
            in_flight.sort(key=_submission)
            self._in_flight.clear()
            for pending in in_flight:
                pending.deadline = None
        self._on_lost(cast("Queue", self), error, in_flight)  # with a transport it is one

    def _lost(self, reason: str) -> SessionLost:
        return SessionLost(f"{self.name}: connection lost: {reason}")


def _submission(pending: Pending) -> int:
    """Return the order in which commands were submitted the first time."""
    return pending.sequence
