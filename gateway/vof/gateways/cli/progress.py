# SPDX-License-Identifier: BSD-3-Clause
"""A bar for what takes long, on standard error where that is a terminal; nothing otherwise."""

from __future__ import annotations

import shutil
import sys
from types import TracebackType
from typing import Self

_CLEAR = "\r\x1b[K"
_WIDEST = 40


class Progress:
    """Shows how far something is. A context manager, which leaves the line empty."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._stream = sys.stderr
        self._shown = self._stream.isatty()

    def show(self, fraction: float) -> None:
        """Say how much is done, from 0 to 1."""
        if not self._shown:
            return
        fraction = min(max(fraction, 0.0), 1.0)
        room = shutil.get_terminal_size().columns - len(self._what) - len("  [] 100 %")
        width = max(0, min(_WIDEST, room))
        filled = "#" * round(fraction * width)
        self._stream.write(
            f"{_CLEAR}{self._what} [{filled.ljust(width, '.')}] {fraction * 100:3.0f} %"
        )
        self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shown:
            self._stream.write(_CLEAR)
            self._stream.flush()
