# SPDX-License-Identifier: BSD-3-Clause
"""Leader and followers, with a stand-in for the connection."""

from __future__ import annotations

import queue
import threading

import pytest

from tests.support.loopback import Background
from tests.support.scripted_target import wait_until
from vof.fabric.leader import Leadership
from vof.fabric.pending import Pending


class Source:
    """Ends the pendings that are put into it, and notes who asked and whether two asked at once."""

    def __init__(self) -> None:
        self.items: queue.Queue[Pending | Exception] = queue.Queue()
        self.expired: list[Pending] = []
        self.receivers: list[int] = []
        self.overlapped = False
        self._busy = threading.Lock()
        self.leadership = Leadership(self._receive, self.expired.append)

    def _receive(self) -> None:
        if not self._busy.acquire(blocking=False):
            self.overlapped = True
            return
        try:
            self.receivers.append(threading.get_ident())
            item = self.items.get(timeout=20)
            if isinstance(item, Exception):
                raise item
            self.leadership.finish(item)
        finally:
            self._busy.release()


def pending(ident: int = 0) -> Pending:
    return Pending(f"number {ident}", ident, [])


def test_a_lone_waiter_receives_for_itself() -> None:
    source = Source()
    one = pending()
    source.items.put(one)
    source.leadership.wait(one)
    assert source.receivers == [threading.get_ident()]


def test_a_pending_that_is_done_is_not_waited_for() -> None:
    source = Source()
    one = pending()
    source.leadership.finish(one)
    source.leadership.wait(one)
    assert not source.receivers


def test_only_one_thread_receives_at_a_time() -> None:
    source = Source()
    rounds, width = 200, 8

    def work(ident: int) -> None:
        for _ in range(rounds):
            one = pending(ident)
            source.items.put(one)
            source.leadership.wait(one)

    threads = [Background(work, ident) for ident in range(width)]
    for thread in threads:
        thread.result()
    assert not source.overlapped
    assert source.items.empty()
    assert source.leadership.try_lead()


def test_the_lead_is_exclusive_and_passes_to_a_follower_on_release() -> None:
    source = Source()
    one = pending()
    assert source.leadership.try_lead()
    assert not source.leadership.try_lead()
    waiter = Background(source.leadership.wait, one)
    wait_until(lambda: bool(source.leadership._followers), "a follower")
    assert not source.receivers
    source.leadership.release()
    source.items.put(one)
    waiter.result()
    assert source.leadership.try_lead()


def test_a_leader_that_fails_hands_over() -> None:
    """An error of ours in one waiter must not leave the others asleep for ever."""
    source = Source()
    one, two = pending(1), pending(2)
    first = Background(source.leadership.wait, one)
    wait_until(lambda: bool(source.receivers), "a leader")
    second = Background(source.leadership.wait, two)
    wait_until(lambda: bool(source.leadership._followers), "a follower")
    source.items.put(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        first.result()
    source.items.put(two)
    second.result()


def test_a_follower_whose_time_is_over_says_so_and_waits_for_the_end() -> None:
    source = Source()
    one, two = pending(1), pending(2)
    two.deadline = 0.0
    first = Background(source.leadership.wait, one)
    wait_until(lambda: bool(source.receivers), "a leader")
    second = Background(source.leadership.wait, two)
    wait_until(lambda: bool(source.expired), "the deadline to be noticed")
    assert source.expired == [two]
    assert second.running
    source.items.put(two)
    second.result()
    source.items.put(one)
    first.result()
