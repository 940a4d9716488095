# SPDX-License-Identifier: BSD-3-Clause
"""Waiting for a command in flight from a trio task.

The same leadership serves threads and tasks: a task that leads awaits the socket and receives what
has come, for all. Apart from the fabric itself, so that a gateway without tasks does not load trio.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import trio

from vof.fabric.interface import Queue
from vof.fabric.pending import Pending
from vof.wire.stream import Arrival

_T = TypeVar("_T")

_PAUSE = 0.05
"""Seconds between looks whether a queue that has ended goes on."""


async def wait_in_task(queue: Queue, pending: Pending) -> Arrival:
    """Return what arrived for a submitted command. Raises the error that ended it.

    Not cancelled while the command is in flight, for its buffers are lent until then; what bounds
    the wait is the queue's timeout.
    """
    if not pending.done:
        try:
            with trio.CancelScope(shield=True):
                await _lead_or_follow(queue, pending)
        except BaseException as error:
            queue.give_up(error)
            raise
        if queue.error is not None:
            queue.settle()
    return pending.result()


async def in_thread(send: Callable[[], _T]) -> _T:
    """Run ``send``, which submits a command, in a worker thread; return what it returns.

    For commands larger than a socket takes at once: to a target that does not read, a submission
    waits, and the other tasks must not wait with it.
    """
    return await trio.to_thread.run_sync(send)


async def _lead_or_follow(queue: Queue, pending: Pending) -> None:
    token = trio.lowlevel.current_trio_token()
    woken = trio.Event()
    if not queue.lead_or_follow(pending, lambda: token.run_sync_soon(woken.set)):
        while not woken.is_set():
            # What is kept for another connection gets its next deadline with that.
            patience = _PAUSE if queue.error is not None else _seconds_left(pending)
            with trio.move_on_after(patience):
                await woken.wait()
            if not woken.is_set():
                queue.check_deadline(pending)
        if not queue.leads(pending):
            return
    try:
        while not pending.done:
            ended = queue.error is not None
            if not ended:
                with trio.move_on_after(_seconds_left(pending)):
                    await trio.lowlevel.wait_readable(queue)
            queue.receive_ready()
            if pending.done:
                break
            if ended:  # and torn down: it is kept to be sent again, over another connection
                await trio.sleep(_PAUSE)
            queue.check_deadline(pending)
    finally:
        queue.release_lead()


def _seconds_left(pending: Pending) -> float:
    if pending.deadline is None:
        return float("inf")
    return max(0.0, pending.deadline - time.monotonic())
