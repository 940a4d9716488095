# SPDX-License-Identifier: BSD-3-Clause
"""The vof-target program as a process of its own."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.target.peer import PATIENCE

COMMAND = (sys.executable, "-m", "vof", "vof-target")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False
    )


class TargetProcess:
    """A running vof-target. Its lines are read as they come, by ``line``."""

    def __init__(self, *arguments: str | Path, launcher: Sequence[str] = ()) -> None:
        self._process = subprocess.Popen(
            [*launcher, *COMMAND, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.log: list[str] = []
        """Lines on stderr that were taken so far."""
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [
            threading.Thread(target=self._pump, args=(stream, name), daemon=True)
            for stream, name in ((self._process.stdout, "out"), (self._process.stderr, "err"))
        ]
        for reader in self._readers:
            reader.start()
        self.said: list[str] = []
        """Lines on stdout up to the ready line."""
        try:
            ready = self._ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.addresses = [
            (host.strip("[]"), int(port)) for host, port in re.findall(r"(\S+):(\d+) \(", ready)
        ]
        """Where it listens."""
        self.address = self.addresses[0]

    @property
    def pid(self) -> int:
        return self._process.pid

    def line(self, pattern: str) -> str:
        """Wait for a line on stderr in which ``pattern`` is found."""
        while True:
            stream, line = self._next()
            if stream == "err":
                self.log.append(line)
                if re.search(pattern, line):
                    return line

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end; return the exit status."""
        status = self._process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        while not self._lines.empty():
            stream, line = self._next()
            if stream == "err":
                self.log.append(line)
        assert not any("Traceback" in line for line in self.log), self.log
        return status

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()

    def resident(self) -> int:
        """Return how many bytes of memory the process has at most had."""
        return self._status("VmHWM") << 10

    def threads(self) -> int:
        return self._status("Threads")

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
        for reader in self._readers:
            reader.join(PATIENCE)
        for stream in (self._process.stdout, self._process.stderr):
            if stream:
                stream.close()

    def _ready(self) -> str:
        while True:
            stream, line = self._next()
            if stream == "err":
                self.log.append(line)
                continue
            self.said.append(line)
            if re.fullmatch(r"vof-target: listening on \S+:\d+ \((tcp|rdma)\)(, .+)?", line):
                return line

    def _next(self) -> tuple[str, str]:
        text = self._lines.get(timeout=PATIENCE)
        stream, _space, line = text.partition(" ")
        return stream, line

    def _pump(self, stream: IO[str], name: str) -> None:
        for line in stream:
            self._lines.put(f"{name} {line.rstrip(os.linesep)}")

    def _status(self, key: str) -> int:
        text = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        found = re.search(rf"^{key}:\s+(\d+)", text, re.MULTILINE)
        assert found
        return int(found[1])
