# SPDX-License-Identifier: BSD-3-Clause
"""A session: one association with one device of a target, from the Connect to its end.

Owns the order of things: control queue first, then virtio's initialisation (virtio 1.2 §3.1.1:
reset, ACKNOWLEDGE, DRIVER, features, FEATURES_OK, queues, DRIVER_OK), one connection per virtqueue,
and what happens when any of them ends: the association is over, and every request in flight and
every later one fails at once. Nothing reconnects here yet: ``_queue_lost`` is the one place where a
queue's requests in flight arrive, and where a reconnect will take them over instead.

Must not know a device type; the drivers say which features they want and how many queues.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from threading import Lock

from vof.errors import (
    CompletionError,
    ConfigError,
    ConnectError,
    RemoteProtocolError,
    SessionLost,
    VofError,
)
from vof.fabric.config_watch import ConfigWatch
from vof.fabric.destination import Destination
from vof.fabric.ended import await_end
from vof.fabric.interface import InFlight, Queue
from vof.initiator.control import ControlQueue
from vof.initiator.parameters import SessionParameters
from vof.initiator.queue_sizes import QueueSizes
from vof.initiator.quirks import quirks_of
from vof.initiator.refusals import is_closed, may_be_of_later, refusal_of
from vof.initiator.transports import CONTROL_SIZE, connections_of
from vof.initiator.virtqueue import Virtqueue
from vof.wire.connect import Names
from vof.wire.constants import (
    MAX_COMMAND_ID,
    Command,
    CommonFeature,
    DeviceStatus,
)
from vof.wire.dialect import PROPOSAL, V5, Dialect, Framing, dialect_by_name
from vof.wire.status import SENTENCES, Reason

CONTROL = "control"
"""What the control queue is called."""

DEFAULT_MAX_SEGS = 128
"""Descriptors of a vring command where the target does not tell: what the reference target
takes."""

DISCONNECT_TIMEOUT = 1.0
"""Seconds that an orderly end may take; without an answer the connections are closed all the
same."""


class State(Enum):
    """The states of a session."""

    CONNECTED = "connected"
    """The control queue is connected; the device is as it was found."""
    NEGOTIATED = "negotiated"
    """Features are agreed; virtqueues may be connected."""
    READY = "ready"
    """DRIVER_OK: requests may be sent."""
    LOST = "lost"
    """A connection has failed or the target broke the protocol."""
    CLOSED = "closed"
    """We ended it."""


_STEPS = {
    State.NEGOTIATED: State.CONNECTED,
    State.READY: State.NEGOTIATED,
}
"""Each state a caller can ask for, and the one it comes from."""


class Session:
    """An association. Made by ``open``; a context manager that closes it."""

    def __init__(
        self, parameters: SessionParameters, tvqn: str, dialect: Dialect, destination: Destination
    ) -> None:
        portal = parameters.portals[0]
        self.parameters = parameters
        self.tvqn = tvqn
        self.state = State.CONNECTED
        self._owner = os.getpid()
        self._mutex = Lock()
        self._error: VofError | None = None
        self._dialect = dialect
        self._names = Names(parameters.ivqn, tvqn)
        self._closing = False
        self._destination = destination
        self._connections = connections_of(portal, parameters, dialect, destination)
        self.max_payload = self._connections.max_payload
        """Bytes that a request may carry, both directions together."""
        self._queues: list[Queue] = []
        self._watch: ConfigWatch | None = None
        self.virtqueues: list[Virtqueue] = []
        self._on_end: Callable[[VofError], None] = lambda _error: None
        self.target_id: int | None = None
        self.features = 0
        """The feature bits both sides have, once negotiated."""
        queue = self._connect("control queue", 0, CONTROL_SIZE)
        self.control = ControlQueue(queue, dialect, destination.deadline)

    @classmethod
    def open(cls, parameters: SessionParameters) -> Session:
        """Connect the control queue and read what the device is.

        Raises ConfigError without a tvqn, ConnectError if the target cannot be reached, does not
        speak the protocol or refuses the Connect.
        """
        tvqn = parameters.tvqn
        if tvqn is None:
            raise ConfigError("no tvqn given: which device of the target is meant? Use tvqn=NAME")
        destination = parameters.portals[0].destination(parameters.connect_timeout)
        dialect = dialect_by_name(parameters.dialect)
        if dialect is None:
            return cls._open_best(parameters, tvqn, destination)
        return cls._open_as(parameters, tvqn, dialect, destination)

    @classmethod
    def _open_as(
        cls, parameters: SessionParameters, tvqn: str, dialect: Dialect, destination: Destination
    ) -> Session:
        session = cls(parameters, tvqn, dialect, destination)
        with session._opening():
            session._connect_control()
            session._identify()
        return session

    @classmethod
    def _open_best(
        cls, parameters: SessionParameters, tvqn: str, destination: Destination
    ) -> Session:
        """Connect as *proposal*, which harms no target that is known: the reference target ends of
        a Connect in any other form. Go on as *v5* where the target is ours, or knows no *proposal*.
        """
        session = cls(parameters, tvqn, PROPOSAL, destination)
        foreign: ConnectError | None = None
        with session._opening():
            try:
                session._connect_control()
            except (CompletionError, SessionLost) as error:
                if not may_be_of_later(error):
                    raise
                foreign = session._as_connect_error(error)
            else:
                session.vendor_id = session.control.get_vendor_id()
                if not quirks_of(session.vendor_id).speaks_v5:
                    session._identify()
                    return session
            session._leave()
        try:
            return cls._open_as(parameters, tvqn, V5, destination)
        except ConnectError as error:
            # What a target of the later text says is the answer; else what was said first.
            answer = error.__cause__
            if foreign is None or (
                isinstance(answer, CompletionError) and answer.status in SENTENCES
            ):
                raise
            raise foreign from None

    def _leave(self) -> None:
        """End an association that was begun only to see who is there; the next one may need what
        it takes at the target, or its local port."""
        control = self._queues[0]
        if self.parameters.iport and control.error is None:
            self._connections.leave_port(control)
        if self.target_id is not None:
            self.control.deadline = None
            self._disconnect()
            await_end(control, DISCONNECT_TIMEOUT)
        self._end(State.CLOSED, SessionLost(f"session with '{self.tvqn}' is closed"))

    @contextlib.contextmanager
    def _opening(self) -> Iterator[None]:
        """Close the session if what is done meanwhile fails, and raise that as a ConnectError."""
        try:
            yield
        except (CompletionError, SessionLost) as error:
            self.close()
            raise self._as_connect_error(error) from error
        except BaseException:
            self.close()
            raise

    def _as_connect_error(self, error: CompletionError | SessionLost) -> ConnectError:
        if isinstance(error, CompletionError):
            return ConnectError(
                refusal_of(self.parameters, self._dialect, error, first=self.target_id is None),
                errno=error.errno,
            )
        # One that is full says so in its log alone.
        hint = "; if it is one, see its log" if is_closed(error) else ""
        text = f"{self.parameters.where} did not answer as a Virtio-oF target: {error}{hint}"
        return ConnectError(text, errno=error.errno)

    def _connect_control(self) -> None:
        self.target_id = self.control.connect(self._names)
        if self._dialect.has_async_events:
            self._queues[0].accept_events()

    def _identify(self) -> None:
        control = self.control
        self.queue_sizes = QueueSizes(control, self._dialect)
        self.vendor_id = control.get_vendor_id()
        self.quirks = quirks_of(self.vendor_id)
        self.device_id = control.get_device_id()
        self.max_segs = min(self._read_max_segs(), self._connections.max_segs)
        self._connections.agree(control)

    def _read_max_segs(self) -> int:
        if self._dialect.framing is Framing.LENGTHS:
            return MAX_COMMAND_ID  # there are no segments to count
        if self.quirks.closes_on_feature_commands or not self._dialect.has_max_segs:
            return DEFAULT_MAX_SEGS
        try:
            return self.control.get_max_segs() or DEFAULT_MAX_SEGS
        except CompletionError:
            return DEFAULT_MAX_SEGS

    @property
    def error(self) -> VofError | None:
        """The error that ended this session, or None while it lives."""
        return self._error

    def queues(self) -> Mapping[str, Queue]:
        """Return every connected queue by what it is called: ``control``, or the virtqueue's
        index."""
        virtqueues = {str(queue.index): queue.fabric for queue in list(self.virtqueues)}
        return {CONTROL: self._queues[0], **virtqueues}

    @property
    def dialect(self) -> str:
        """Name of the dialect spoken."""
        return self._dialect.name

    def when_ended(self, call: Callable[[VofError], None]) -> None:
        """Have ``call`` told what ended the session, once, from any thread; it must not block."""
        with self._mutex:
            error = self._error
            if error is None:
                self._on_end = call
        if error is not None:
            call(error)

    def look(self) -> None:
        """Notice connections that ended while nobody waited on them. Does not block."""
        for queue in list(self._queues):
            queue.look()

    def is_lost(self) -> bool:
        """Return whether the session has ended, looking at the connections of an idle one too."""
        self.look()
        return self._error is not None

    def negotiate(self, wanted: int) -> int:
        """Reset the device and agree on features; return those both sides have.

        Raises RemoteProtocolError if the device does not accept a part of its own offer.
        """
        control = self.control
        status = DeviceStatus(0)
        control.reset_device()
        for step in (DeviceStatus.ACKNOWLEDGE, DeviceStatus.DRIVER):
            status |= step
            control.set_status(status)
        features = control.get_device_feature() & (wanted | CommonFeature.VERSION_1)
        control.set_driver_feature(features)
        # A device without VERSION_1 is legacy and does not know FEATURES_OK (virtio 1.2 §3.1.2).
        if features & CommonFeature.VERSION_1:
            status |= DeviceStatus.FEATURES_OK
            control.set_status(status)
            if not control.get_status() & DeviceStatus.FEATURES_OK:
                raise RemoteProtocolError(
                    f"{self.parameters.where}: the device does not accept features {features:#x} "
                    "of its own offer"
                )
        self._status = status
        self.features = features
        self._step(State.NEGOTIATED)
        return features

    def open_virtqueues(self, count: int, *others: int) -> Sequence[Virtqueue]:
        """Connect the first ``count`` virtqueues and those with the indexes ``others``, each over a
        connection of its own, and return them."""
        parameters = self.parameters
        if self.control.deadline is None:
            self._destination.begin()
        for index in (*range(count), *others):
            size, asked = self._choose_queue_size(index)
            fabric = self._connect(f"virtqueue {index}", index + 1, size)
            assert self.target_id is not None
            queue = ControlQueue(fabric, self._dialect, self._destination.deadline)
            try:
                queue.connect_virtqueue(self.target_id, index, self._names, asked)
            except CompletionError as error:
                raise ConnectError(
                    f"{parameters.where} refused virtqueue {index} of '{self.tvqn}': {error}",
                    errno=error.errno,
                ) from error
            self._connections.set_up(self.control, index, fabric)
            fabric.set_timeout(parameters.timeout)
            if self.quirks.sends_buffers_of_refusals:
                fabric.accept_refusals_with_buffers()
            self.virtqueues.append(Virtqueue(index, size, fabric, self._dialect))
        return self.virtqueues

    def _choose_queue_size(self, index: int) -> tuple[int, int]:
        """Return how much a virtqueue is to hold, and what its Connect asks for; the target is told
        before where a Connect cannot say it."""
        size = self.queue_sizes.size(index)
        if size is None:
            raise ConnectError(
                f"{self.parameters.where}: '{self.tvqn}' has no virtqueue {index}",
                errno=Reason.NO_QUEUE.errno,
            )
        if not size:
            raise RemoteProtocolError(f"{self.parameters.where}: virtqueue {index} has size 0")
        wanted = self.parameters.queue_size
        if wanted is None or wanted >= size:
            return size, 0
        if self._dialect.has(Command.SET_QUEUE_SIZE):
            # The reference target takes no notice, and any size will do for it.
            self.control.set_queue_size(index, wanted)
        # Where neither says it, we keep to it all the same.
        return wanted, wanted

    def watch_config(self, changed: Callable[[], None]) -> None:
        """Have ``changed`` called, in a thread of its own, after each change of the config space
        that the target tells of. In a dialect that has no such events it never is.
        """
        if self._dialect.has_async_events:
            self._watch = watch = ConfigWatch(self._queues[0], changed)
            self.control.after_command = watch.wake

    def driver_ok(self) -> None:
        """Tell the device that the driver is ready; requests may follow."""
        self.control.set_status(self._status | DeviceStatus.DRIVER_OK)
        self.opened()
        self._step(State.READY)

    def opened(self) -> None:
        """Nothing more belongs to the opening: every control command has its own time now."""
        self.control.deadline = None
        self._queues[0].set_timeout(self.parameters.connect_timeout)

    def fail(self, error: VofError) -> None:
        """End the association: requests in flight and every later one get ``error``."""
        self._end(State.LOST, error)

    def close(self) -> None:
        """End the association in good order. Idempotent; takes a bounded time.

        In a child made by fork, which has the parent's connections too, only its own ends of them
        are closed.
        """
        ours = os.getpid() == self._owner
        if ours and self.state is State.READY and not self.quirks.needs_no_disconnect:
            self._disconnect()
        self._end(State.CLOSED, SessionLost(f"session with '{self.tvqn}' is closed"))
        if self._watch and ours:
            self._watch.stop()

    def _disconnect(self) -> None:
        """Disconnect in the order of *v5*: the virtqueues, and then the control queue. The earlier
        texts say nothing of virtqueues."""
        self._closing = True
        waiting = []
        for queue in self.virtqueues if self._dialect.disconnects_virtqueues else ():
            queue.fabric.set_timeout(DISCONNECT_TIMEOUT)
            with contextlib.suppress(VofError):
                if pending := queue.start_disconnect():
                    waiting.append((queue.fabric, pending))
        for fabric, pending in waiting:
            with contextlib.suppress(VofError):
                fabric.wait(pending)
        self._queues[0].set_timeout(DISCONNECT_TIMEOUT)
        with contextlib.suppress(VofError):
            self.control.disconnect()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _connect(self, name: str, offset: int, size: int) -> Queue:
        queue = self._connections.open(name, offset, size, self._queue_lost)
        self._queues.append(queue)
        return queue

    def _queue_lost(self, queue: Queue, error: VofError, in_flight: Sequence[InFlight]) -> None:
        # A connection that ends after its Disconnect ends nothing else.
        if not self._closing:
            self.fail(error)
        for item in in_flight:
            queue.end(item, error)

    def _end(self, state: State, error: VofError) -> None:
        with self._mutex:
            if self._error is not None:
                return
            self._error = error
            self.state = state
            on_end = self._on_end
        on_end(error)
        for queue in self._queues:
            queue.fail(error)
        if self._watch and os.getpid() == self._owner:
            self._watch.wake()

    def _step(self, state: State) -> None:
        with self._mutex:
            if self._error is not None:
                raise self._error.again()
            assert self.state is _STEPS[state]
            self.state = state
