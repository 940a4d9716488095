# SPDX-License-Identifier: BSD-3-Clause
"""A manager that programs tell when they are ready, as systemd is: for those that say nothing."""

from __future__ import annotations

import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.programs.terminal import PATIENCE


class Manager:
    """One. A context manager."""

    def __init__(self, folder: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(PATIENCE)
        self._socket.bind(str(folder / "notify"))
        self.environment = {"NOTIFY_SOCKET": str(folder / "notify")}

    def ready(self) -> str:
        """Wait until a program is; return what it says of itself."""
        said = self._socket.recv(4096).decode()
        assert said.startswith("READY=1\n")
        return said

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()
