# SPDX-License-Identifier: BSD-3-Clause
"""The place a value comes from, so that whoever sees it knows what to change."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Source(Enum):
    """The kinds of places, strongest first."""

    COMMAND_LINE = "command line"
    FILE = "file"
    INITIATOR_NAME = "initiator-name"
    BUILT_IN = "built in"


@dataclass(frozen=True)
class Origin:
    """A place. Its text is ``FILE:LINE``, or what it is where it is no file."""

    source: Source
    path: Path | None = None
    line: int = 0
    """From 1; 0 for a file as a whole."""

    def __str__(self) -> str:
        if self.path is None:
            return self.source.value
        return f"{self.path}:{self.line}" if self.line else str(self.path)


COMMAND_LINE = Origin(Source.COMMAND_LINE)
BUILT_IN = Origin(Source.BUILT_IN)


def in_file(path: Path, line: int = 0) -> Origin:
    """Return a line of a configuration file."""
    return Origin(Source.FILE, path, line)


@dataclass(frozen=True)
class Value:
    """A value as text, and where it comes from; None where nothing is set."""

    text: str | None
    origin: Origin
