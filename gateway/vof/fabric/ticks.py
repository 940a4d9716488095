# SPDX-License-Identifier: BSD-3-Clause
"""The time after which a receive that finds nothing returns, to look at deadlines."""

from __future__ import annotations

import socket
import struct

TICK = 1.0
"""Seconds between looks at the deadlines, at most."""

SHORT_TICK = 0.05
"""Seconds, at least; also how long a sender that cannot lead waits before it tries again to."""


def tick_of(timeout: float | None) -> float:
    """Return the seconds between looks at deadlines where a command may take ``timeout``; 0 for
    none."""
    return 0.0 if timeout is None else min(TICK, max(SHORT_TICK, timeout / 8))


def set_receive_timeout(sock: socket.socket, seconds: float) -> None:
    """Let a receive return after ``seconds`` without data (0: never), at no cost to one that finds
    some."""
    value = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
