# SPDX-License-Identifier: BSD-3-Clause
"""``driver=rng-random``: the kernel's random number generator, getrandom(2)."""

from __future__ import annotations

import os

from vof.target.backends.backend import WithoutKeys
from vof.target.backends.rng_interface import RngSource, RngStream


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


class RandomOptions(WithoutKeys):
    """``driver=rng-random`` has no keys."""

    def open(self) -> RngSource:
        return RandomSource()
