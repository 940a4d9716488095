# SPDX-License-Identifier: BSD-3-Clause
"""One thing that was looked at: its state, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Status(Enum):
    """The state of a thing."""

    OK = "ok"
    MISSING = "missing"
    """This machine cannot do something that nothing configured needs."""
    WRONG = "wrong"
    """What is configured, or was asked for, does not work."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    check: str
    """What it is about, in a word or a device's name."""
    status: Status
    text: str
    fix: str | None = None
    """What to do; None where there is nothing to do."""


def lacking(check: str, text: str, fix: str, *, needed: bool) -> Finding:
    """Return what is said of something that is not there."""
    return Finding(check, Status.WRONG if needed else Status.MISSING, text, fix)
