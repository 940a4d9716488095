# SPDX-License-Identifier: BSD-3-Clause
"""A target's trace, in the form in which it takes it."""

from __future__ import annotations

import socket

from vof.decode.message import Direction
from vof.trace.sockets import traced
from vof.trace.trace import Tap, Trace, open_trace


class TargetTaps:
    """See ``vof.target.taps.Taps``, which it is."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    @classmethod
    def open(cls, place: str) -> TargetTaps:
        """Return a trace that goes to such a place; see ``open_trace``. Raises VofError."""
        return cls(open_trace(place))

    def stream(self, sock: socket.socket) -> socket.socket:
        return traced(sock, self._trace, Direction.T2I)

    def keyed(self, initiator: str, target: str) -> Tap:
        return self._trace.keyed(initiator, target, Direction.T2I)
