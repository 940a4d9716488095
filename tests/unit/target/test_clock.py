# SPDX-License-Identifier: BSD-3-Clause
"""Calls that are made later, by threads that nobody has to wait for."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from vof.target.clock import Clock


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock = Clock()
    yield clock
    clock.stop(10)
    assert not any(thread.is_alive() for thread in clock._threads)


def test_no_call_no_thread(clock: Clock) -> None:
    assert clock._threads == []


def test_calls_come_in_the_order_of_their_times(clock: Clock) -> None:
    made, all_made = list[float](), threading.Event()
    for seconds in (0.06, 0.02, 0.04, 0.0):
        clock.after(seconds, lambda seconds=seconds: made.append(seconds))  # type: ignore[misc]
    clock.after(0.08, all_made.set)
    assert all_made.wait(10)
    assert made == [0.0, 0.02, 0.04, 0.06]


def test_a_call_that_is_cancelled(clock: Clock) -> None:
    made, later = list[str](), threading.Event()
    timer = clock.after(0.01, lambda: made.append("cancelled"))
    timer.cancel()
    timer.cancel()
    clock.after(0.03, later.set)
    assert later.wait(10)
    assert made == []
    assert clock._timers == []


def test_a_call_that_hangs_holds_up_no_other(clock: Clock) -> None:
    hangs, others = threading.Event(), threading.Semaphore(0)
    clock.after(0.0, lambda: hangs.wait(10))
    for _ in range(5):
        clock.after(0.01, others.release)
    for _ in range(5):
        assert others.acquire(timeout=10)
    hangs.set()


def test_a_call_that_fails_holds_up_no_other(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    others = threading.Semaphore(0)
    for _ in range(4):
        clock.after(0.0, [].pop)
        clock.after(0.0, others.release)
    for _ in range(4):
        assert others.acquire(timeout=10)
    assert any("event=internal-error" in line for line in caplog.messages)


def test_nothing_is_called_after_the_stop(clock: Clock) -> None:
    made = list[int]()
    clock.after(0.02, lambda: made.append(1))
    clock.stop(10)
    clock.after(0.0, lambda: made.append(2))
    assert made == []
