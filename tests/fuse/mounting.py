# SPDX-License-Identifier: BSD-3-Clause
"""Mounts by the vof-mount program, and their certain end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

COMMAND = (sys.executable, "-m", "vof", "vof-mount")
PATIENCE = 30.0


def vof_mount(
    *arguments: str | Path, command: Sequence[str | Path] = COMMAND
) -> subprocess.CompletedProcess[str]:
    """Run the program until it returns."""
    return subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE,
        check=False,
    )


def is_mounted(folder: Path) -> bool:
    """Return whether something is mounted there. Asks the kernel's table, not the mount."""
    return any(
        line.split(" ")[4] == str(folder)
        for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    )


def alive(pid: int) -> bool:
    """Return whether a process runs; one that waits only to be buried does not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in ("Z", "X")


def process_of(folder: Path) -> int | None:
    """Return the process that serves the mount on ``folder``: its last word says so."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                ours = os.fsencode(folder) in words and any(
                    word.endswith((b"vof-mount", b"mount.fuse.vof")) for word in words
                )
                if ours and alive(int(entry.name)):
                    return int(entry.name)
    return None


def eventually(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, f"did not come about: {what}"
        time.sleep(0.01)


def clear_away(folder: Path) -> None:
    """Unmount whatever is there and end its process, in any state."""
    pid = process_of(folder)
    while is_mounted(folder):
        run = subprocess.run(["umount", "-l", folder], capture_output=True, check=False)
        if run.returncode:
            break
    if pid is not None:
        end = time.monotonic() + 5
        while alive(pid) and time.monotonic() < end:
            time.sleep(0.01)
        with contextlib.suppress(ProcessLookupError):
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


class Mount:
    """A mount in the background, as a user makes it; leaving the block unmounts it."""

    def __init__(self, folder: Path, *tvqns: str, **options: object) -> None:
        self.path = folder
        folder.mkdir(exist_ok=True)
        words = [key if value is True else f"{key}={value}" for key, value in options.items()]
        given = ["-o", ",".join(words)] if words else []
        try:
            self.run = vof_mount(*given, *tvqns, folder)
            assert self.run.returncode == 0, self.run.stderr
            pid = process_of(folder)
            assert pid is not None
            self.pid = pid
        except BaseException:
            clear_away(folder)
            raise

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def unmount(self) -> None:
        """Unmount in good order and wait for the process to be gone."""
        subprocess.run(["umount", self.path], check=True, capture_output=True, timeout=PATIENCE)
        eventually(lambda: not alive(self.pid), "the end of vof-mount")

    def info(self, device: str) -> dict[str, str]:
        text = (self.path / device / "info").read_text(encoding="utf-8")
        return dict(line.split(": ", 1) for line in text.splitlines())

    def command(self, text: str | bytes) -> None:
        """Write a command to the control file, in one write."""
        data = text if isinstance(text, bytes) else text.encode()
        fd = os.open(self.path / "virtio-fabrics", os.O_WRONLY)
        try:
            assert os.write(fd, data) == len(data)
        finally:
            os.close(fd)

    def last_error(self) -> str:
        text = (self.path / "virtio-fabrics").read_text(encoding="utf-8")
        return text.rpartition("last_error: ")[2].rstrip("\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None and is_mounted(self.path) and alive(self.pid):
                self.unmount()
        finally:
            clear_away(self.path)
        if error is None:
            assert not is_mounted(self.path)
