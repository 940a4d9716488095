# SPDX-License-Identifier: BSD-3-Clause
"""An NBD export on a target that is about to misbehave, and what its user sees of it."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support.sessions import parameters_for
from vof.drivers.block import BlockDriver
from vof.errors import SessionLost, VofError
from vof.gateways.disk import Disk
from vof.gateways.nbd.export import Export

AT_ONCE = 5.0
"""Seconds: far more than anything here takes, far less than any timeout of the product."""


class Victim:
    """Requests as an NBD user makes them, and the errno of each that failed."""

    def __init__(self, port: int, *, queues: int = 1, timeout: float | None = None) -> None:
        parameters = parameters_for(port, timeout=timeout)
        self.driver = BlockDriver.open(parameters, queues)
        self.errnos: list[int] = []
        self.export = Export(Disk(self.driver), self.errnos.append)

    def read(self, length: int = 1024, offset: int = 0) -> bytes:
        data = bytearray(length)
        self.export.pread(memoryview(data), offset)
        return bytes(data)

    def write(self, data: bytes, offset: int = 0) -> None:
        self.export.pwrite(memoryview(data), offset)

    def calls(self) -> dict[str, Callable[[], object]]:
        """Every kind of request."""
        return {
            "read": self.read,
            "write": lambda: self.write(bytes(1024)),
            "unaligned write": lambda: self.write(bytes(10), 5),
            "flush": self.export.flush,
            "trim": lambda: self.export.trim(1024, 0),
            "zero": lambda: self.export.zero(1024, 0, may_trim=True),
        }

    def is_lost(self) -> None:
        """Check that every request fails at once with ESHUTDOWN."""
        self.errnos.clear()
        start = time.monotonic()
        for call in self.calls().values():
            with pytest.raises(SessionLost) as caught:
                call()
            assert "\n" not in str(caught.value)
        assert self.errnos == [errno.ESHUTDOWN] * len(self.calls())
        assert time.monotonic() - start < 1

    def works(self) -> None:
        """Check that requests are served."""
        for call in self.calls().values():
            call()


@contextmanager
def victim_of(port: int, *, queues: int = 1, timeout: float | None = None) -> Iterator[Victim]:
    victim = Victim(port, queues=queues, timeout=timeout)
    try:
        yield victim
    finally:
        victim.driver.close()


@contextmanager
def fails(kind: type[VofError] = VofError, match: str | None = None) -> Iterator[None]:
    """Demand one clear error, at once."""
    start = time.monotonic()
    with pytest.raises(kind, match=match) as caught:
        yield
    assert time.monotonic() - start < AT_ONCE
    message = str(caught.value)
    assert message
    assert "\n" not in message
