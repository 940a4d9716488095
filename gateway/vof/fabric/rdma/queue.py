# SPDX-License-Identifier: BSD-3-Clause
"""The keyed fabric: one reliable connection carries one queue's commands as messages that name
registered memory.

Owns which commands are in flight over a ``Link`` and where their bytes are meanwhile. A request's
device-readable bytes are copied into registered memory when it is formed, and what the device wrote
is copied out once when its completion has come. Nothing here resumes over another connection: the
target's keys and ours end with it.

Must not know pyverbs, nor what the commands mean.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NoReturn

from vof.errors import LocalProtocolError, SessionLost
from vof.fabric.interface import InFlight, OnLost, Statistics
from vof.fabric.pending import Pending, data_bytes
from vof.fabric.queue import EVENTS, BaseQueue
from vof.fabric.rdma.eager import EagerRange
from vof.fabric.rdma.interface import Link
from vof.fabric.rdma.memory import Pool
from vof.fabric.rdma.requests import Carriage, KeyedForm
from vof.fabric.ticks import TICK, tick_of
from vof.wire.connect import Connect, Names
from vof.wire.dialect import Framing
from vof.wire.framing import room_of
from vof.wire.keyed import completion_id, decode_completion, decode_eager_buffers
from vof.wire.structs import HEAD, Buffer
from vof.wire.v5 import KeyedDescriptor

PROBE_IDLE = 5.0
"""Seconds without a sign of the target after which it is probed: by who waits for it, or looks."""

SPIN = 200e-6
"""Seconds for which who waits looks again and again before it sleeps, as long as answers are that
quick: to be woken would cost more."""

_FULL_PAUSE = 0.001
"""Seconds between looks for room in the send queue."""


class RdmaQueue(BaseQueue):
    """One queue over ``link``, which belongs to it from now on; see ``BaseQueue``. Requests lie in
    ``pool``, which an association's queues share; ``framing`` says how they travel."""

    def __init__(
        self,
        link: Link,
        pool: Pool,
        name: str,
        on_lost: OnLost,
        timeout: float | None = None,
        size: int = 16,
        framing: Framing = Framing.CHAINS,
    ) -> None:
        super().__init__(name, on_lost, timeout, size, link.commands)
        self.framing = framing
        self._link = link
        self._form = KeyedForm(pool, framing)
        self._heard = time.monotonic()
        self._quick = False
        """The last answer came soon."""
        self._sends = self._bytes_sent = 0
        self._receives = self._bytes_received = 0

    def accept_refusals_with_buffers(self) -> None:
        """Nothing: a message says itself where it ends."""

    def accept_events(self) -> None:
        super().accept_events()
        self.look()

    def use_keyed(self, num_descs: int, eager: EagerRange | None) -> None:
        """Keep to what the target says of this virtqueue; see ``KeyedForm.use_keyed``."""
        self._form.use_keyed(num_descs, eager)

    # Forming commands.

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
        room = room_of(self.framing, len(readable) + len(writable))
        command_id = self._room.take(room, wait=wait)
        if command_id is None:
            return None
        carriage = None
        try:
            carriage = self._form.request(
                what, command_id, readable, payload, writable, wait=wait, by_key=counted
            )
        except SessionLost:
            if self._error is not None:
                raise self._error.again() from None
            raise
        finally:
            if carriage is None:
                self._room.give_back(command_id, room)
        if carriage is None:
            return None
        pending = Pending(what, command_id, (), len(readable), writable, tail)
        pending.carriage = carriage
        pending.data_bytes = data_bytes(readable, carriage.sizes, tail)
        return pending

    def release(self, pending: Pending) -> None:
        self._form.release(_carriage(pending))
        room = room_of(self.framing, pending.first_id + len(pending.buffers))
        self._room.give_back(pending.command_id, room)

    def prepare_control(self, what: str, command: bytes) -> Pending:
        return _control(what, HEAD.unpack_from(command)[1], self._form.plain(command))

    def prepare_connect(self, what: str, connect: Connect, names: Names) -> Pending:
        return _control(what, connect.command_id, self._form.connect(connect, names))

    def prepare_get_keyed_eager_buf(
        self, what: str, command_id: int, vq_index: int, descs: int
    ) -> Pending:
        """Form a get_keyed_eager_buf for at most ``descs`` buffers of a virtqueue."""
        carriage = self._form.get_keyed_eager_buf(command_id, vq_index, descs)
        return _control(what, command_id, carriage)

    def eager_buffers(self, pending: Pending, count: int) -> list[KeyedDescriptor]:
        """Return the first ``count`` of the buffers that a get_keyed_eager_buf has brought."""
        room = _carriage(pending).room
        assert room is not None
        return decode_eager_buffers(room, count)

    # The connection.

    def fileno(self) -> int:
        return self._link.fileno()

    def attach(self, sock: object) -> NoReturn:
        raise LocalProtocolError(f"{self.name}: a queue over RDMA does not go on after its end")

    def resubmit(self, item: InFlight) -> NoReturn:
        self.attach(item)

    def _interrupt(self) -> None:
        self._link.stop()

    def _discard(self) -> list[Pending]:
        self._link.close()
        return []

    # A task that leads sleeps on the descriptor, which then has to tell of the next message.

    def lead_or_follow(self, pending: Pending, wake: Callable[[], None]) -> bool:
        return super().lead_or_follow(pending, wake) and self._be_told()

    def leads(self, pending: Pending) -> bool:
        return super().leads(pending) and self._be_told()

    def _be_told(self) -> bool:
        try:
            self._receive(wait=False)
        except BaseException:
            self._leadership.release()
            raise
        return True

    def statistics(self) -> Statistics:
        form = self._form
        return Statistics(
            submitted=self._submitted,
            completed=self._completed,
            sends=self._sends,
            receives=self._receives,
            bytes_sent=self._bytes_sent,
            bytes_received=self._bytes_received,
            led=self._leadership.led,
            followed=self._leadership.followed,
            rdma_writes=self._link.writes,
            doorbells=self._link.doorbells,
            eager_sent=form.eager_sent,
            eager_full=form.eager_full,
        )

    # Sending.

    def _send(self, pending: Pending) -> None:
        carriage = _carriage(pending)
        extent = carriage.extent
        lkey = extent.slab.lkey
        while not self._link.send(extent.addr, carriage.length, lkey, carriage.writes):
            # The target's side of the connection acknowledges nothing.
            time.sleep(_FULL_PAUSE)
            if pending.deadline is not None and time.monotonic() >= pending.deadline:
                self.expire(pending)
            if self._error is not None:
                return
        self._sends += 1
        self._bytes_sent += carriage.length
        if carriage.lease is not None:
            self._bytes_sent += carriage.lease.length

    # Receiving.

    def _receive_once(self, *, wait: bool) -> None:
        messages = self._await() if wait else self._link.wait(0.0)
        if messages:
            self._heard = time.monotonic()
        elif time.monotonic() - self._heard > PROBE_IDLE:
            self._probe()
        for message in messages:
            self._complete(message)
        # Whoever watches an idle queue, or waits in a task, has only the descriptor.
        while (self._takes_events or not wait) and not self._link.armed:
            self._link.arm()
            for message in self._link.take():
                self._complete(message)

    def _await(self) -> list[bytes]:
        """Return what has come, or comes within a tick."""
        link = self._link
        # With others in flight there is probably more, and nothing to wait for.
        if len(self._in_flight) > 1 and (messages := link.take()):
            return messages
        start = time.monotonic()
        while self._quick and time.monotonic() - start < SPIN:
            if messages := link.take():
                return messages
            time.sleep(0)  # another thread may want the interpreter
        messages = link.wait(tick_of(self._timeout) or TICK)
        # A sleeper's wait is longer by what waking it costs.
        self._quick = bool(messages) and time.monotonic() - start < 2 * SPIN
        return messages

    def _complete(self, message: bytes) -> None:
        self._receives += 1
        self._bytes_received += len(message)
        command_id = completion_id(message)
        if self._takes_events and command_id in EVENTS:
            self._take_event(EVENTS[command_id])
            return
        pending = self._in_flight.get(command_id)
        if pending is None:
            raise self._not_in_flight(command_id)
        carriage = _carriage(pending)
        arrival = decode_completion(
            self.framing,
            message,
            carriage.sizes,
            pending.tail,
            eager=carriage.lease is not None,
        )
        if arrival.lengths:
            room, place = carriage.room, 0
            assert room is not None
            for buffer, length in zip(pending.buffers, arrival.lengths, strict=True):
                buffer[:length] = room[place : place + length]
                place += len(buffer)
            self._bytes_received += sum(arrival.lengths)
        del self._in_flight[command_id]
        pending.arrival = arrival
        self._finish(pending)

    def _probe(self) -> None:
        """Have the connection fail if the target's host is gone."""
        self._heard = time.monotonic()
        if self._sending.acquire(blocking=False):
            try:
                if self._error is None:
                    self._link.probe()
            finally:
                self._sending.release()


def _carriage(pending: Pending) -> Carriage:
    carriage = pending.carriage
    assert isinstance(carriage, Carriage)
    return carriage


def _control(what: str, command_id: int, carriage: Carriage) -> Pending:
    pending = Pending(what, command_id, ())
    pending.carriage = carriage
    return pending
