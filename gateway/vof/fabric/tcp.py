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
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock

from vof.errors import RemoteProtocolError, SessionLost, VofError
from vof.fabric.leader import Leadership
from vof.fabric.pending import Pending
from vof.wire.stream import Arrival, CompletionParser
from vof.wire.structs import Buffer

RECEIVE_BUFFER_SIZE = 64 * 1024
"""Bytes asked for at once where it is not yet known whose they are."""

DIRECT_RECEIVE_SIZE = 16 * 1024
"""Bytes still missing from a caller's buffer from which they are received straight into it."""

_MAX_SEGMENTS = 1024
"""Buffers the kernel takes in one receive (IOV_MAX)."""

_TICK = 1.0
"""Seconds between looks at the deadlines, at most."""

_SHORT_TICK = 0.05
"""Seconds, at least; also how long a sender that cannot lead waits before it tries again to."""

_SEND_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL


class TcpQueue:
    """One queue's connection. All methods may be called from any thread.

    ``timeout`` is the seconds a command may take before the connection is given up, None for ever.
    ``on_lost(queue, error, in_flight)`` is called once, when the connection has failed and nothing
    touches the buffers of the commands in flight any more; it must ``end`` each of them or keep it
    to send again.
    """

    def __init__(
        self,
        sock: socket.socket,
        name: str,
        on_lost: Callable[[TcpQueue, VofError, Sequence[Pending]], None],
        timeout: float | None = None,
    ) -> None:
        self.name = name
        self._socket = sock
        self._on_lost = on_lost
        self._error: VofError | None = None
        self._torn_down = False
        self._in_flight: dict[int, Pending] = {}
        self._arriving: deque[Pending] = deque()
        self._mutex = Lock()
        self._sending = Lock()
        self.leadership = Leadership(self._receive, self.expire)
        """Who receives; shared with ``tasks``."""
        self._parser = CompletionParser(self._expect)
        self._scratch = memoryview(bytearray(RECEIVE_BUFFER_SIZE))
        self._timeout: float | None = None
        self.set_timeout(timeout)

    @property
    def error(self) -> VofError | None:
        """What ended this queue, or None while it lives."""
        return self._error

    def set_timeout(self, timeout: float | None) -> None:
        """Set the seconds that each command submitted from now on may take; None for ever."""
        self._timeout = timeout
        tick = 0.0 if timeout is None else min(_TICK, max(_SHORT_TICK, timeout / 8))
        with contextlib.suppress(OSError):  # the queue may have ended
            _set_receive_timeout(self._socket, tick)

    def accept_refusals_with_buffers(self) -> None:
        """Parse refused vring commands as the reference target sends them (see
        ``CompletionParser``)."""
        self._parser.refusal_carries_buffers = True

    def submit(self, pending: Pending) -> None:
        """Send a command. Its command id must not be in flight.

        Raises the error that ended the queue, if it had ended before the command was taken;
        afterwards the pending carries the outcome.
        """
        with self._mutex:
            if self._error is not None:
                raise self._error.again()
            assert pending.command_id not in self._in_flight
            if self._timeout is not None:
                pending.deadline = time.monotonic() + self._timeout
            self._in_flight[pending.command_id] = pending
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
        """Return what arrived for a submitted command. Raises the error that ended it."""
        if not pending.done:
            try:
                self.leadership.wait(pending)
            except BaseException as error:
                self.give_up(error)
                raise
            if self._error is not None:
                self.settle()
        return pending.result()

    def end(self, pending: Pending, error: VofError) -> None:
        """End a command that ``on_lost`` was given."""
        pending.error = error
        self.leadership.finish(pending)

    def fail(self, error: VofError) -> None:
        """End the queue: every command in flight gets ``error``, and so does every later one."""
        self._mark_failed(error)
        self.settle()

    def close(self) -> None:
        """End the queue for good. Idempotent."""
        self.fail(SessionLost(f"{self.name}: closed"))

    # The end of the connection. First it is marked, by anyone: no send or receive goes on. Then a
    # thread that leads, so that none is receiving, waits for the sender and hands back what was in
    # flight.

    def _mark_failed(self, error: VofError) -> None:
        with self._mutex:
            if self._error is not None:
                return
            self._error = error
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def settle(self) -> None:
        """Finish the end of a queue that was marked as failed, if nobody else is about to."""
        # Where another thread leads, the shutdown wakes it and it comes by here or in _receive.
        if not self._torn_down and self.leadership.try_lead():
            try:
                self._tear_down()
            finally:
                self.leadership.release()

    def _tear_down(self) -> None:
        if self._torn_down:
            return
        self._torn_down = True
        # A sender may still be reading its caller's buffer, and someone shutting the socket down.
        with self._sending, self._mutex:
            self._socket.close()
            in_flight = [*self._arriving, *self._in_flight.values()]
            self._arriving.clear()
            self._in_flight.clear()
        assert self._error is not None
        self._on_lost(self, self._error, in_flight)

    def give_up(self, error: BaseException) -> None:
        """End the queue because a waiter leaves by an exception that is no mistake of the peer's.

        It takes its buffers along, so nothing may be received into them any more.
        """
        self.fail(SessionLost(f"{self.name}: internal error: {type(error).__name__}: {error}"))

    def _lost(self, reason: str) -> SessionLost:
        return SessionLost(f"{self.name}: connection lost: {reason}")

    def expire(self, pending: Pending) -> None:
        """End the queue because a command's deadline has passed; who leads ends its commands."""
        within = f" within {self._timeout:g} s" if self._timeout else ""
        self._mark_failed(self._lost(f"no answer to {pending.what}{within}"))

    # Receiving: by the thread that leads.

    def fileno(self) -> int:
        """Return the socket's descriptor, valid for whoever leads."""
        return self._socket.fileno()

    def receive_ready(self) -> None:
        """Receive what has come, if anything has. For a task that leads; see ``tasks``."""
        self._receive(socket.MSG_DONTWAIT)

    def look(self) -> None:
        """Notice, without blocking, that the connection has ended while nobody waited on it."""
        if self._error is None and self.leadership.try_lead():
            try:
                self._receive(socket.MSG_DONTWAIT)
            finally:
                self.leadership.release()

    def _receive(self, flags: int = 0) -> None:
        if self._error is None:
            self._pump(flags)
        if self._error is not None:
            self._tear_down()

    def _pump(self, flags: int = 0) -> None:
        """Receive once; a failure is marked, for the caller to see."""
        try:
            for arrival in self._receive_once(flags):
                pending = self._arriving.popleft()
                pending.arrival = arrival
                self.leadership.finish(pending)
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
        return arrivals

    def _expect(self, command_id: int) -> tuple[int, Sequence[memoryview]]:
        # Taken out of flight at once, so that a second completion finds nothing to write to.
        pending = self._in_flight.pop(command_id, None)
        if pending is None:
            raise RemoteProtocolError(
                f"completion for command id {command_id}, which is not in flight"
            )
        self._arriving.append(pending)
        return pending.first_id, pending.buffers

    # Sending.

    def _send(self, pending: Pending) -> None:
        parts = list(pending.parts)
        size = sum(map(len, parts))
        try:
            sent = self._socket.sendmsg(parts, (), _SEND_FLAGS)
        except BlockingIOError:
            sent = 0
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
        patience = _TICK
        if pending.deadline is not None:
            patience = min(patience, max(0.0, pending.deadline - time.monotonic()))
        poller = select.poll()
        if self.leadership.try_lead():
            try:
                poller.register(self._socket, select.POLLIN | select.POLLOUT)
                events = poller.poll(patience * 1000)
                if any(event & ~select.POLLOUT for _fd, event in events):
                    self._pump()
            finally:
                self.leadership.release()
        else:
            poller.register(self._socket, select.POLLOUT)
            poller.poll(min(patience, _SHORT_TICK) * 1000)
        if pending.deadline is not None and time.monotonic() >= pending.deadline:
            self.expire(pending)


def _drop(parts: list[Buffer], count: int) -> None:
    """Remove the first ``count`` bytes of gathered ``parts``."""
    while count:
        size = len(parts[0])
        if count < size:
            parts[0] = memoryview(parts[0])[count:]
            return
        count -= size
        del parts[0]


def _set_receive_timeout(sock: socket.socket, seconds: float) -> None:
    """Let a receive return after ``seconds`` without data (0: never), at no cost to one that finds
    some."""
    value = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
