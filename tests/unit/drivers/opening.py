# SPDX-License-Identifier: BSD-3-Clause
"""Opens block drivers on scripted devices."""

from __future__ import annotations

import dataclasses
import struct
from typing import Any

from tests.support.protocol_numbers import EVERYTHING, block_config
from tests.support.scripted_target import Command, Device, ScriptedTarget
from tests.support.sessions import parameters_for
from vof.drivers.block import BlockDriver


def device(
    features: int = EVERYTHING, *, about: dict[str, Any] | None = None, **config: Any
) -> Device:
    """Return a device with these features, config fields and, in ``about``, further properties."""
    return dataclasses.replace(
        Device(features=features, config=block_config(**config)), **(about or {})
    )


def open_driver(target: ScriptedTarget, queues: int = 1, **changes: Any) -> BlockDriver:
    """Open a driver and forget the commands that took."""
    driver = BlockDriver.open(parameters_for(target, **changes), queues)
    target.commands.clear()
    return driver


def header(kind: int, sector: int = 0) -> bytes:
    return struct.pack("<IIQ", kind, 0, sector)


def descriptors(command: Command) -> list[tuple[str, int]]:
    """Return ("r" or "w", length) of each descriptor."""
    return [("w" if each.writable else "r", each.length) for each in command.descriptors]
