# SPDX-License-Identifier: BSD-3-Clause
"""The interface of a source of random bytes: what the rng device asks of it.

Owns the interface only. A source must not know virtio, and never waits: who asked it knows how long
an initiator can wait, and is woken when the target stops.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol

from vof.target.backends.backend import Backend


class RngStream(Protocol):
    """Bytes for one association. Read from several threads at once."""

    def read(self, buffer: memoryview) -> int:
        """Fill ``buffer`` from its beginning with what there is now; return how much, or 0.

        Raises OSError where there is nothing and never will be.
        """


class RngSource(Backend):
    """A source of random bytes, for all associations of a device."""

    @abstractmethod
    def stream(self) -> RngStream:
        """Return what an association is to read from."""
