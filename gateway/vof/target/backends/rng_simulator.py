# SPDX-License-Identifier: BSD-3-Clause
"""``driver=rng-simulator``: the letters A to Z over and over, for tests. Nothing of it is random.

Each association begins with A and goes on where its last request ended, as with the reference
target's backend of this name.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_uppercase
from threading import Lock
from typing import Self

from vof.target.backends.rng_interface import RngSource, RngStream
from vof.target.values import Values

_ALPHABET = ascii_uppercase.encode("ascii")


class Alphabet:
    """The letters of one association."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._next = 0

    def read(self, buffer: memoryview) -> int:
        with self._lock:
            start = self._next
            self._next = (start + len(buffer)) % len(_ALPHABET)
        repeated = _ALPHABET * (len(buffer) // len(_ALPHABET) + 2)
        buffer[:] = repeated[start : start + len(buffer)]
        return len(buffer)


class SimulatorSource(RngSource):
    """As many alphabets as there are associations."""

    def stream(self) -> RngStream:
        return Alphabet()


@dataclass(frozen=True)
class SimulatorOptions:
    """``driver=rng-simulator`` has no keys."""

    @classmethod
    def take(cls, _values: Values) -> Self:
        """Take the backend's keys."""
        return cls()

    def open(self) -> RngSource:
        return SimulatorSource()
