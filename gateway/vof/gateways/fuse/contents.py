# SPDX-License-Identifier: BSD-3-Clause
"""The contents that a device type gives its device's folder; ``devices`` has one for each type.

To show another type, write a function ``Opener`` and enter it in ``devices.OPENERS``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from vof.errors import VofError
from vof.gateways.fuse.nodes import Node
from vof.initiator.session import Session

Facts = Iterable[tuple[str, object]]
"""Lines of ``info``: key and value."""


def _no_facts() -> Facts:
    return ()


def _ignore(_error: VofError) -> None:
    pass


@dataclass
class Contents:
    """All that one device shows beside ``info``."""

    children: Mapping[str, Node]
    facts: Callable[[], Facts] = _no_facts
    """Called for each reading of ``info``: config space, counters, what went wrong."""
    run: Callable[[], Awaitable[None]] | None = None
    """Runs as a trio task while the device is there; cancelled when it goes."""
    lost: Callable[[VofError], None] = _ignore
    """Called in the trio thread, once, when the session has ended."""


Opener = Callable[[Session], Contents]
"""Initialises the device of a session that has just been opened. Called in a worker thread and may
block; closes the session if it raises. The session is closed by ``devices`` later on."""
