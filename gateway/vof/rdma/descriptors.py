# SPDX-License-Identifier: BSD-3-Clause
"""The descriptors behind pyverbs's channels, which it does not tell.

A channel's descriptor is the one that is there after its making and was not before. So whatever
opens or closes a descriptor of the kinds of this module does so by it, one thread at a time. Needs
no pyverbs.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TypeVar

COMPLETION_CHANNEL = "infinibandevent"
EVENT_CHANNEL = "rdma_cm"
"""What /proc has in the names of the two kinds of channel. An opened device has one of the first
kind too."""

T = TypeVar("T")

_one_at_a_time = threading.Lock()
# A child is not to find it held by a thread that it does not have.
os.register_at_fork(
    before=_one_at_a_time.acquire,
    after_in_parent=_one_at_a_time.release,
    after_in_child=_one_at_a_time.release,
)


class Closable(Protocol):
    """An object of pyverbs's."""

    def close(self) -> None:
        """End it."""


def with_descriptor(make: Callable[[], T], kind: str) -> tuple[T, int]:
    """Return what ``make`` makes, and the descriptor of that ``kind`` that it opens, which is set
    not to block."""
    with _one_at_a_time:
        before = _descriptors_of(kind)
        made = make()
        [descriptor] = _descriptors_of(kind) - before
        os.set_blocking(descriptor, False)
        return made, descriptor


def close_with_descriptor(made: Closable) -> None:
    """Close what has a descriptor: else what is made meanwhile could have the number of one that
    has just gone. Raises what its close raises."""
    with _one_at_a_time:
        made.close()


def _descriptors_of(kind: str) -> set[int]:
    found = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - there may be thousands
        with suppress(OSError):  # closed since
            if kind in os.readlink(f"/proc/self/fd/{name}"):  # noqa: PTH115
                found.add(int(name))
    return found
