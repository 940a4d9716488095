# SPDX-License-Identifier: BSD-3-Clause
"""Every test of the fabric ends without a thread or a socket that it did not find."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.loopback import nothing_left_open
from tests.unit.fabric.queue_rig import QueueRig

MakeRig = Callable[..., QueueRig]


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    with nothing_left_open():
        yield


@pytest.fixture
def make_rig(leaves_nothing: None) -> Iterator[MakeRig]:
    """Return a maker of rigs, which are closed at the end."""
    rigs: list[QueueRig] = []

    def make(*, timeout: float | None = None, buffer_size: int | None = None) -> QueueRig:
        rigs.append(QueueRig(timeout=timeout, buffer_size=buffer_size))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def rig(make_rig: MakeRig) -> QueueRig:
    return make_rig()
