# SPDX-License-Identifier: BSD-3-Clause
"""A session: one device of a target, as its driver has it.

Owns what was agreed on (who the target and the device are, features, the sizes of virtqueues), the
virtqueues as the driver sees them, and one association at a time, which carries them; the order of
things: virtio's initialisation (virtio 1.2 §3.1.1), then the virtqueues, then DRIVER_OK; and where
all of it stands. What its association's end means for it is decided in ``recovery``.

Must not know a device type, nor a transport; the drivers say which features they want and how many
queues.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from threading import Lock

from vof.errors import ConfigError, ConnectError, RemoteProtocolError, SessionLost, VofError
from vof.fabric.interface import Queue
from vof.initiator.control import ControlQueue
from vof.initiator.opening import Opened, open_association
from vof.initiator.parameters import SessionParameters
from vof.initiator.quirks import Quirks
from vof.initiator.recovery import Recovery
from vof.initiator.virtqueue import Virtqueue
from vof.wire.status import Reason

CONTROL = "control"
"""What the control queue is called."""


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
    """Made by ``open``; a context manager that closes it."""

    def __init__(self, parameters: SessionParameters, tvqn: str, opened: Opened) -> None:
        self.parameters = parameters
        self.tvqn = tvqn
        self.state = State.CONNECTED
        self._association = opened.association
        self._identity = opened.identity
        self.queue_sizes = opened.queue_sizes
        self.features = 0
        """The feature bits both sides have, once negotiated."""
        self.virtqueues: list[Virtqueue] = []
        self._mutex = Lock()
        self._error: VofError | None = None
        self._on_end: Callable[[VofError], None] = lambda _error: None
        self._association.belongs_to(Recovery(self.fail))

    @classmethod
    def open(cls, parameters: SessionParameters) -> Session:
        """Connect the control queue and read what the device is.

        Raises ConfigError without a tvqn, ConnectError if the target cannot be reached, does not
        speak the protocol or refuses the Connect.
        """
        tvqn = parameters.tvqn
        if tvqn is None:
            raise ConfigError("no tvqn given: which device of the target is meant? Use tvqn=NAME")
        return cls(parameters, tvqn, open_association(parameters.portals[0], parameters, tvqn))

    # What was agreed on.

    @property
    def vendor_id(self) -> int:
        return self._identity.vendor_id

    @property
    def device_id(self) -> int:
        return self._identity.device_id

    @property
    def max_segs(self) -> int:
        """Descriptors that one request may have."""
        return self._identity.max_segs

    @property
    def max_payload(self) -> int:
        """Bytes that a request may carry, both directions together."""
        return self._association.max_payload

    @property
    def quirks(self) -> Quirks:
        """What the target needs, beside what the texts say."""
        return self._association.quirks

    # The association.

    @property
    def where(self) -> str:
        """The target as it is reached now, for messages."""
        return self._association.portal.where

    @property
    def target_id(self) -> int | None:
        return self._association.target_id

    @property
    def dialect(self) -> str:
        """Name of the dialect spoken."""
        return self._association.dialect.name

    @property
    def control(self) -> ControlQueue:
        return self._association.control

    @property
    def error(self) -> VofError | None:
        """The error that ended this session, or None while it lives."""
        return self._error

    def queues(self) -> Mapping[str, Queue]:
        """Return every connected queue by what it is called: ``control``, or the virtqueue's
        index."""
        virtqueues = {str(queue.index): queue.fabric for queue in list(self.virtqueues)}
        return {CONTROL: self.control.fabric, **virtqueues}

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
        self._association.look()

    def is_lost(self) -> bool:
        """Return whether the session has ended, looking at the connections of an idle one too."""
        self.look()
        return self._error is not None

    # The way to a device that is ready.

    def negotiate(self, wanted: int) -> int:
        """Reset the device and agree on features; return those both sides have.

        Raises RemoteProtocolError if the device does not accept a part of its own offer.
        """
        self.features = self._association.negotiate(wanted)
        self._step(State.NEGOTIATED)
        return self.features

    def open_virtqueues(
        self, count: int, *others: int, wait_for_ever: bool = False
    ) -> Sequence[Virtqueue]:
        """Connect the first ``count`` virtqueues and those with the indexes ``others``, each over a
        connection of its own, and return them.

        Their requests may take as long as the user says, or with ``wait_for_ever`` any time.
        """
        timeout = None if wait_for_ever else self.parameters.timeout
        association = self._association
        association.begin_anew()
        for index in (*range(count), *others):
            size, wanted = self._choose_queue_size(index)
            fabric = association.open_virtqueue(index, size, wanted)
            queue = Virtqueue(index, size, fabric, association.dialect, timeout)
            self.virtqueues.append(queue)
        return self.virtqueues

    def _choose_queue_size(self, index: int) -> tuple[int, int | None]:
        """Return how much a virtqueue is to hold, and that again where the target offers more."""
        where = self.where
        size = self.queue_sizes.size(index)
        if size is None:
            raise ConnectError(
                f"{where}: '{self.tvqn}' has no virtqueue {index}", errno=Reason.NO_QUEUE.errno
            )
        if not size:
            raise RemoteProtocolError(f"{where}: virtqueue {index} has size 0")
        wanted = self.parameters.queue_size
        if wanted is None or wanted >= size:
            return size, None
        return wanted, wanted

    def watch_config(self, changed: Callable[[], None]) -> None:
        """Have ``changed`` called, in a thread of its own, after each change of the config space
        that the target tells of. In a dialect that has no such events it never is.
        """
        self._association.watch_config(changed)

    def driver_ok(self) -> None:
        """Tell the device that the driver is ready; requests may follow."""
        self._association.driver_ok()
        self._step(State.READY)

    def opened(self) -> None:
        """Nothing more belongs to the opening: every control command has its own time now."""
        self._association.opened()

    # The end.

    def fail(self, error: VofError) -> None:
        """End the session: requests in flight and every later one get ``error``."""
        self._end(State.LOST, error)

    def close(self) -> None:
        """End the session in good order. Idempotent; takes a bounded time.

        In a child made by fork, which has the parent's connections too, only its own ends of them
        are closed.
        """
        if self.state is State.READY:
            self._association.disconnect()
        self._end(State.CLOSED, SessionLost(f"session with '{self.tvqn}' is closed"))
        self._association.stop_watching()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _end(self, state: State, error: VofError) -> None:
        with self._mutex:
            if self._error is not None:
                return
            self._error = error
            self.state = state
            on_end = self._on_end
        on_end(error)
        self._association.end(error)

    def _step(self, state: State) -> None:
        with self._mutex:
            if self._error is not None:
                raise self._error.again()
            assert self.state is _STEPS[state]
            self.state = state
