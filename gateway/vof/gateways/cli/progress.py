# SPDX-License-Identifier: BSD-3-Clause
"""A line about what takes long, on standard error where that is a terminal; nothing otherwise."""

from __future__ import annotations

import shutil
import sys
from types import TracebackType
from typing import Self

_CLEAR = "\r\x1b[K"
_WIDEST = 40


class Line:
    """A line that is drawn again and again. A context manager, which leaves it empty."""

    def __init__(self, *, wanted: bool = True) -> None:
        self._stream = sys.stderr
        self.shown = wanted and self._stream.isatty()
        """Whether anything is drawn at all."""
        self._text = ""

    def show(self, text: str) -> None:
        """Draw the line anew, or as much of it as there is room for."""
        self._draw(text[: shutil.get_terminal_size().columns - 1])

    def clear(self) -> None:
        """Make room for what others write."""
        self._draw("")

    def _draw(self, text: str) -> None:
        if self.shown and text != self._text:
            self._stream.write(_CLEAR + text)
            self._stream.flush()
            self._text = text

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()


class Progress(Line):
    """A bar that shows how far something is."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what

    def advance(self, fraction: float) -> None:
        """Say how much is done, from 0 to 1."""
        if not self.shown:
            return
        fraction = min(max(fraction, 0.0), 1.0)
        room = shutil.get_terminal_size().columns - len(self._what) - len("  [] 100 %")
        width = max(0, min(_WIDEST, room))
        filled = "#" * round(fraction * width)
        self._draw(f"{self._what} [{filled.ljust(width, '.')}] {fraction * 100:3.0f} %")
