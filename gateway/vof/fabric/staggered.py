# SPDX-License-Identifier: BSD-3-Clause
"""Begins several attempts one after another until one succeeds (RFC 8305 section 5).

Owns when each begins and what becomes of the others. An attempt is a generator that yields what it
waits for: it must not block, and closes what it has opened when it is closed itself. So there are
no threads, and whatever interrupts the wait leaves nothing open. Must not know what is attempted.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

from vof.errors import ConnectError
from vof.fabric.deadline import Deadline

ATTEMPT_DELAY = 0.25
"""Seconds that an attempt has before the next one begins (RFC 8305 section 8)."""

T = TypeVar("T")


class Wait(NamedTuple):
    """The readiness that an attempt waits for."""

    fd: int
    events: int
    """As poll(2) has them."""
    until: float | None = None
    """The time (monotonic) at which it goes on in any case."""


Attempt: TypeAlias = Generator[Wait, None, T]
"""Returns what it was to get. Raises OSError or ConnectError where it fails."""


class AllFailed(Exception):
    """No attempt got there. ``reasons`` are those of the attempts that had begun, in their order;
    None for one that was still on its way when the time was up."""

    def __init__(self, reasons: Sequence[OSError | ConnectError | None]) -> None:
        super().__init__()
        self.reasons = reasons


def first_of(starts: Sequence[Callable[[], Attempt[T]]], deadline: Deadline) -> tuple[int, T]:
    """Return which of the attempts succeeded first, and what it returned; close the others. The
    first one begins in any case.

    Raises AllFailed.
    """
    reasons: list[OSError | ConnectError | None] = []
    running: dict[int, Attempt[T]] = {}
    waits: dict[int, Wait] = {}
    next_at = 0.0
    ready: list[int] = []
    try:
        while not reasons or not deadline.passed:
            begun = len(reasons)
            if begun < len(starts) and (not running or time.monotonic() >= next_at):
                running[begun] = starts[begun]()
                ready.append(begun)
                reasons.append(None)
                next_at = time.monotonic() + ATTEMPT_DELAY
            for index in ready:
                try:
                    waits[index] = next(running[index])
                except StopIteration as end:
                    return index, end.value
                except (OSError, ConnectError) as error:
                    reasons[index] = error
                    next_at = 0.0
                    del running[index]
                    waits.pop(index, None)
            ready = []
            more = len(reasons) < len(starts)
            if running:
                ready = _wait(waits, min(next_at, deadline.at) if more else deadline.at)
            elif not more:
                break
        raise AllFailed(reasons)
    finally:
        for attempt in running.values():
            attempt.close()


def _wait(waits: Mapping[int, Wait], until: float) -> list[int]:
    """Return which of them go on, in their order; none where nothing happened ``until`` then."""
    poller = select.poll()
    for wait in waits.values():
        poller.register(wait.fd, wait.events)
        if wait.until is not None:
            until = min(until, wait.until)
    happened = {fd for fd, _what in poller.poll(max(0.0, until - time.monotonic()) * 1000)}
    now = time.monotonic()
    return [
        index
        for index, wait in waits.items()
        if wait.fd in happened or (wait.until is not None and now >= wait.until)
    ]
