# SPDX-License-Identifier: BSD-3-Clause
"""Logs for every program of ours: one line an event, ``key=value`` fields, and each event counted.

Owns the quoting (names and reasons come from peers, and one event must stay one line), the counts
of events, the throttle for what a peer or a broken disk could repeat without end, and how a line
looks on stderr: with the program's name, or, where that is the journal, with the priority that
systemd-journald takes off again (sd-daemon(3)). Where the lines go is set by entry points alone.
"""

from __future__ import annotations

import codecs
import io
import json
import logging
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from typing import NamedTuple

logger = logging.getLogger("vof")

MAX_EVENTS = 4096
"""Different events that are counted; names are ours, and devices those that are configured."""

_PLAIN = re.compile(r"[A-Za-z0-9_./:@\[\]+-]+")


class Event(NamedTuple):
    """An event as it is counted."""

    name: str
    tvqn: str
    """Empty where it is of no device."""


_lock = threading.Lock()
_counts: dict[Event, int] = {}


def printable(text: str) -> str:
    """Return text of others as it can be shown: on one line, without what a terminal would obey.

    Letters of every script stay as they are; the rest becomes Python's escapes.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def quote(value: object) -> str:
    """Return the value as it stands in a line: in double quotes, as JSON has them, unless it is one
    plain word."""
    text = str(value)
    if _PLAIN.fullmatch(text):
        return text
    return f'"{"".join(map(_quoted, text))}"'


def _quoted(letter: str) -> str:
    plain = letter.isprintable() and letter not in '"\\'
    return letter if plain else json.dumps(letter)[1:-1]


def event(level: int, name: str, *, tvqn: str | None = None, **fields: object) -> None:
    """Count and log one event. Fields that are None are left out.

    ``more`` says how many of its kind it stands for besides itself.
    """
    more = fields.get("more")
    _count(Event(name, tvqn or ""), 1 + (more if isinstance(more, int) else 0))
    if logger.isEnabledFor(level):
        logger.log(level, "%s", line(name, tvqn=tvqn, **fields))


def line(name: str, **fields: object) -> str:
    """Return the line of an event: the peer first, the reason last."""
    ordered = {"peer": fields.pop("peer", None)} | fields
    parts = [f"{key}={quote(value)}" for key, value in ordered.items() if value is not None]
    parts.insert(len(parts) - (fields.get("reason") is not None), f"event={name}")
    return " ".join(parts)


def event_counts() -> Mapping[Event, int]:
    """Return how often each event came to pass in this process."""
    with _lock:
        return dict(_counts)


def describe(error: BaseException) -> str:
    """Name an exception that nobody expected, and the place it came from, in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].name}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}: {error}"


class LineFormatter(logging.Formatter):
    """A record as one line behind ``prefix``, or behind its priority for the journal."""

    def __init__(self, prefix: str, *, journal: bool = False) -> None:
        super().__init__()
        self._prefix = prefix
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {describe(record.exc_info[1])}"
        text = printable(text)
        return f"<{_priority(record.levelno)}>{text}" if self._journal else self._prefix + text


def log_to_stderr(prefix: str, level: int) -> None:
    """Have everything of ours from ``level`` on written to stderr, in lines behind ``prefix``."""
    stream = sys.stderr
    if isinstance(stream, io.TextIOWrapper) and codecs.lookup(stream.encoding).name == "ascii":
        # The C locale, where a program's Python speaks UTF-8, and one inside another does not.
        stream.reconfigure(encoding="utf-8")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter(prefix, journal=is_journal(2)))
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(level)
    # A closed stderr is no reason for a traceback, nor to stop.
    logging.raiseExceptions = False


def is_journal(fd: int) -> bool:
    """Return whether the descriptor is the one that systemd has connected to the journal
    (``JOURNAL_STREAM`` in systemd.exec(5))."""
    stream = os.environ.get("JOURNAL_STREAM")
    if not stream:
        return False
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return stream == f"{found.st_dev}:{found.st_ino}"


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

    def event(
        self, level: int, name: str, *, reason: str, tvqn: str | None = None, **fields: object
    ) -> None:
        """Log one event, with how many were held back before it; or hold it back."""
        held = self.admit()
        if held is not None:
            event(level, name, tvqn=tvqn, **fields, more=held or None, reason=reason)


def _count(which: Event, number: int) -> None:
    with _lock:
        if which in _counts or len(_counts) < MAX_EVENTS:
            _counts[which] = _counts.get(which, 0) + number


def _priority(level: int) -> int:
    """Return syslog's number of a level: 3 for an error, 4 a warning, 6 a notice of what goes on,
    7 for details."""
    if level >= logging.ERROR:
        return 3
    if level >= logging.WARNING:
        return 4
    return 6 if level >= logging.INFO else 7
