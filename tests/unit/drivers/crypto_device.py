# SPDX-License-Identifier: BSD-3-Clause
"""A crypto device of the tests' own, every byte of it made by hand.

It encrypts nothing: a result is a run of one byte, so that its length is what a test looks at.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Sequence
from typing import Any

from tests.support.protocol_numbers import F_VERSION_1, VRING
from tests.support.scripted_target import Command, Device, ScriptedTarget
from tests.support.sessions import parameters_for
from vof.drivers.crypto import CryptoDriver

F_REVISION_1 = 1
F_STATELESS = 0b111110

RESULT = b"\xab"

DATA_QUEUES = 2


def config(
    *,
    status: int = 1,
    max_dataqueues: int = DATA_QUEUES,
    services: int = 0b11111,
    cipher: int = 1 << 3 | 1 << 4,
    hashes: int = 1 << 4,
    mac: int = 1 << 4 | 1 << 26,
    aead: int = 1 << 1,
    cipher_key: int = 32,
    mac_key: int = 64,
    akcipher: int = 1 << 1 | 1 << 2,
    max_size: int = 4096,
) -> bytes:
    """Return the 56 bytes of a config space (virtio 1.3, 5.9.5)."""
    low, high = (1 << 32) - 1, 32
    return struct.pack(
        "<IIIIIIIIIIIIQ",
        status,
        max_dataqueues,
        services,
        cipher & low,
        cipher >> high,
        hashes,
        mac & low,
        mac >> high,
        aead,
        cipher_key,
        mac_key,
        akcipher,
        max_size,
    )


def device(
    features: int = F_REVISION_1 | F_STATELESS, about: dict[str, Any] | None = None, **changes: Any
) -> Device:
    """Return a device with these features, config fields and, in ``about``, further properties."""
    return dataclasses.replace(
        Device(
            device_id=20,
            num_queues=DATA_QUEUES + 1,
            features=features | F_VERSION_1,
            config=config(**changes),
        ),
        **(about or {}),
    )


def opcode(command: Command) -> int:
    """Return the number of a crypto request."""
    return int.from_bytes(command.payload[:4], "little")


class Answers:
    """A hook that answers crypto requests as a device would to which everything succeeds.

    ``instead`` maps an opcode to the buffers that are sent for it.
    """

    def __init__(self, instead: dict[int, Sequence[bytes]] | None = None) -> None:
        self.instead = dict(instead or {})
        self.sessions = 100

    def __call__(self, command: Command) -> bool:
        if command.opcode != VRING:
            return False
        number = opcode(command)
        if number in self.instead:
            command.complete(*self.instead[number])
        elif command.connection.queue == command.connection.target.device.num_queues - 1:
            if len(command.payload) > 16 and [each.length for each in command.writable] == [16]:
                self.sessions += 1
                command.complete(struct.pack("<QII", self.sessions, 0, 0))
            else:
                command.complete(b"\0")
        else:
            *results, _status = command.writable
            command.complete(*(RESULT * each.length for each in results), b"\0")
        return True


def open_driver(target: ScriptedTarget, queues: int = DATA_QUEUES, **changes: Any) -> CryptoDriver:
    """Open a driver and forget the commands that took."""
    driver = CryptoDriver.open(parameters_for(target, **changes), queues)
    target.commands.clear()
    return driver


def queues_of(commands: Sequence[Command]) -> list[int | None]:
    """Return the index of the queue that each command came over."""
    return [command.connection.queue for command in commands]


def ids_of(commands: Sequence[Command]) -> list[int]:
    return [command.command_id for command in commands]
