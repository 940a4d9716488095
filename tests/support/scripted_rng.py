# SPDX-License-Identifier: BSD-3-Clause
"""A scripted target whose one device is a virtio-rng."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Any

from tests.support.scripted_target import Command, Device, Hook, ScriptedTarget

RNG_TVQN = "scripted/rng/rng0.service"

Source = Callable[[int], bytes]
"""Returns at most so many bytes."""


def rng_device(**changes: Any) -> Device:
    """Return a virtio-rng with one queue of 8 and no features."""
    device = Device(tvqn=RNG_TVQN, device_id=4, num_queues=1, queue_size=8, features=0, config=b"")
    return dataclasses.replace(device, **changes)


class ScriptedRng(ScriptedTarget):
    """Answers each request with what ``source`` returns for its size; pseudo-random by default."""

    def __init__(
        self, device: Device | None = None, *hooks: Hook, source: Source | None = None
    ) -> None:
        self.source = source or random.Random(1).randbytes
        super().__init__(device or rng_device(), *hooks)

    def execute(self, command: Command) -> list[bytes]:
        return [self.source(each.length) for each in command.writable]
