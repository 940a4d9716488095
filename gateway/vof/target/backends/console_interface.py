# SPDX-License-Identifier: BSD-3-Clause
"""The interface of a console's other end: what the console device asks of it.

Owns the interface only. It must not know virtio, and never waits: who asked it is told when it is
worth asking again.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

from vof.target.backends.backend import Backend


class ConsoleEnd(Backend):
    """The other end of a console's line. Used by one thread at a time, but for ``close``."""

    @abstractmethod
    def read(self, buffer: memoryview) -> int:
        """Fill ``buffer`` from its beginning with what there is now; return how much, or 0. Raises
        OSError where there never will be anything."""

    @abstractmethod
    def write(self, data: memoryview) -> int:
        """Take from the beginning of ``data`` what there is room for; return how much, or 0. Raises
        OSError where there never will be room."""

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` whenever what ``wait_for`` said has come to pass, from any thread; that
        may be no more so when it is called. Asked once, before all else. Raises ConfigError."""

    def wait_for(self, *, reading: bool, writing: bool) -> None:
        """Say whether there is somebody who wants to read, and to write. Until the next call it is
        told of at most once."""
