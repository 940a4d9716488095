# SPDX-License-Identifier: BSD-3-Clause
"""``driver=console-echo``: what is written comes back, for tests.

It keeps so much and no more: who writes without reading waits.
"""

from __future__ import annotations

from vof.target.backends.backend import WithoutKeys
from vof.target.backends.console_interface import ConsoleEnd

KEPT = 64 << 10
"""Bytes that were written and not read yet."""


class Echo(ConsoleEnd):
    """A line whose other end is itself."""

    def __init__(self) -> None:
        self._kept = bytearray()

    def read(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self._kept))
        buffer[:count] = self._kept[:count]
        del self._kept[:count]
        return count

    def write(self, data: memoryview) -> int:
        count = min(len(data), KEPT - len(self._kept))
        self._kept += data[:count]
        return count


class EchoOptions(WithoutKeys):
    """``driver=console-echo`` has no keys."""

    def open(self) -> ConsoleEnd:
        return Echo()
