# SPDX-License-Identifier: BSD-3-Clause
"""Counts commands that have ended, for the queues in Python, and waits for the end of a queue."""

from __future__ import annotations

import select
import time

from vof.counts import Tally
from vof.fabric.interface import Queue
from vof.fabric.pending import Pending


def count_ended(tally: Tally, pending: Pending) -> None:
    """Count a command that has just ended, under its name."""
    if pending.arrival is None:
        tally.lost(pending.what)
        return
    tally.answered(
        pending.what,
        time.monotonic() - pending.submitted_at,
        pending.data_bytes,
        refused=bool(pending.arrival.completion.status),
    )


def await_end(queue: Queue, seconds: float) -> None:
    """Wait until the target has closed a connection, for a bounded time."""
    deadline = time.monotonic() + seconds
    poller = select.poll()
    poller.register(queue.fileno(), select.POLLIN)
    while queue.error is None and (left := deadline - time.monotonic()) > 0:
        poller.poll(left * 1000)
        queue.look()
