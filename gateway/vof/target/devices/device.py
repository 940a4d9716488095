# SPDX-License-Identifier: BSD-3-Clause
"""The interface of a device model: what the target asks of it.

A ``Device`` is one section of the configuration and has everything that all its initiators share. A
``DeviceInstance`` is the device as one association has it (*v5*): the features that one driver
chose and what it set in the config space. Neither knows sockets, commands or descriptors: virtio
1.2 §2.7.4 makes the framing of a request no business of the device, so a request is its
device-readable bytes and room for its device-writable ones. A device is asked, and answers when it
can: it has no thread of its own for that, and holds nobody else's unless its policy says so.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from vof.counts import OTHER
from vof.target.backends.backend import Backend
from vof.wire.stream import StreamLimits

if TYPE_CHECKING:
    from vof.target import native
    from vof.target.native_events import DiskError


class DeviceFailure(Exception):
    """The device cannot answer a request in any way. Ends the association with one log line."""


class Cancelled(Exception):
    """A request was given up because it was cancelled. Ends its connection."""


@dataclass(eq=False, slots=True)
class Request:
    """One request. Compared by identity."""

    queue: int
    readable: memoryview
    writable: memoryview
    """Whatever was in it before must not be among the bytes that were written."""


Outcome: TypeAlias = int | Exception
"""How many bytes were written, from the beginning on but for the ``tail``; or why there is no
answer: RemoteProtocolError where no device could complete such a request, DeviceFailure, or
Cancelled. Errors of the device itself are otherwise part of the result, in the way of its type."""

Done: TypeAlias = Callable[[Outcome], None]


class QueuePolicy(NamedTuple):
    """How a queue's requests are to be brought to the device."""

    ordered: bool = False
    """One at a time, each when the one before it is done. Else several at a time."""
    waits: bool = False
    """A request may wait for ever for what is not its device's business. The time counts as no
    latency, and an end does not wait for it."""
    blocks: bool = True
    """``submit`` takes as long as the request does, and returns with it done. Else it returns at
    once, and the device may have as many as the queue holds."""


class InUse(Exception):
    """The device takes no further initiator for now."""


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

    def choose_features(self, features: int) -> None:  # noqa: B027 - nothing may depend on them
        """Take the driver's feature bits; the caller has checked that they were offered."""

    def read_config(self) -> bytes:
        """Return the whole config space as it is now."""
        return b""

    def write_config(self, offset: int, data: bytes) -> bool:
        """Set bytes of the config space; return False where a driver may not. Raises OSError."""
        return False

    @abstractmethod
    def submit(self, request: Request, done: Done) -> None:
        """Execute a request. ``done`` is called once, from any thread, and maybe before this
        returns; the request's memory is lent until then. Raises nothing."""

    def cancel(self, request: Request) -> None:  # noqa: B027 - most wait for nothing
        """Give up a request that waits: it is done at once, by Cancelled. Nothing happens where it
        does not wait, or is done."""

    def kind_of(self, request: Request) -> str:
        """Return the name under which such a request is counted, one of a few."""
        return OTHER

    def result_of(self, request: Request, used: int) -> Result:
        """Return what is counted of a request that was answered, with ``used`` bytes written."""
        return Result(used, failed=False)

    def native_executor(self) -> NativeExecutor | None:
        """Return what executes requests natively, None where nothing does."""
        return None

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Let go of what the association holds. No request is in progress, and none will come."""


class BlockingInstance(DeviceInstance):
    """One whose requests are executed by the thread that brings them."""

    def submit(self, request: Request, done: Done) -> None:
        try:
            outcome: Outcome = self.execute(request.queue, request.readable, request.writable)
        except Exception as error:  # noqa: BLE001 - what it ends is not decided here
            outcome = error
        done(outcome)

    @abstractmethod
    def execute(self, queue: int, readable: memoryview, writable: memoryview) -> int:
        """Execute a request; return or raise its outcome."""


class Device(ABC):
    """A device that initiators can connect to."""

    tvqn: str
    backend: Backend
    """What is behind it, and belongs to it."""
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
        return self.backend.outdated()

    def facts(self) -> Mapping[str, object]:
        """Return what only running has shown and a user has to know."""
        return self.backend.facts()

    def policy(self, queue: int) -> QueuePolicy:
        """Return how the requests of a queue are to be brought."""
        return QueuePolicy()

    def claim(self) -> None:
        """Keep other targets from serving the same data. Raises ConfigError where one does."""
        self.backend.claim()

    @abstractmethod
    def new_instance(self) -> DeviceInstance:
        """Return the device as a new association is to have it. Raises InUse where those that there
        are leave no room for another."""

    def flush(self) -> None:  # noqa: B027 - most keep nothing
        """Make everything persistent that was written. Raises OSError."""

    def close(self) -> None:
        """Let go of what the device holds. Idempotent; no request may be in progress."""
        self.backend.close()
