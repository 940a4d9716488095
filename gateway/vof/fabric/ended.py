# SPDX-License-Identifier: BSD-3-Clause
"""Counts commands that have ended, for the queues in Python."""

from __future__ import annotations

import time

from vof.counts import Tally
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
