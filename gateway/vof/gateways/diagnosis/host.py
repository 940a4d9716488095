# SPDX-License-Identifier: BSD-3-Clause
"""The machine that is looked at: its files, its programs, and who asks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from vof.gateways.attach.nbd.nbdkit import environment

TIMEOUT = 10.0
"""Seconds a program may take to say something about itself."""


class Ran(NamedTuple):
    """The outcome of a program; ``status`` is None where it is not there or did not end."""

    status: int | None
    output: str
    error: str


def run(command: Sequence[str | Path]) -> Ran:
    """Run a program that tells something and ends, as nbdkit is run to attach a disk."""
    try:
        done = subprocess.run(
            command,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Ran(None, "", f"no answer within {TIMEOUT:g} s")
    except OSError as error:
        return Ran(None, "", error.strerror or str(error))
    return Ran(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Host:
    """A machine, whose files are below ``root``."""

    root: Path = Path("/")
    release: str = field(default_factory=lambda: os.uname().release)
    """Of the kernel."""
    is_root: bool = field(default_factory=lambda: os.geteuid() == 0)
    run: Callable[[Sequence[str | Path]], Ran] = run

    def path(self, name: str) -> Path:
        """Return a file of the machine."""
        return self.root / name.lstrip("/")

    def text(self, name: str) -> str:
        """Return a file's content, nothing where it cannot be read."""
        return self.content(self.path(name))

    def content(self, path: Path) -> str:
        """Return what is in a path that ``entries`` gave."""
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def entries(self, pattern: str) -> Iterator[Path]:
        """Yield the paths that fit a pattern, in order."""
        yield from sorted(self.root.glob(pattern.lstrip("/")))

    def can_open(self, name: str) -> bool:
        """Return whether whoever asks may read and write a file."""
        return os.access(self.path(name), os.R_OK | os.W_OK)
