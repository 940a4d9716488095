# SPDX-License-Identifier: BSD-3-Clause
"""The interface of a device model: what the target asks of it.

A ``Device`` is one section of the configuration and has everything that all its initiators share. A
``DeviceInstance`` is the device as one association has it (*v5*): the features that one driver
chose and what it set in the config space. Neither knows sockets, commands or descriptors: virtio
1.2 §2.7.4 makes the framing of a request no business of the device, so a request is its
device-readable bytes and room for its device-writable ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from vof.counts import OTHER
from vof.wire.stream import StreamLimits

if TYPE_CHECKING:
    from vof.target import native
    from vof.target.native_events import DiskError


class DeviceFailure(Exception):
    """The device cannot answer a request in any way. Ends the association with one log line."""


class Unanswered(Exception):
    """A request was given up because ``stop_waiting`` was called. Ends its connection."""


class Result(NamedTuple):
    """The outcome of a request that was executed, as it is counted."""

    data_bytes: int
    failed: bool


class NativeExecutor(NamedTuple):
    """What executes one driver's requests natively; a transport that can opens its queues with it,
    and closes them before the instance."""

    device: native.Device
    rules: native.Rules
    width: int
    """Requests of one queue that are worked on at a time, where the configuration is silent."""
    report: Callable[[DiskError], None]
    """To be told that requests were answered with an error of the disk."""


class DeviceInstance(ABC):
    """A device as one association has it. Called from every queue's threads at once."""

    tail: int = 0
    """Bytes at the end of the device-writable area that every answer writes: a status byte, say. An
    answer shorter than the area leaves a gap before them."""

    @abstractmethod
    def reset(self) -> None:
        """Forget everything that the driver set (virtio 1.2 §2.4)."""

    @abstractmethod
    def choose_features(self, features: int) -> None:
        """Take the driver's feature bits; the caller has checked that they were offered."""

    @abstractmethod
    def read_config(self) -> bytes:
        """Return the whole config space as it is now."""

    @abstractmethod
    def write_config(self, offset: int, data: bytes) -> bool:
        """Set bytes of the config space; return False where a driver may not. Raises OSError."""

    @abstractmethod
    def handle(self, queue: int, readable: memoryview, writable: memoryview) -> int:
        """Execute the request in ``readable``, its result into ``writable``; return the bytes
        written.

        Whatever was in ``writable`` before must not be among them: every byte that counts is
        written, from the beginning on but for the ``tail``. Raises RemoteProtocolError where no
        device could complete such a request, DeviceFailure and Unanswered. Errors of the device
        itself are otherwise part of the result, in the way of the device type.
        """

    def kind_of(self, queue: int, readable: memoryview) -> str:
        """Return the name under which such a request is counted, one of a few."""
        return OTHER

    def result_of(
        self, queue: int, readable: memoryview, writable: memoryview, used: int
    ) -> Result:
        """Return what is counted of a request that ``handle`` has executed."""
        return Result(used, failed=False)

    def native_executor(self) -> NativeExecutor | None:
        """Return what executes requests natively, None where nothing does."""
        return None

    def stop_waiting(self) -> None:  # noqa: B027 - most wait for nothing
        """Let no request wait for anything any more: the association ends, or the target."""

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Let go of what the association holds. No request is in progress, and none will come."""


class Device(ABC):
    """A device that initiators can connect to."""

    tvqn: str
    device_id: int
    features: int
    """Feature bits on offer."""
    num_queues: int
    queue_size: int
    """The largest size of each queue, a power of two."""
    limits: StreamLimits
    """What one request may bring: descriptors, and bytes in both directions together."""

    @property
    def generation(self) -> int:
        """Counts the changes of the config space that no driver asked for (virtio 1.2 §2.5)."""
        return 0

    def refresh(self) -> bool:
        """Look whether what is behind the device has changed; True where the config space has, for
        all instances at once. From any thread, closed or not. Raises OSError."""
        return False

    def outdated(self) -> str:
        """Return in words why the configuration would now open something else than what is behind
        the device, nothing where it would not. Raises ConfigError where it could open nothing."""
        return ""

    @abstractmethod
    def claim(self) -> None:
        """Keep other targets from serving the same data. Raises ConfigError where one does."""

    @abstractmethod
    def new_instance(self) -> DeviceInstance:
        """Return the device as a new association is to have it."""

    @abstractmethod
    def flush(self) -> None:
        """Make everything persistent that was written. Raises OSError."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what the device holds. Idempotent; no request may be in progress."""
