# SPDX-License-Identifier: BSD-3-Clause
"""The stream fabric in Python: one TCP connection carries one queue's commands.

Owns the socket, the table of commands in flight and the order of sends; frames by ``wire.stream``.
A completion's data is received straight into the waiting caller's buffer. Any failure ends the
connection and every command in flight at once; whoever made the queue is told through ``on_lost``,
the seam at which a later reconnect will take over what was in flight.

Must not know what the commands mean.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock

from vof.errors import LocalProtocolError, RemoteProtocolError, SessionLost, VofError
from vof.fabric import stream_requests
from vof.fabric.interface import Activity, InFlight, OnLost, Statistics
from vof.fabric.leader import Leadership
from vof.fabric.pending import Pending
from vof.fabric.room import Room
from vof.fabric.ticks import SHORT_TICK, TICK, set_receive_timeout, tick_of
from vof.wire.constants import AsyncEvent
from vof.wire.framing import Framing
from vof.wire.stream import Arrival, Expected
from vof.wire.structs import HEAD, Buffer, ConnectBody, ConnectCommand

RECEIVE_BUFFER_SIZE = 64 * 1024
"""Bytes asked for at once where it is not yet known whose they are."""

DIRECT_RECEIVE_SIZE = 16 * 1024
"""Bytes still missing from a caller's buffer from which they are received straight into it."""

DEFAULT_SIZE = 256
"""Descriptors in flight until the queue's real size is known."""

_EVENTS = {int(event): event for event in AsyncEvent}

_MAX_SEGMENTS = 1024
"""Buffers the kernel takes in one receive (IOV_MAX)."""

_SEND_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL


