# SPDX-License-Identifier: BSD-3-Clause
"""The stream fabric in Python: one TCP connection carries one queue's commands.

Owns the socket and the order of sends; frames by ``wire.stream``. A completion's data is received
straight into the waiting caller's buffer. ``attach`` is the seam at which a reconnect takes over
what was in flight.

Must not know what the commands mean.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections import deque
from collections.abc import Sequence

from vof.errors import LocalProtocolError
from vof.fabric.interface import OnLost, Statistics
from vof.fabric.pending import Pending
from vof.fabric.queue import EVENTS, BaseQueue
from vof.fabric.tcp import requests
from vof.fabric.ticks import SHORT_TICK, TICK, set_receive_timeout, tick_of
from vof.wire.connect import Connect, Names
from vof.wire.constants import AsyncEvent
from vof.wire.dialect import Framing
from vof.wire.framing import completion_parser
from vof.wire.stream import Arrival, Expected
from vof.wire.structs import HEAD, Buffer

RECEIVE_BUFFER_SIZE = 64 * 1024
"""Bytes asked for at once where it is not yet known whose they are."""

DIRECT_RECEIVE_SIZE = 16 * 1024
"""Bytes still missing from a caller's buffer from which they are received straight into it."""

DEFAULT_SIZE = 256
"""Descriptors in flight until the queue's real size is known."""

_MAX_SEGMENTS = 1024
"""Buffers the kernel takes in one receive (IOV_MAX)."""

_SEND_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL


class TcpQueue(BaseQueue):
    """One queue over ``sock``, which belongs to it from now on; see ``BaseQueue``. ``framing`` says
    how requests travel."""

    def __init__(
        self,
        sock: socket.socket,
        name: str,
        on_lost: OnLost,
        timeout: float | None = None,
        size: int = DEFAULT_SIZE,
        framing: Framing = Framing.CHAINS,
    ) -> None:
        super().__init__(name, on_lost, timeout, size)
        self.framing = framing
        self._socket = sock
        self._arriving: deque[Pending | AsyncEvent] = deque()
        self._parser = completion_parser(framing)(self._expect)
        self._scratch = memoryview(bytearray(RECEIVE_BUFFER_SIZE))
        self._sends = self._bytes_sent = 0
        self._receives = self._bytes_received = 0
        self.set_timeout(timeout)

    def set_timeout(self, timeout: float | None) -> None:
        super().set_timeout(timeout)
        with contextlib.suppress(OSError):  # the queue may have ended
            set_receive_timeout(self._socket, tick_of(timeout))

    def accept_refusals_with_buffers(self) -> None:
        self._parser.refusal_carries_buffers = True

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
        return requests.prepare(self, what, readable, payload, writable, tail, wait=wait)

    def release(self, pending: Pending) -> None:
        requests.release(self, pending)

    def prepare_control(self, what: str, command: bytes) -> Pending:
        return Pending(what, HEAD.unpack_from(command)[1], [command])

    def prepare_connect(self, what: str, connect: Connect, names: Names) -> Pending:
        return requests.prepare_connect(what, connect, names)

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

    # The connection.

    def fileno(self) -> int:
        return self._socket.fileno()

    def attach(self, sock: socket.socket) -> None:
        with self._mutex:
            if self._error is None or not self._torn_down:
                raise LocalProtocolError(f"{self.name}: its connection has not ended")
            refusals = self._parser.refusal_carries_buffers
            self._parser = completion_parser(self.framing)(self._expect)
            self._parser.refusal_carries_buffers = refusals
            self._socket = sock
            self._owner = os.getpid()
            self._inherited = False
            self._torn_down = False
            self._error = None
        self.set_timeout(self._timeout)

    def _interrupt(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _discard(self) -> list[Pending]:
        self._socket.close()
        arriving = [item for item in self._arriving if isinstance(item, Pending)]
        self._arriving.clear()
        return arriving

    # Receiving.

    def _receive_once(self, *, wait: bool) -> None:
        for arrival in self._receive_some(0 if wait else socket.MSG_DONTWAIT):
            item = self._arriving.popleft()
            if not isinstance(item, Pending):
                self._take_event(item)
                continue
            item.arrival = arrival
            self._finish(item)

    def _receive_some(self, flags: int) -> list[Arrival]:
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
        if self._takes_events and command_id in EVENTS:
            self._arriving.append(EVENTS[command_id])
            return Expected()
        # Taken out of flight at once, so that a second completion finds nothing to write to.
        pending = self._in_flight.pop(command_id, None)
        if pending is None:
            raise self._not_in_flight(command_id)
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
                    self._pump(wait=True)
            finally:
                self._leadership.release()
        else:
            poller.register(self._socket, select.POLLOUT)
            poller.poll(min(patience, SHORT_TICK) * 1000)
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
