# SPDX-License-Identifier: BSD-3-Clause
"""A block driver with a target made by hand, which notes what it is told: see
``tests/support/scripted_target``.

A module that wants the fixtures imports them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import pytest

from tests.support.scripted_target import Command, Device, ScriptedTarget
from tests.support.sessions import parameters_for
from tests.support.target_fixtures import Serve, leaves_nothing, serve
from vof.drivers.block import BlockDriver

__all__ = ["Ends", "Open", "leaves_nothing", "open_ends", "serve", "words"]


class Ends:
    """A driver and the target that it is with."""

    def __init__(
        self, target: ScriptedTarget, dialect: str, queues: int, **changes: object
    ) -> None:
        self.target = target
        parameters = parameters_for(target, dialect=dialect, **changes)
        self.driver = BlockDriver.open(parameters, queues)
        self.session = self.driver.session
        self.control = self.session.control

    def of(self, *opcodes: int) -> list[Command]:
        return [each for each in list(self.target.commands) if each.opcode in opcodes]

    def read(self, sector: int = 0, size: int = 512) -> bytes:
        data = bytearray(size)
        request = self.driver.start_read(sector * 512, memoryview(data))
        assert request is not None
        self.driver.finish(request)
        return bytes(data)

    def write(self, data: bytes, sector: int = 0) -> None:
        request = self.driver.start_write(sector * 512, data)
        assert request is not None
        self.driver.finish(request)


Open = Callable[..., Ends]


@pytest.fixture
def open_ends(serve: Serve) -> Iterator[Open]:
    """Open a driver of a dialect; it is closed at the end."""
    opened: list[Ends] = []

    def start(
        dialect: str,
        *hooks: object,
        device: Device | None = None,
        queues: int = 1,
        **changes: object,
    ) -> Ends:
        device = device or Device()
        device.dialect = dialect
        opened.append(Ends(serve(device, *hooks), dialect, queues, **changes))
        return opened[-1]

    yield start
    for each in opened:
        each.driver.close()


def words(command: Command) -> tuple[int, int]:
    """The four bytes behind the ids of a control command, and the eight behind those."""
    select, value = struct.unpack_from("<IQ", command.raw, 4)
    return select, value