class TcpQueue:
    """One queue's connection; see ``interface.Queue`` for what is not described here.

    ``timeout`` is the seconds a command may take before the connection is given up, None for ever;
    ``size`` the number of descriptors that may be in flight; ``framing`` how requests travel.
    """

    def __init__(
        self,
        sock: socket.socket,
        name: str,
        on_lost: OnLost,
        timeout: float | None = None,
        size: int = DEFAULT_SIZE,
        framing: Framing = Framing.SEGMENTS,
    ) -> None:
        self.name = name
        self.framing = framing
        self._socket = sock
        self._on_lost = on_lost
        self._error: VofError | None = None
        self._torn_down = False
        self._owner = os.getpid()
        self._inherited = False
        self._in_flight: dict[int, Pending] = {}
        self._arriving: deque[Pending | AsyncEvent] = deque()
        self._takes_events = False
        self.config_changes = 0
        self._mutex = Lock()
        self._sending = Lock()
        self._leadership = Leadership(self._receive, self.expire)
        self._room = Room(size)
        self._parser = framing.completion_parser()(self._expect)
        self._scratch = memoryview(bytearray(RECEIVE_BUFFER_SIZE))
        self._timeout: float | None = None
        self._sequence = itertools.count()
        self._submitted = self._completed = 0
        self._sends = self._bytes_sent = 0
        self._receives = self._bytes_received = 0
        self.set_timeout(timeout)

    @property
    def error(self) -> VofError | None:
        """What ended this queue, or None while it lives."""
        return self._error

    def set_timeout(self, timeout: float | None) -> None:
        self._timeout = timeout
        with contextlib.suppress(OSError):  # the queue may have ended
            set_receive_timeout(self._socket, tick_of(timeout))

    def accept_refusals_with_buffers(self) -> None:
        self._parser.refusal_carries_buffers = True

    def accept_events(self) -> None:
        self._takes_events = True

    def resize(self, size: int) -> None:
        self._room.resize(size)

    def take_id(self, descriptors: int, *, wait: bool) -> int | None:
        return self._room.take(descriptors, wait=wait)

    def give_back_id(self, command_id: int, descriptors: int) -> None:
        self._room.give_back(command_id, descriptors)

    def prepare(
        self,
        what: str,
        readable: Sequence[int],
        payload: Sequence[Buffer],
        writable: Sequence[memoryview],
        tail: int = 0,
        *,
        wait: bool = True,
    ) -> Pending | None:
        return stream_requests.prepare(self, what, readable, payload, writable, tail, wait=wait)

    def release(self, pending: Pending) -> None:
        stream_requests.release(self, pending)

    def prepare_control(self, what: str, command: bytes) -> Pending:
        return Pending(what, HEAD.unpack_from(command)[1], [command])

    def prepare_connect(self, what: str, command: ConnectCommand, body: ConnectBody) -> Pending:
        return stream_requests.prepare_connect(what, command, body)

    def submit(self, pending: Pending) -> None:
        pending.carrier = next(self._sequence)
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

    def statistics(self) -> Statistics:
        return Statistics(
            submitted=self._submitted,
            completed=self._completed,
            sends=self._sends,
            receives=self._receives,
            bytes_sent=self._bytes_sent,
            bytes_received=self._bytes_received,
            led=self._leadership.led,
            followed=self._leadership.followed,
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
        self._mark_failed(self._lost(f"no answer to {pending.what}{within}"))

    def settle(self) -> None:
        # Where another thread leads, the shutdown wakes it and it comes by here or in _receive.
        if not self._torn_down and self._leadership.try_lead():
            try:
                self._tear_down()
            finally:
                self._leadership.release()

    def attach(self, sock: socket.socket) -> None:
        with self._mutex:
            if self._error is None or not self._torn_down:
                raise LocalProtocolError(f"{self.name}: its connection has not ended")
            refusals = self._parser.refusal_carries_buffers
            self._parser = self.framing.completion_parser()(self._expect)
            self._parser.refusal_carries_buffers = refusals
            self._socket = sock
            self._owner = os.getpid()
            self._inherited = False
            self._torn_down = False
            self._error = None
        self.set_timeout(self._timeout)

    def _leave_to_parent(self) -> None:
        """In a child made by fork, forget the threads that were in here: they are its parent's."""
        self._inherited = True
        self._torn_down &= self._socket.fileno() < 0
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
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def _tear_down(self) -> None:
        if self._torn_down or self._error is None:
            return
        # A sender may still be reading its caller's buffer, and someone shutting the socket down.
        with self._sending, self._mutex:
            self._torn_down = True
            error = self._error
            self._socket.close()
            arriving = [item for item in self._arriving if isinstance(item, Pending)]
            in_flight = [*arriving, *self._in_flight.values()]
            in_flight.sort(key=_submission)
            self._arriving.clear()
            self._in_flight.clear()
            for pending in in_flight:
                pending.deadline = None
        self._on_lost(self, error, in_flight)

    def _lost(self, reason: str) -> SessionLost:
        return SessionLost(f"{self.name}: connection lost: {reason}")

    def _finish(self, pending: Pending) -> None:
        with self._mutex:
            self._completed += 1
        self._leadership.finish(pending)

    # Receiving: by the thread that leads.

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive_ready(self) -> None:
        self._receive(socket.MSG_DONTWAIT)

    def look(self) -> None:
        if self._error is None and self._leadership.try_lead():
            try:
                self._receive(socket.MSG_DONTWAIT)
            finally:
                self._leadership.release()

    def _receive(self, flags: int = 0) -> None:
        if self._error is None:
            self._pump(flags)
        elif self._torn_down and not flags:
            # What was in flight is kept to be sent again, over another connection.
            time.sleep(SHORT_TICK)
        if self._error is not None:
            self._tear_down()

    def _pump(self, flags: int = 0) -> None:
        """Receive once; a failure is marked, for the caller to see."""
        try:
            for arrival in self._receive_once(flags):
                pending = self._arriving.popleft()
                if not isinstance(pending, Pending):
                    self.config_changes += pending is AsyncEvent.CONFIG_CHANGE
                    continue
                pending.arrival = arrival
                self._finish(pending)
        except BlockingIOError:
            pass  # nothing has come, or a tick has passed: the waiter looks at its deadline
        except RemoteProtocolError as error:
            self._mark_failed(
                RemoteProtocolError(f"{self.name}: protocol violation by the target: {error}")
            )
        except OSError as error:
            self._mark_failed(self._lost(error.strerror or str(error)))

    def _receive_once(self, flags: int) -> list[Arrival]:
        parser = self._parser
        direct = parser.destinations()[:_MAX_SEGMENTS]
        missing = sum(map(len, direct)) if direct else 0
        if missing < DIRECT_RECEIVE_SIZE:
            count = self._socket.recv_into(self._scratch, 0, flags)
            arrivals = parser.feed(self._scratch[:count])
        else:
            spare = [self._scratch] if len(direct) < _MAX_SEGMENTS else []
            count = self._socket.recvmsg_into([*direct, *spare], 0, flags)[0]
            arrivals = parser.advance(min(count, missing))
            if count > missing:
                arrivals += parser.feed(self._scratch[: count - missing])
        if not count:
            self._mark_failed(self._lost("closed by the target"))
        self._receives += 1
        self._bytes_received += count
        return arrivals

    def _expect(self, command_id: int) -> Expected:
        if self._takes_events and command_id in _EVENTS:
            self._arriving.append(_EVENTS[command_id])
            return Expected()
        # Taken out of flight at once, so that a second completion finds nothing to write to.
        pending = self._in_flight.pop(command_id, None)
        if pending is None:
            raise RemoteProtocolError(
                f"completion for command id {command_id}, which is not in flight"
            )
        self._arriving.append(pending)
        return Expected(pending.first_id, pending.buffers, pending.tail)

    # Sending.

    def _send(self, pending: Pending) -> None:
        parts = list(pending.parts)
        size = sum(map(len, parts))
        try:
            sent = self._socket.sendmsg(parts, (), _SEND_FLAGS)
        except BlockingIOError:
            sent = 0
        self._sends += 1
        self._bytes_sent += size
        while sent < size:
            size -= sent
            _drop(parts, sent)
            self._await_room(pending)
            if self._error is not None:
                return
            try:
                sent = self._socket.sendmsg(parts, (), _SEND_FLAGS)
            except BlockingIOError:
                sent = 0

    def _await_room(self, pending: Pending) -> None:
        """Wait until the socket takes more, or something has changed.

        The target may be waiting for us to take completions before it reads on, so a sender that
        has to wait receives meanwhile, unless another thread does.
        """
        patience = TICK
        if pending.deadline is not None:
            patience = min(patience, max(0.0, pending.deadline - time.monotonic()))
        poller = select.poll()
        if self._leadership.try_lead():
            try:
                poller.register(self._socket, select.POLLIN | select.POLLOUT)
                events = poller.poll(patience * 1000)
                if any(event & ~select.POLLOUT for _fd, event in events):
                    self._pump()
            finally:
                self._leadership.release()
        else:
            poller.register(self._socket, select.POLLOUT)
            poller.poll(min(patience, SHORT_TICK) * 1000)
        if pending.deadline is not None and time.monotonic() >= pending.deadline:
            self.expire(pending)


def _submission(pending: Pending) -> int:
    """Return the order in which commands were submitted the first time."""
    assert isinstance(pending.carrier, int)
    return pending.carrier


def _drop(parts: list[Buffer], count: int) -> None:
    """Remove the first ``count`` bytes of gathered ``parts``."""
    while count:
        size = len(parts[0])
        if count < size:
            parts[0] = memoryview(parts[0])[count:]
            return
        count -= size
        del parts[0]
