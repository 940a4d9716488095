# SPDX-License-Identifier: BSD-3-Clause
"""Every test of the fabric ends without a thread or a socket that it did not find."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.target_fixtures import leaves_nothing
from tests.unit.fabric.queue_rig import QUEUES, MakeQueue, QueueRig

MakeRig = Callable[..., QueueRig]


__all__ = ["leaves_nothing", "make_queue", "make_rig", "rig"]


@pytest.fixture(params=QUEUES)
def make_queue(request: pytest.FixtureRequest) -> MakeQueue:
    found: MakeQueue = QUEUES[request.param]
    return found


@pytest.fixture
def make_rig(leaves_nothing: None, make_queue: MakeQueue) -> Iterator[MakeRig]:
    """Return a maker of rigs, which are closed at the end."""
    rigs: list[QueueRig] = []

    def make(*, timeout: float | None = None, buffer_size: int | None = None) -> QueueRig:
        rigs.append(QueueRig(make_queue, timeout=timeout, buffer_size=buffer_size))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def rig(make_rig: MakeRig) -> QueueRig:
    return make_rig()
