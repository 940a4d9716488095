# SPDX-License-Identifier: BSD-3-Clause
"""One association with a device of a target, from its Connect to its end.

Owns the connections, the control queue's and one for each virtqueue; the commands by which a device
is initialised (virtio 1.2 §3.1.1: reset, ACKNOWLEDGE, DRIVER, features, FEATURES_OK, DRIVER_OK);
and the end: by Disconnects (*v5* "Disconnect Command"), or of all connections because one of them
failed. When it has ended it stays so.

Must not know a device type, nor what becomes of a session by its end: that is ``recovery``'s.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from threading import Lock
from typing import NamedTuple

from vof.errors import (
    CompletionError,
    ConnectError,
    RemoteProtocolError,
    SessionLost,
    VofError,
)
from vof.fabric.config_watch import ConfigWatch
from vof.fabric.destination import Destination
from vof.fabric.ended import await_end
from vof.fabric.interface import InFlight, Queue
from vof.fabric.pending import Pending
from vof.initiator.control import ControlQueue
from vof.initiator.parameters import SessionParameters
from vof.initiator.portal import Portal
from vof.initiator.queue_sizes import QueueSizes
from vof.initiator.quirks import Quirks, quirks_of
from vof.initiator.recovery import Recovery
from vof.initiator.transports import CONTROL_SIZE, connections_of
from vof.wire.connect import Names
from vof.wire.constants import MAX_COMMAND_ID, Command, CommonFeature, DeviceStatus
from vof.wire.dialect import Dialect, Framing

DEFAULT_MAX_SEGS = 128
"""Descriptors of a vring command where the target does not tell: what the reference target
takes."""

DISCONNECT_TIMEOUT = 1.0
"""Seconds that an orderly end may take; without an answer the connections are closed all the
same."""


class Identity(NamedTuple):
    """What a target says of itself and of a device before that is initialised."""

    vendor_id: int
    device_id: int
    max_segs: int
    """Descriptors that one request may have, what the transport carries considered."""


class Association:
    """Made with the control queue's connection, but not its Connect. From one thread until it is
    ready."""

    def __init__(
        self,
        portal: Portal,
        parameters: SessionParameters,
        tvqn: str,
        dialect: Dialect,
        destination: Destination,
    ) -> None:
        """Raises ConfigError, ConnectError."""
        self.portal = portal
        self.dialect = dialect
        self.tvqn = tvqn
        self.target_id: int | None = None
        self._vendor_id: int | None = None
        self.quirks = Quirks()
        """What the target needs, once it is known."""
        self._owner = os.getpid()
        self._names = Names(parameters.ivqn, tvqn)
        self._connect_timeout = parameters.connect_timeout
        self._destination = destination
        self._connections = connections_of(portal, parameters, dialect, destination)
        self.max_payload = self._connections.max_payload
        """Bytes that a request may carry, both directions together."""
        self._mutex = Lock()
        self._error: VofError | None = None
        self._recovery = Recovery(lambda _error: None)
        self._closing = False
        self._status = DeviceStatus(0)
        self._queues: list[Queue] = []
        self._virtqueues: list[Queue] = []
        """Those of all the queues that are connected as virtqueues."""
        self._watch: ConfigWatch | None = None
        queue = self._connect("control queue", 0, CONTROL_SIZE)
        self.control = ControlQueue(queue, dialect, destination.deadline)

    # The opening.

    def connect(self) -> None:
        """Connect the control queue. Raises CompletionError, SessionLost."""
        self.target_id = self.control.connect(self._names)
        if self.dialect.has_async_events:
            self.control.fabric.accept_events()

    def ask_vendor(self) -> int:
        """Return whose the target is, from when on it is known what it needs; asked once. Raises as
        ``ControlQueue``."""
        if self._vendor_id is None:
            self._vendor_id = self.control.get_vendor_id()
            self.quirks = quirks_of(self._vendor_id)
        return self._vendor_id

    def identify(self) -> tuple[Identity, QueueSizes]:
        """Read what the device is, and agree on what the transport has to be agreed on for. Raises
        as ``ControlQueue``."""
        control = self.control
        sizes = QueueSizes(control, self.dialect)
        vendor_id = self.ask_vendor()
        device_id = control.get_device_id()
        max_segs = min(self._read_max_segs(), self._connections.max_segs)
        self._connections.agree(control)
        return Identity(vendor_id, device_id, max_segs), sizes

    def _read_max_segs(self) -> int:
        if self.dialect.framing is Framing.LENGTHS:
            return MAX_COMMAND_ID  # there are no segments to count
        if self.quirks.closes_on_feature_commands or not self.dialect.has_max_segs:
            return DEFAULT_MAX_SEGS
        try:
            return self.control.get_max_segs() or DEFAULT_MAX_SEGS
        except CompletionError:
            return DEFAULT_MAX_SEGS

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
                    f"{self.portal.where}: the device does not accept features {features:#x} "
                    "of its own offer"
                )
        self._status = status
        return features

    def begin_anew(self) -> None:
        """Give connections that are opened after the opening the time of one, together."""
        if self.control.deadline is None:
            self._destination.begin()

    def open_virtqueue(self, index: int, size: int, wanted: int | None) -> Queue:
        """Return a connected queue for a virtqueue of ``size``; ``wanted`` is what the target is
        told where that is less than it offers.

        Raises ConnectError if it refuses, and as ``ControlQueue``.
        """
        if wanted is not None and self.dialect.has(Command.SET_QUEUE_SIZE):
            # The reference target takes no notice, and any size will do for it.
            self.control.set_queue_size(index, wanted)
        fabric = self._connect(f"virtqueue {index}", index + 1, size)
        assert self.target_id is not None
        queue = ControlQueue(fabric, self.dialect, self._destination.deadline)
        try:
            # Where neither says the size, we keep to it all the same.
            queue.connect_virtqueue(self.target_id, index, self._names, wanted or 0)
        except CompletionError as error:
            raise ConnectError(
                f"{self.portal.where} refused virtqueue {index} of '{self.tvqn}': {error}",
                errno=error.errno,
            ) from error
        self._connections.set_up(self.control, index, fabric)
        if self.quirks.sends_buffers_of_refusals:
            fabric.accept_refusals_with_buffers()
        self._virtqueues.append(fabric)
        return fabric

    def driver_ok(self) -> None:
        """Tell the device that the driver is ready; requests may follow."""
        self.control.set_status(self._status | DeviceStatus.DRIVER_OK)
        self.opened()

    def opened(self) -> None:
        """Nothing more belongs to the opening: every control command has its own time now."""
        self.control.deadline = None
        self.control.fabric.set_timeout(self._connect_timeout)

    def watch_config(self, changed: Callable[[], None]) -> None:
        """Have ``changed`` called, in a thread of its own, after each change of the config space
        that the target tells of. In a dialect that has no such events it never is.
        """
        if self.dialect.has_async_events:
            self._watch = watch = ConfigWatch(self.control.fabric, changed)
            self.control.after_command = watch.wake

    # The end.

    @property
    def error(self) -> VofError | None:
        """What ended this association, or None while it lives."""
        return self._error

    def belongs_to(self, recovery: Recovery) -> None:
        """Have a session's ``recovery`` told of the end, at once if it was before, and of the
        requests in flight. Until this is called nobody is told, and those fail."""
        with self._mutex:
            error = self._error
            self._recovery = recovery
        if error is not None:
            recovery.ended(error)

    def look(self) -> None:
        """Notice connections that ended while nobody waited on them. Does not block."""
        for queue in list(self._queues):
            queue.look()

    def end(self, error: VofError) -> None:
        """End all connections: requests in flight and every later one get ``error``. Idempotent."""
        with self._mutex:
            if self._error is not None:
                return
            self._error = error
            recovery = self._recovery
        recovery.ended(error)
        for queue in self._queues:
            queue.fail(error)
        if self._watch and self._is_ours():
            self._watch.wake()

    def disconnect(self) -> None:
        """Disconnect in the order of *v5*: the virtqueues, and then the control queue. The earlier
        texts say nothing of virtqueues. Takes a bounded time; the connections are still to be
        ended.

        In a child made by fork, which has the parent's connections too, nothing is sent.
        """
        if self.quirks.needs_no_disconnect or not self._is_ours():
            return
        self._closing = True
        waiting = []
        for fabric in self._virtqueues if self.dialect.disconnects_virtqueues else ():
            fabric.set_timeout(DISCONNECT_TIMEOUT)
            with contextlib.suppress(VofError):
                if pending := self._start_disconnect(fabric):
                    waiting.append((fabric, pending))
        for fabric, pending in waiting:
            with contextlib.suppress(VofError):
                fabric.wait(pending)
        self.control.fabric.set_timeout(DISCONNECT_TIMEOUT)
        with contextlib.suppress(VofError):
            self.control.disconnect()

    def _start_disconnect(self, fabric: Queue) -> Pending | None:
        """Send a virtqueue's Disconnect; None where the queue is full. Raises SessionLost."""
        command_id = fabric.take_id(1, wait=False)
        if command_id is None:
            return None
        command = Command.DISCONNECT
        pending = fabric.prepare_control(command.value, self.dialect.encode(command, command_id))
        fabric.submit(pending)
        return pending

    def leave(self, error: SessionLost) -> None:
        """End an association that was begun only to see who is there; the next one may need what
        it takes at the target, or its local port."""
        fabric = self.control.fabric
        if self.portal.local_port and fabric.error is None:
            self._connections.leave_port(fabric)
        if self.target_id is not None:
            self.control.deadline = None
            self.disconnect()
            await_end(fabric, DISCONNECT_TIMEOUT)
        self.end(error)

    def stop_watching(self) -> None:
        """Wait for the end of the thread that watches the config space, once all has ended."""
        if self._watch and self._is_ours():
            self._watch.stop()

    def _is_ours(self) -> bool:
        """Return whether this is the process that made it, and no child of that."""
        return os.getpid() == self._owner

    def _connect(self, name: str, offset: int, size: int) -> Queue:
        queue = self._connections.open(name, offset, size, self._queue_lost)
        self._queues.append(queue)
        return queue

    def _queue_lost(self, queue: Queue, error: VofError, in_flight: Sequence[InFlight]) -> None:
        # A connection that ends after its Disconnect ends nothing else.
        if not self._closing:
            self.end(error)
        self._recovery.take(queue, error, in_flight)
