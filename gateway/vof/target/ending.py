# SPDX-License-Identifier: BSD-3-Clause
"""Ends a connection's work by what went wrong, and the association with it where that is due.

A violation by the peer ends its whole association with one log line, a closed connection only its
queue. Owns the words of those lines. Must not know how a connection is closed.
"""

from __future__ import annotations

import logging

from vof.errors import RemoteProtocolError
from vof.logline import describe, event
from vof.target.association import Association
from vof.target.devices.device import Cancelled, DeviceFailure


class Stalled(Exception):
    """The peer took nothing of what was sent to it for too long."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the initiator took no data for {seconds:g} s")


def end_by(error: Exception, association: Association, peer: str) -> None:
    """End what ``error`` ends beyond the connection from ``peer`` itself; that its caller does."""
    if isinstance(error, RemoteProtocolError):
        what, reason, level = "violation", str(error), logging.WARNING
    elif isinstance(error, Stalled):
        what, reason, level = "stalled", str(error), logging.WARNING
    elif isinstance(error, DeviceFailure):
        what, reason, level = "device-failed", str(error), logging.ERROR
    elif isinstance(error, Cancelled):
        event(logging.DEBUG, "unanswered", peer=peer, reason=str(error))
        return
    elif isinstance(error, OSError):
        # A closed connection. The Linux initiator detaches in this way, requests in flight
        # included.
        event(logging.DEBUG, "closed", peer=peer, reason=error.strerror)
        return
    else:
        what, reason, level = "internal-error", describe(error), logging.ERROR
    association.end(what, reason, level=level, peer=peer)
