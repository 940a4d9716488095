# SPDX-License-Identifier: BSD-3-Clause
"""When a thread goes on looking, and when it sleeps."""

from __future__ import annotations

from vof.target.rdma.spin import LIMIT, Spin


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def wait(spin: Spin, clock: Clock, seconds: float) -> bool:
    """Wait for something; return whether the thread looked until it came."""
    looks = spin.again()
    clock.now += seconds
    looks = looks and spin.again()
    spin.found()
    return looks


def test_short_waits_are_not_slept_through() -> None:
    clock = Clock()
    spin = Spin(clock)
    assert not wait(spin, clock, LIMIT / 2)  # the first is not known to be
    assert wait(spin, clock, LIMIT / 2)
    assert wait(spin, clock, LIMIT / 2)
    assert not wait(spin, clock, 10 * LIMIT)
    assert not wait(spin, clock, 10 * LIMIT)
    assert not wait(spin, clock, LIMIT / 2)
    assert wait(spin, clock, LIMIT / 2)


def test_what_waking_costs_does_not_make_a_wait_long() -> None:
    clock = Clock()
    spin = Spin(clock)
    wait(spin, clock, 1.5 * LIMIT)
    assert wait(spin, clock, LIMIT / 2)
    wait(spin, clock, 2.5 * LIMIT)
    assert not wait(spin, clock, LIMIT / 2)


def test_looking_ends() -> None:
    clock = Clock()
    spin = Spin(clock)
    wait(spin, clock, 0)
    assert spin.again()
    clock.now += 1.01 * LIMIT
    assert not spin.again()
    assert not spin.again()


def test_work_without_a_wait_says_nothing() -> None:
    clock = Clock()
    spin = Spin(clock)
    wait(spin, clock, 0)
    clock.now += 1
    spin.found()
    assert spin.again()
