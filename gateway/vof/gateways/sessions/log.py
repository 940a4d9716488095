# SPDX-License-Identifier: BSD-3-Clause
"""The log lines of a session's life, the same from every gateway (see ``vof.logline``)."""

from __future__ import annotations

import logging

from vof.errors import RemoteProtocolError, VofError
from vof.initiator.session import Session, State
from vof.logline import event


def log_opened(session: Session, device: str | None = None) -> None:
    """Log that a session is ready; ``device`` is what its device is called here, if anything."""
    event(
        logging.INFO,
        "opened",
        tvqn=session.tvqn,
        device=device,
        target=session.parameters.where,
        dialect=session.dialect,
        queues=len(session.virtqueues),
    )


def log_ended(session: Session, error: VofError, device: str | None = None) -> None:
    """Log that a session has ended, and ``error`` is why."""
    if session.state is State.CLOSED:
        level, name, reason = logging.INFO, "closed", None
    elif isinstance(error, RemoteProtocolError):
        level, name, reason = logging.WARNING, "violation", str(error)
    else:
        level, name, reason = logging.WARNING, "lost", str(error)
    event(
        level,
        name,
        tvqn=session.tvqn,
        device=device,
        target=session.parameters.where,
        reason=reason,
    )


def log_resized(tvqn: str, before: int, now: int, advice: str | None = None) -> None:
    """Log that a device has another size in bytes; ``advice`` says what that means to its users."""
    event(logging.WARNING, "resized", tvqn=tvqn, bytes=now, before=before, reason=advice)
