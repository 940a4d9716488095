# SPDX-License-Identifier: BSD-3-Clause
"""The interface of a source of random bytes: what the rng device asks of it.

Owns the interface only. A source must not know virtio, and never waits: who asked it knows how long
an initiator can wait, and is woken when the target stops.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol


class RngStream(Protocol):
    """Bytes for one association. Read from several threads at once."""

    def read(self, buffer: memoryview) -> int:
        """Fill ``buffer`` from its beginning with what there is now; return how much, or 0.

        Raises OSError where there is nothing and never will be.
        """


class RngSource(ABC):
    """A source of random bytes, for all associations of a device."""

    @abstractmethod
    def stream(self) -> RngStream:
        """Return what an association is to read from."""

    def outdated(self) -> str:
        """Return in words why the configuration would now open something else, nothing where it
        would not. Raises ConfigError where it could open nothing."""
        return ""

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Let go of the source. Idempotent; nothing may be read after it."""


class RngOptions(Protocol):
    """A source as the configuration describes it. Two that compare equal are the same source."""

    def open(self) -> RngSource:
        """Open it. Raises ConfigError."""
