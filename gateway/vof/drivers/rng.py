# SPDX-License-Identifier: BSD-3-Clause
"""The virtio-rng driver (virtio 1.2 §5.4): random bytes from the device's one virtqueue.

A request is one device-writable buffer, of which the device fills as much as it likes. A short
answer is legal; one of no bytes at all is asked again, a bounded number of times. Requests may be
made from threads or from trio tasks, several at a time within the queue's size. Must not judge the
bytes: whoever hands them on does.

A request waits as long as the device has nothing (§5.4.6 sets no time): a slow device is no lost
session, whatever the session's timeout. ``check`` tells the one from the other.
"""

from __future__ import annotations

import contextlib

from vof.drivers.registry import check_type, drives
from vof.errors import (
    CompletionError,
    DeviceError,
    LocalProtocolError,
    RemoteProtocolError,
)
from vof.initiator.parameters import SessionParameters
from vof.initiator.session import Session
from vof.initiator.virtqueue import Virtqueue
from vof.wire.constants import DeviceId
from vof.wire.stream import Arrival

MAX_REQUEST = 64 << 10
"""Bytes asked for by one request at most."""

EMPTY_ANSWERS = 16
"""Answers of no bytes in a row before a read fails."""


@drives(DeviceId.RNG, "virtio-rng")
class RngDriver:
    """A virtio-rng device ready for requests. Made by ``open``; closes its session."""

    def __init__(self, session: Session, queue: Virtqueue) -> None:
        self.session = session
        self._queue = queue
        self.depth = queue.size
        """Requests that may be in flight."""

    @classmethod
    def open(cls, parameters: SessionParameters) -> RngDriver:
        """Open a session and initialise the device. Raises ConnectError, and as ``attach``."""
        return cls.attach(Session.open(parameters))

    @classmethod
    def attach(cls, session: Session) -> RngDriver:
        """Initialise the device of a session, which is closed if that fails.

        Raises WrongDevice if the device is no virtio-rng, RemoteProtocolError, and what a session
        raises.
        """
        try:
            check_type(session, DeviceId.RNG)
            session.negotiate(0)
            if not session.queue_sizes.has(0):
                raise RemoteProtocolError(f"{session.where}: the device has no virtqueue")
            queue = session.open_virtqueues(1, wait_for_ever=True)[0]
            session.driver_ok()
        except BaseException:
            session.close()
            raise
        return cls(session, queue)

    def close(self) -> None:
        """Close the session. Idempotent; requests in flight fail."""
        self.session.close()

    def check(self) -> None:
        """Ask the target for a sign of life. Without one in the time that a control command may
        take the session ends, and with it the reads in flight. Raises SessionLost.
        """
        with contextlib.suppress(CompletionError):
            self.session.control.get_status()

    def read(self, data: memoryview) -> int:
        """Fill ``data`` from its start, at most ``MAX_REQUEST`` bytes; return how many, at least 1.

        Raises DeviceError if the device answers with nothing again and again, SessionLost.
        """
        data = data[:MAX_REQUEST]
        for _attempt in range(EMPTY_ANSWERS):
            pending = self._queue.submit("read", (), (), (data,))
            assert pending is not None
            if length := self._length(self._queue.wait(pending)):
                return length
        raise _nothing()

    async def read_in_task(self, data: memoryview) -> int:
        """As ``read``, from a trio task; the tasks keep to ``depth`` reads at a time."""
        data = data[:MAX_REQUEST]
        for _attempt in range(EMPTY_ANSWERS):
            pending = self._queue.submit("read", (), (), (data,), wait=False)
            if pending is None:
                raise LocalProtocolError(f"more than {self.depth} reads at a time")
            if length := self._length(await self._queue.wait_in_task(pending)):
                return length
        raise _nothing()

    def _length(self, arrival: Arrival) -> int:
        if arrival.completion.status:
            raise self._queue.refusal("read", arrival.completion.status)
        return min(arrival.lengths[0], arrival.used)


def _nothing() -> DeviceError:
    return DeviceError(f"the device gave no bytes in {EMPTY_ANSWERS} answers", 0)
