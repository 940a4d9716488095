# SPDX-License-Identifier: BSD-3-Clause
"""A target's trace, in the form in which it takes it."""

from __future__ import annotations

import socket
from collections.abc import Callable

from vof.decode.message import Direction
from vof.trace.sockets import traced
from vof.trace.trace import open_trace


def open_target_tap(place: str) -> Callable[[socket.socket], socket.socket]:
    """Return what stands in for each socket that was accepted; see ``open_trace``. Raises
    VofError."""
    trace = open_trace(place)
    return lambda sock: traced(sock, trace, Direction.T2I)
