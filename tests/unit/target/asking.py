# SPDX-License-Identifier: BSD-3-Clause
"""A request of a device that answers at once, and a clock that is moved by hand."""

from __future__ import annotations

from collections.abc import Callable

from vof.target.clock import Clock, Timer
from vof.target.devices.device import DeviceInstance, Outcome, Request
from vof.target.work import Work


def ask(
    instance: DeviceInstance,
    readable: memoryview,
    writable: memoryview,
    queue: int = 0,
    work: Work | None = None,
) -> int:
    """Return how many bytes were written, or raise why there is no answer."""
    outcomes: list[Outcome] = []
    (work or Work()).submit(instance, Request(queue, readable, writable), outcomes.append)
    [outcome] = outcomes
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


class StoppedClock(Clock):
    """A clock that moves by what is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 1000.0
        self.waited: list[float] = []
        self.at: dict[int, Callable[[], object]] = {}
        """What happens during which wait, counted from 1."""
        self.waiting: list[tuple[float, Timer]] = []

    def now(self) -> float:
        return self.time

    def after(self, seconds: float, call: Callable[[], object]) -> Timer:
        timer = Timer(self, call)
        self.waiting.append((seconds, timer))
        return timer

    def forget(self, timer: Timer) -> None:
        self.waiting = [item for item in self.waiting if item[1] is not timer]

    def go_on(self) -> None:
        """Let the one call be made that is waited for."""
        [(seconds, timer)] = self.waiting
        self.waiting.clear()
        self.waited.append(seconds)
        self.time += seconds
        self.at.get(len(self.waited), lambda: None)()
        timer.call()
