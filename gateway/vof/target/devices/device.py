# SPDX-License-Identifier: BSD-3-Clause
"""What the target asks of a device model.

A ``Device`` is one section of the configuration and has everything that all its initiators share. A
``Seat`` is one association's place at it: the features that one driver chose and what it set in the
config space. Neither knows sockets, commands or descriptors: virtio 1.2 §2.7.4 makes the framing of
a request no business of the device, so a request is its device-readable bytes and room for its
device-writable ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from vof.wire.stream import StreamLimits


class Seat(ABC):
    """One association's place at a device. Called from every queue's threads at once."""

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
        written. Raises RemoteProtocolError where no device could complete such a request. Errors of
        the device itself are part of the result, in the way of the device type.
        """


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
    generation: int = 0
    """Counts the changes of the config space that no driver asked for (virtio 1.2 §2.5)."""

    @abstractmethod
    def claim(self) -> None:
        """Keep other targets from serving the same data. Raises ConfigError where one does."""

    @abstractmethod
    def take_seat(self) -> Seat:
        """Return the place of a new association."""

    @abstractmethod
    def flush(self) -> None:
        """Make everything persistent that was written. Raises OSError."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what the device holds. Idempotent; no request may be in progress."""
