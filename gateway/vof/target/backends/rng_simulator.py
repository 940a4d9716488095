# SPDX-License-Identifier: BSD-3-Clause
"""``driver=rng-simulator``: the letters A to Z over and over, for tests. Nothing of it is random.

Each association begins with A and goes on where its last request ended, as with the reference
target's backend of this name.
"""

from __future__ import annotations

from string import ascii_uppercase
from threading import Lock

from vof.target.backends.backend import WithoutKeys
from vof.target.backends.rng_interface import RngSource, RngStream

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


class SimulatorOptions(WithoutKeys):
    """``driver=rng-simulator`` has no keys."""

    def open(self) -> RngSource:
        return SimulatorSource()
