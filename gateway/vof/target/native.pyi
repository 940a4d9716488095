# SPDX-License-Identifier: BSD-3-Clause
"""The native data path of a block device's queues; built from gateway/native/target."""

from collections.abc import Iterable

from vof.counts import Counts
from vof.target.native_events import NativeEvent
from vof.wire.dialect import Framing

RULE_FLUSH: int
RULE_DISCARD: int
RULE_WRITE_ZEROES: int
RULE_PERSIST: int
RECEIVE_SIZE: int
OUTBOX_SIZE: int

class Device:
    """A block device's data as the native queues use it.

    What it is opened on belongs to the caller, who closes this first. Raises MemoryError.
    """

    @staticmethod
    def on_file(
        fd: int,
        *,
        readonly: bool,
        write_through: bool,
        can_discard: bool,
        capacity: int,
        max_discard_sectors: int,
        max_write_zeroes_sectors: int,
        max_segments: int,
    ) -> Device: ...
    @staticmethod
    def on_memory(
        memory: memoryview,
        *,
        readonly: bool,
        capacity: int,
        max_discard_sectors: int,
        max_write_zeroes_sectors: int,
        max_segments: int,
    ) -> Device: ...
    def resize(self, capacity: int) -> None:
        """Serve so many bytes from the next request on. Raises ValueError."""
    def close(self) -> None:
        """End its threads. Idempotent; no queue may be left."""

class Rules:
    """The features one driver negotiated, for all its queues; bits of ``RULE_*``."""

    def set(self, bits: int) -> None:
        """Hold from the next request on."""

class Queue:
    """One connection. ``stop`` and ``finish`` may be called from any thread."""

    def __init__(
        self,
        device: Device,
        rules: Rules,
        fd: int,
        *,
        width: int,
        dialect: str,
        max_ndesc: int,
        max_transfer: int,
        plain_opcodes: Iterable[int],
        framing: Framing,
        largest_kept: int,
        depth: int = 0,
    ) -> None:
        """``depth`` is the commands in flight beyond which more are refused, 0 for any number."""
    def serve(self) -> NativeEvent | None:
        """Serve until Python is needed; None at the end.

        Raises RemoteProtocolError, OSError (BlockingIOError where the peer took nothing in time)
        and MemoryError.
        """
    def send(self, data: bytes) -> None: ...
    def answer(self, area: memoryview) -> None: ...
    def drain(self) -> None:
        """Wait for what is in progress, and answer it."""
    def flush(self) -> None: ...
    def stop(self) -> None: ...
    def finish(self, grace: float) -> None: ...
    def counts(self) -> Counts:
        """Return what was answered natively; what is being received may be missing."""
    def busy(self) -> int:
        """Return how many requests threads of the device execute at the moment."""
    def close(self) -> None:
        """Wait for what is in progress. Idempotent."""

class Framer:
    """The framing of a queue alone, for tests: bytes in, commands out."""

    def __init__(
        self,
        *,
        dialect: str,
        max_ndesc: int,
        max_transfer: int,
        plain_opcodes: Iterable[int],
        framing: Framing,
    ) -> None: ...
    def feed(
        self, data: bytes
    ) -> list[tuple[int, int, bytes, list[tuple[int, int, int]], int, bytes]]:
        """Take the next bytes; return opcode, id, head, device-writable descriptors (length, id,
        flags), device-writable bytes and payload of each command that is complete.

        Raises RemoteProtocolError.
        """
