# SPDX-License-Identifier: BSD-3-Clause
"""Bounds the bytes held back while decoding: a file must not cost more memory for what it claims.

Bytes are held back for the sake of others that come later, or not at all. All connections of a file
share one budget; whoever finds it spent gives up what it waits for itself. Must not know what the
bytes are.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeVar

MAX_HELD = 256 << 20
"""Bytes that all connections of a file together hold back."""

MAX_CONNECTIONS = 4096
"""Connections, and associations, that are followed at the same time."""

MAX_DATA = 64 << 20
"""Bytes of the largest payload, message or read believed; beyond, a length is taken for damaged."""

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class Budget:
    """Bytes that may still be held back; less than 0 where it is spent."""

    def __init__(self, limit: int = MAX_HELD) -> None:
        self.left = limit

    @property
    def spent(self) -> bool:
        """True if somebody has to give something up."""
        return self.left < 0


def without_oldest(entries: dict[_K, _V], most: int = MAX_CONNECTIONS) -> _V | None:
    """Take the oldest entry out of those that are more than ``most``; return it."""
    return entries.pop(next(iter(entries))) if len(entries) > most else None
