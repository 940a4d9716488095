# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures for tests against a scripted target; a folder's conftest.py imports those it wants."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.loopback import nothing_left_open
from tests.support.scripted_target import Device, Hook, ScriptedTarget

Serve = Callable[..., ScriptedTarget]


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    """Every test ends without a thread or a socket that it did not find."""
    with nothing_left_open():
        yield


@pytest.fixture
def serve(leaves_nothing: None) -> Iterator[Serve]:
    """Return a starter of scripted targets, which are stopped at the end."""
    targets: list[ScriptedTarget] = []

    def start(device: Device | None = None, *hooks: Hook) -> ScriptedTarget:
        targets.append(ScriptedTarget(device, *hooks))
        return targets[-1]

    yield start
    for target in targets:
        target.stop()
