# SPDX-License-Identifier: BSD-3-Clause
"""The virtio-console driver (virtio 1.2 §5.3): bytes in both directions of its one port.

Some requests to receive are always with the device, which fills them in order; their bytes are
handed on in that order, and each is asked for again when it was taken. So a reader that stops makes
the device stop. A request of either queue may wait for ever, whatever the session's timeout: for
who is at the other end. Used from trio tasks or from threads; one reader and one writer at a time.
"""

from __future__ import annotations

from collections import deque

from vof.drivers.registry import check_type, drives
from vof.errors import RemoteProtocolError
from vof.fabric.pending import Pending
from vof.initiator.parameters import SessionParameters
from vof.initiator.session import Session
from vof.wire.console import NUM_QUEUES, RECEIVE_QUEUE, TRANSMIT_QUEUE, Config
from vof.wire.constants import DeviceId
from vof.wire.layout import layout_of
from vof.wire.stream import Arrival

RECEIVES = 4
"""Requests to receive that are with the device, at most."""

RECEIVE_SIZE = 4 << 10
"""Bytes that each has room for."""

MAX_TRANSMIT = 4 << 10
"""Bytes of one request to transmit, at most."""


@drives(DeviceId.CONSOLE, "virtio-console", layout_of(Config))
class ConsoleDriver:
    """A virtio-console ready for requests. Made by ``open``; closes its session."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._receiveq = session.virtqueues[RECEIVE_QUEUE]
        self._transmitq = session.virtqueues[TRANSMIT_QUEUE]
        self._posted: deque[tuple[Pending, bytearray]] = deque()
        self._receives = max(1, min(RECEIVES, self._receiveq.depth(1)))

    @classmethod
    def open(cls, parameters: SessionParameters) -> ConsoleDriver:
        """Open a session and initialise the device. Raises ConnectError, and as ``attach``."""
        return cls.attach(Session.open(parameters))

    @classmethod
    def attach(cls, session: Session) -> ConsoleDriver:
        """Initialise the device of a session, which is closed if that fails.

        Raises WrongDevice if the device is no virtio-console, RemoteProtocolError, and what a
        session raises.
        """
        try:
            check_type(session, DeviceId.CONSOLE)
            session.negotiate(0)
            if not session.queue_sizes.has(TRANSMIT_QUEUE):
                raise RemoteProtocolError(f"{session.where}: the device has no transmitq")
            session.open_virtqueues(NUM_QUEUES, wait_for_ever=True)
            session.driver_ok()
            driver = cls(session)
            driver._post()
        except BaseException:
            session.close()
            raise
        return driver

    def close(self) -> None:
        """Close the session. Idempotent; requests in flight fail."""
        self.session.close()

    def read(self) -> bytes:
        """Return the next bytes, when there are any. Raises CompletionError, SessionLost."""
        while True:
            pending, buffer = self._posted.popleft()
            if data := self._received(self._receiveq.wait(pending), buffer):
                return data

    async def read_in_task(self) -> bytes:
        """As ``read``, from a trio task. Not to be cancelled while it waits."""
        while True:
            pending, buffer = self._posted.popleft()
            if data := self._received(await self._receiveq.wait_in_task(pending), buffer):
                return data

    def write(self, data: memoryview) -> None:
        """Have the device take all of ``data``, in pieces. Raises CompletionError, SessionLost."""
        while data:
            pending = self._start_write(data[:MAX_TRANSMIT])
            self._written(self._transmitq.wait(pending))
            data = data[MAX_TRANSMIT:]

    async def write_in_task(self, data: memoryview) -> None:
        """As ``write``, from a trio task. Not to be cancelled while it waits."""
        while data:
            pending = self._start_write(data[:MAX_TRANSMIT])
            self._written(await self._transmitq.wait_in_task(pending))
            data = data[MAX_TRANSMIT:]

    def _post(self) -> None:
        while len(self._posted) < self._receives:
            buffer = bytearray(RECEIVE_SIZE)
            pending = self._receiveq.submit("receive", (), (), (memoryview(buffer),))
            assert pending is not None
            self._posted.append((pending, buffer))

    def _received(self, arrival: Arrival, buffer: bytearray) -> bytes:
        if arrival.completion.status:
            raise self._receiveq.refusal("receive", arrival.completion.status)
        count = min(arrival.lengths[0], arrival.used)
        self._post()
        return bytes(memoryview(buffer)[:count])

    def _start_write(self, piece: memoryview) -> Pending:
        pending = self._transmitq.submit("transmit", (len(piece),), (piece,), ())
        assert pending is not None
        return pending

    def _written(self, arrival: Arrival) -> None:
        if arrival.completion.status:
            raise self._transmitq.refusal("transmit", arrival.completion.status)
