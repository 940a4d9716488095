# SPDX-License-Identifier: BSD-3-Clause
"""The destination of a trace: the program's log, or a file.

Owns the word that says so, and the bound on a line. A file that cannot be written any more ends the
trace, not the program.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from vof.errors import ConfigError, VofError
from vof.logline import event, logger

FORM = "yes, no, or a file's path with a slash"

LOG = "yes"
"""To the program's log."""

MAX_LINE = 1000
"""Characters of a line; names and lists come from a peer."""

Write = Callable[[str], None]
"""Takes a line without its end."""


def parse_place(key: str, value: str) -> str:
    """Return ``LOG``, an absolute path, or nothing for no trace. Raises ConfigError."""
    if value == "no":
        return ""
    if value == LOG:
        return LOG
    if "/" not in value or "\0" in value or value.endswith("/"):
        raise ConfigError(f"{key}={value}: not {FORM}")
    return str(Path(value).absolute())


def writer(place: str) -> Write:
    """Return what writes lines to such a place. Raises VofError where the file cannot be opened."""
    return _to_log() if place == LOG else _to_file(place)


def bounded(line: str) -> str:
    """Return the line, or as much of it as is written."""
    return line if len(line) <= MAX_LINE else line[: MAX_LINE - 1] + "…"


def _to_log() -> Write:
    log = logger.getChild("trace")
    # Whatever else is too much detail for that log.
    log.setLevel(logging.DEBUG)

    def write(line: str) -> None:
        log.debug("%s", line)

    return write


def _to_file(path: str) -> Write:
    try:
        # What it tells is nobody else's business.
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise VofError(
            f"cannot write the trace to {path}: {error.strerror}", errno=error.errno
        ) from None
    broken = False

    def write(line: str) -> None:
        nonlocal broken
        if broken:
            return
        try:
            os.write(fd, f"{line}\n".encode(errors="backslashreplace"))
        except OSError as error:
            broken = True
            reason = f"{path} cannot be written any more: {error.strerror}"
            event(logging.ERROR, "trace-ended", reason=reason)

    return write
