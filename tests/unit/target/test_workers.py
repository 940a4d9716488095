# SPDX-License-Identifier: BSD-3-Clause
"""The threads of a virtqueue."""

from __future__ import annotations

import threading

from vof.target.workers import Workers


def test_no_more_items_are_held_than_there_are_threads() -> None:
    gate, taken = threading.Semaphore(0), threading.Semaphore(0)
    done: list[int] = []

    def work(item: int) -> None:
        taken.release()
        gate.acquire()
        done.append(item)

    workers = Workers(3, "test", work)
    for item in range(3):
        workers.submit(item)
    for _ in range(3):
        assert taken.acquire(timeout=20)
    # All three are in progress; a fourth has to wait until one is done.
    fourth = threading.Thread(target=workers.submit, args=(3,))
    fourth.start()
    fourth.join(0.05)
    assert fourth.is_alive()
    gate.release()
    fourth.join(20)
    assert not fourth.is_alive()
    for _ in range(3):
        gate.release()
    workers.finish()
    assert sorted(done) == [0, 1, 2, 3]


def test_finish_waits_for_everything() -> None:
    done: list[int] = []
    workers = Workers(2, "test", done.append)
    for item in range(100):
        workers.submit(item)
    workers.finish()
    assert sorted(done) == list(range(100))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("test-")]


def test_threads_are_made_as_they_are_needed() -> None:
    workers: Workers[int] = Workers(64, "lazy", lambda _item: None)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lazy-")]
    workers.finish()
