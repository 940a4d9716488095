# SPDX-License-Identifier: BSD-3-Clause
"""The console device of virtio 1.2 §5.3: one port, whose bytes another end gives and takes.

A request of either queue waits as long as it has to: one to receive until there is a byte, one to
transmit until all of it is taken. Nothing is read of the other end while there is no room for it,
so nothing is kept here for an initiator that asks for nothing. A request of the wrong shape is a
violation, and an end that fails ends the association, for neither has a status byte.

A line has two ends: there is one initiator at a time, whatever is behind the device (ours). Must
not know transports, associations or what the other end is.
"""

from __future__ import annotations

from threading import Lock

from vof.errors import RemoteProtocolError
from vof.target.backends.console_echo import EchoOptions
from vof.target.backends.console_interface import ConsoleEnd
from vof.target.backends.console_pty import PtyOptions
from vof.target.devices.device import (
    Cancelled,
    Device,
    DeviceFailure,
    DeviceInstance,
    Done,
    InUse,
    Outcome,
    QueuePolicy,
    Request,
    Result,
)
from vof.target.devices.model import DeviceModel
from vof.wire.console import (
    NUM_QUEUES,
    RECEIVE_QUEUE,
    TRANSMIT_QUEUE,
    Config,
    check_request,
)
from vof.wire.constants import CommonFeature, DeviceId
from vof.wire.layout import layout_of
from vof.wire.stream import StreamLimits

QUEUE_SIZE = 64

LIMITS = StreamLimits(max_ndesc=QUEUE_SIZE, max_transfer=64 << 10)

_CONFIG = layout_of(Config).pack(*Config())
"""Of a device with none of the features that give a field a meaning."""


class ConsoleDevice(Device):
    """One line, of one initiator at a time."""

    device_id = DeviceId.CONSOLE
    num_queues = NUM_QUEUES
    queue_size = QUEUE_SIZE
    limits = LIMITS

    def __init__(self, tvqn: str, mask: int, end: ConsoleEnd) -> None:
        """``end`` belongs to the device from now on. ``mask`` limits the offer unless it is 0.
        Raises ConfigError."""
        self.tvqn = tvqn
        self.features = int(CommonFeature.VERSION_1) & (mask or -1)
        self.backend: ConsoleEnd = end
        self._lock = Lock()
        self._user: ConsoleInstance | None = None
        end.watch(self._changed)

    def policy(self, queue: int) -> QueuePolicy:
        return QueuePolicy(ordered=True, waits=True, blocks=False)

    def new_instance(self) -> DeviceInstance:
        with self._lock:
            if self._user:
                raise InUse("the console has an initiator")
            self._user = ConsoleInstance(self)
            return self._user

    def leave(self) -> None:
        """The one initiator goes."""
        with self._lock:
            self._user = None

    def _changed(self) -> None:
        if user := self._user:
            user.go_on()


class _Waiting:
    """A request, and how far it has got."""

    def __init__(self, request: Request, done: Done) -> None:
        self.request = request
        self.done = done
        self.left = request.readable


class ConsoleInstance(DeviceInstance):
    """The initiator's requests: one of each queue at most."""

    def __init__(self, device: ConsoleDevice) -> None:
        self._device = device
        self._end = device.backend
        self._lock = Lock()
        self._waiting: dict[int, _Waiting] = {}

    def reset(self) -> None:
        """The driver sets nothing, and what is on the line stays there."""

    def read_config(self) -> bytes:
        return _CONFIG

    def submit(self, request: Request, done: Done) -> None:
        try:
            check_request(request.queue, len(request.readable), len(request.writable))
        except RemoteProtocolError as error:
            done(error)
            return
        with self._lock:
            self._waiting[request.queue] = _Waiting(request, done)
        self.go_on()

    def cancel(self, request: Request) -> None:
        with self._lock:
            waiting = self._waiting.get(request.queue)
            if not waiting or waiting.request is not request:
                return
            del self._waiting[request.queue]
        waiting.done(Cancelled("waiting for the other end of the line"))

    def go_on(self) -> None:
        """Do what can be done now, and wait for what cannot."""
        over: list[tuple[_Waiting, Outcome]] = []
        with self._lock:
            # What is written may be what is read next.
            for queue in (TRANSMIT_QUEUE, RECEIVE_QUEUE, TRANSMIT_QUEUE):
                if waiting := self._waiting.get(queue):
                    outcome = self._try(waiting)
                    if outcome is not None:
                        del self._waiting[queue]
                        over.append((waiting, outcome))
            self._end.wait_for(
                reading=RECEIVE_QUEUE in self._waiting, writing=TRANSMIT_QUEUE in self._waiting
            )
        for waiting, outcome in over:
            waiting.done(outcome)

    def kind_of(self, request: Request) -> str:
        return "receive" if request.queue == RECEIVE_QUEUE else "transmit"

    def result_of(self, request: Request, used: int) -> Result:
        return Result(used or len(request.readable), failed=False)

    def close(self) -> None:
        self._device.leave()

    def _try(self, waiting: _Waiting) -> Outcome | None:
        """Return the outcome of a request; None where it has to wait."""
        try:
            if waiting.request.queue == RECEIVE_QUEUE:
                return self._end.read(waiting.request.writable) or None
            while waiting.left:
                count = self._end.write(waiting.left)
                if not count:
                    return None
                waiting.left = waiting.left[count:]
        except OSError as error:
            return DeviceFailure(error.strerror or str(error))
        return 0


MODEL = DeviceModel(
    name="console",
    device_id=DeviceId.CONSOLE,
    take=lambda _values: None,
    backends={
        "console-pty": lambda values, _options: PtyOptions.take(values),
        "console-echo": lambda values, _options: EchoOptions.take(values),
    },
    make=lambda tvqn, mask, _options, end, _clock: ConsoleDevice(tvqn, mask, end),
)
