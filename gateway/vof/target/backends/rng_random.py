# SPDX-License-Identifier: BSD-3-Clause
"""``driver=rng-random``: the kernel's random number generator, getrandom(2)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self

from vof.target.backends.rng_interface import RngSource, RngStream
from vof.target.values import Values


class RandomSource(RngSource):
    """The kernel's generator is one for all."""

    def stream(self) -> RngStream:
        return self

    def read(self, buffer: memoryview) -> int:
        try:
            data = os.getrandom(len(buffer), os.GRND_NONBLOCK)
        except BlockingIOError:  # early after the start of a machine
            return 0
        buffer[: len(data)] = data
        return len(data)


@dataclass(frozen=True)
class RandomOptions:
    """``driver=rng-random`` has no keys."""

    @classmethod
    def take(cls, _values: Values) -> Self:
        """Take the backend's keys."""
        return cls()

    def open(self) -> RngSource:
        return RandomSource()
