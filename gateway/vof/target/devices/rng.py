# SPDX-License-Identifier: BSD-3-Clause
"""The entropy device of virtio 1.2 §5.4: one queue, whose requests are room to be filled.

A request is filled from its beginning with what there is, at least one byte, across as many
descriptors as it has; how fast, ``rng_pace`` says. Device-readable bytes, or no device-writable
ones, are a violation: there is no status byte that could carry an error. For the same reason a
source that fails ends the association with a log line; one that has nothing yet lets requests wait,
and a log line tells of it.

Must not know transports, associations or where the bytes come from.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Self

from vof.errors import RemoteProtocolError
from vof.logline import event
from vof.target.backends.rng_file import FileOptions
from vof.target.backends.rng_interface import RngSource
from vof.target.backends.rng_random import RandomOptions
from vof.target.backends.rng_simulator import SimulatorOptions
from vof.target.clock import Clock
from vof.target.devices.device import (
    Device,
    DeviceFailure,
    DeviceInstance,
    Done,
    Outcome,
    QueuePolicy,
    Request,
)
from vof.target.devices.model import DeviceModel
from vof.target.devices.rng_pace import PATIENCE, Pace, RateLimit, Turn
from vof.target.values import Values, integer, size
from vof.wire.constants import CommonFeature, DeviceId
from vof.wire.rng import NUM_QUEUES, request_size
from vof.wire.stream import StreamLimits

QUEUE_SIZE = 8
"""As the reference target's."""

LIMITS = StreamLimits(max_ndesc=QUEUE_SIZE, max_transfer=1 << 20)

DEFAULT_PERIOD = 1000
"""Milliseconds; libvirt's default."""

MAX_PERIOD = 3_600_000


@dataclass(frozen=True)
class RngDeviceOptions:
    """Keys of the ``backend`` line that are the device's, whatever the driver."""

    amount: int = 0
    """Bytes in each period; 0 for no limit."""
    period: int = DEFAULT_PERIOD
    """Milliseconds."""

    @classmethod
    def take(cls, values: Values) -> Self:
        """Take the device's keys. Raises ConfigError."""
        return cls(
            amount=values.take("bytes", size, 0),
            period=values.take("period", integer(1, MAX_PERIOD), DEFAULT_PERIOD),
        )


class RngDevice(Device):
    """One source of random bytes, shared by all its initiators."""

    device_id = DeviceId.RNG
    num_queues = NUM_QUEUES
    queue_size = QUEUE_SIZE
    limits = LIMITS

    def __init__(
        self,
        tvqn: str,
        mask: int,
        options: RngDeviceOptions,
        source: RngSource,
        clock: Clock,
    ) -> None:
        """``source`` belongs to the device from now on. ``mask`` limits the offer unless it is
        0.
        """
        self.tvqn = tvqn
        self.features = int(CommonFeature.VERSION_1) & (mask or -1)
        self.backend: RngSource = source
        limit = RateLimit(options.amount, options.period / 1000) if options.amount else None
        self.pace = Pace(limit, clock, self._tell_dry)

    def policy(self, queue: int) -> QueuePolicy:
        return QueuePolicy(ordered=True, waits=True, blocks=False)

    def new_instance(self) -> DeviceInstance:
        return RngInstance(self)

    def _tell_dry(self) -> None:
        reason = f"the source has had nothing for {PATIENCE:g} s; requests wait"
        event(logging.WARNING, "source-dry", tvqn=self.tvqn, reason=reason)


class RngInstance(DeviceInstance):
    """One driver's requests."""

    def __init__(self, device: RngDevice) -> None:
        self._device = device
        self._turns: dict[Request, Turn] = {}
        self.reset()

    def reset(self) -> None:
        self._stream = self._device.backend.stream()

    def submit(self, request: Request, done: Done) -> None:
        try:
            request_size(len(request.readable), [len(request.writable)])
        except RemoteProtocolError as error:
            done(error)
            return

        def end(outcome: Outcome) -> None:
            del self._turns[request]
            if isinstance(outcome, OSError):
                outcome = DeviceFailure(outcome.strerror or str(outcome))
            done(outcome)

        turn = self._turns[request] = Turn(request.writable, self._stream.read, end)
        self._device.pace.begin(turn)

    def cancel(self, request: Request) -> None:
        if turn := self._turns.get(request):
            self._device.pace.cancel(turn)

    def kind_of(self, request: Request) -> str:
        return "read"


MODEL = DeviceModel(
    name="rng",
    device_id=DeviceId.RNG,
    take=RngDeviceOptions.take,
    backends={
        "rng-random": lambda values, _options: RandomOptions.take(values),
        "rng-file": lambda values, _options: FileOptions.take(values),
        "rng-simulator": lambda values, _options: SimulatorOptions.take(values),
    },
    make=RngDevice,
)
