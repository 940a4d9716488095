# SPDX-License-Identifier: BSD-3-Clause
"""A program in the foreground of a terminal of its own, on which can be typed, and which can go."""

from __future__ import annotations

import os
import pty
import select
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE = 30.0

INTERRUPT = b"\x03"
"""Ctrl-C."""


class Terminal:
    """Both. A context manager, which ends them."""

    def __init__(self, *command: str | Path, environment: Mapping[str, str] | None = None) -> None:
        self._master, slave = pty.openpty()
        self._poll = select.poll()
        self._poll.register(self._master, select.POLLIN)
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=os.environ | (environment or {}),
        )
        os.close(slave)
        self.output = ""

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for(self, text: str) -> None:
        """Return once that has been written."""
        while text not in self.output:
            assert self._read(), self.output

    def press(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def close(self) -> None:
        """Let the terminal go."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def wait(self) -> int:
        """Wait for the program's end; return its exit status, or the signal, negative."""
        while self._master >= 0 and self._read():
            pass
        return self._process.wait(PATIENCE)

    def _read(self) -> bool:
        """Take what was written next; False where nothing will be."""
        assert self._poll.poll(PATIENCE * 1000), self.output
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:  # nobody has it open any more
            return False
        self.output += data.decode(errors="replace")
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(PATIENCE)
        self.close()
