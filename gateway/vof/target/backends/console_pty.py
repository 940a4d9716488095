# SPDX-License-Identifier: BSD-3-Clause
"""``driver=console-pty``: a pseudo-terminal is made, and whoever opens it is at the other end.

It is raw: every byte passes as it is, and none is echoed by the terminal. It lasts as long as the
device, whoever opens and closes it meanwhile, for one descriptor of the terminal's end stays here;
without it, reading would fail while nobody has it open. What is kept for a side that does not read
is the kernel's, and bounded by it.

Owns the symbolic link to the terminal.
"""

from __future__ import annotations

import contextlib
import os
import tty
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from vof.errors import ConfigError
from vof.target.backends.console_interface import ConsoleEnd
from vof.target.descriptor_watch import DescriptorWatch
from vof.target.values import Values, not_empty


class Pty(ConsoleEnd):
    """A pseudo-terminal that was made."""

    def __init__(self, link: str) -> None:
        """Raises ConfigError."""
        self._link = link
        self._linked = False
        with contextlib.ExitStack() as stack:
            try:
                self._ours, self._theirs = os.openpty()
                stack.callback(os.close, self._ours)
                stack.callback(os.close, self._theirs)
                tty.setraw(self._theirs)
                os.set_blocking(self._ours, False)
                self.name = os.ttyname(self._theirs)
                self._watch = DescriptorWatch(self._ours, "vof-pty")
            except OSError as error:
                raise ConfigError(f"cannot make a terminal: {error.strerror}") from None
            self._stack = stack.pop_all()

    def claim(self) -> None:
        """Make the link. One that a target has left is replaced; anything else is not."""
        if not self._link:
            return
        path = Path(self._link)
        if path.exists() and not path.is_symlink():
            raise ConfigError(f"{path} is there already, and is no symbolic link")
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            beside.symlink_to(self.name)
            beside.replace(path)
        except OSError as error:
            raise ConfigError(f"cannot make the link {path}: {error.strerror}") from None
        self._linked = True

    def facts(self) -> Mapping[str, object]:
        return {"terminal": self.name}

    def read(self, buffer: memoryview) -> int:
        try:
            return os.readv(self._ours, [buffer])
        except BlockingIOError:
            return 0

    def write(self, data: memoryview) -> int:
        try:
            return os.write(self._ours, data)
        except BlockingIOError:
            return 0

    def watch(self, changed: Callable[[], None]) -> None:
        try:
            self._watch.begin(changed)
        except RuntimeError as error:
            raise ConfigError(f"cannot watch a terminal: {error}") from None

    def wait_for(self, *, reading: bool, writing: bool) -> None:
        self._watch.wait_for(reading=reading, writing=writing)

    def close(self) -> None:
        self._watch.close()
        if self._linked:
            self._linked = False
            with contextlib.suppress(OSError):
                # Not another's that has taken its place.
                if Path(self._link).readlink() == Path(self.name):
                    Path(self._link).unlink()
        self._stack.close()


@dataclass(frozen=True)
class PtyOptions:
    """Keys of ``driver=console-pty``."""

    link: str = ""
    """Path of a symbolic link to the terminal; none where it is empty."""

    @classmethod
    def take(cls, values: Values) -> Self:
        """Take the backend's keys."""
        return cls(link=values.take("link", not_empty, ""))

    def open(self) -> ConsoleEnd:
        return Pty(self.link)
