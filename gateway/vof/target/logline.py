# SPDX-License-Identifier: BSD-3-Clause
"""How the target's log lines look: one line an event, ``key=value`` fields.

Owns the quoting (names and reasons come from peers, and one event must stay one line) and the
throttle for what a peer or a broken disk could repeat without end. Where the lines go is set by
``cli`` alone.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time

logger = logging.getLogger("vof.target")

_PLAIN = re.compile(r"[A-Za-z0-9_./:@\[\]+-]+")


def quote(value: object) -> str:
    """Return the value as it stands in a line: in double quotes unless it is one plain word."""
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


def event(level: int, name: str, **fields: object) -> None:
    """Log one event. Fields that are None are left out."""
    if logger.isEnabledFor(level):
        parts = [f"{key}={quote(value)}" for key, value in fields.items() if value is not None]
        parts.insert(len(parts) - ("reason" in fields), f"event={name}")
        logger.log(level, "%s", " ".join(parts))


class Throttle:
    """Lets one event through each ``interval`` seconds and counts the rest."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next = 0.0
        self._held = 0
        self._lock = threading.Lock()

    def admit(self) -> int | None:
        """Return how many were held back since the last one that was let through; None to hold this
        one.
        """
        now = time.monotonic()
        with self._lock:
            if now < self._next:
                self._held += 1
                return None
            held, self._held = self._held, 0
            self._next = now + self._interval
            return held
