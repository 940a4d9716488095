# SPDX-License-Identifier: BSD-3-Clause
"""The programs a measurement needs: started, waited for, and ended whatever happens.

Every program is sent SIGTERM when this one ends, even by SIGKILL, and all of them leave in good
order on that.
"""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TypeVar

from tests.fuse.mounting import is_mounted

START_TIMEOUT = 20.0
END_TIMEOUT = 15.0
BOUND = ("setpriv", "--pdeathsig", "TERM", "--")
"""Before a command: it does not outlive who starts it."""
SWEEP = """
cat
for try in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf --one-file-system -- "$1" 2>/dev/null && exit
    sleep 1
done
"""
"""Removes a folder once its stdin ends, and with it who held that, however it came about."""

_T = TypeVar("_T")


def leave_in_order() -> None:
    """Have the signals that end a program run every ``finally`` on the way out, undisturbed."""
    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def leave(number: int, _frame: FrameType | None) -> None:
        for each in ending:
            signal.signal(each, signal.SIG_IGN)
        sys.exit(128 + number)

    for each in ending:
        signal.signal(each, leave)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Make a folder for as long as the block lasts. Nothing in another file system is removed."""
    folder = tempfile.mkdtemp(prefix="vof-bench-", dir="/var/tmp")
    sweep = ["sh", "-c", SWEEP, "sweep", folder]
    with subprocess.Popen(sweep, stdin=subprocess.PIPE, start_new_session=True):
        yield Path(folder)


def output_of(command: Sequence[str]) -> str:
    """Run a program to its end; return what it printed, or leave with what it complained of."""
    done = subprocess.run([*BOUND, *command], check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"bench: {command[0]} failed: {done.stderr or done.stdout}")
    return done.stdout


@contextlib.contextmanager
def service(*command: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program for as long as the block lasts."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*BOUND, *command], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(process: subprocess.Popen[bytes], log: Path, look: Callable[[], _T | None]) -> _T:
    """Wait until ``look`` finds something; return that."""
    deadline = time.monotonic() + START_TIMEOUT
    while (found := look()) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"bench: {process.args!r} did not start:\n{log.read_text()}")
        time.sleep(0.02)
    return found


def wait_for(process: subprocess.Popen[bytes], log: Path, ready: str, file: Path) -> str:
    """Wait until ``file`` has text that matches ``ready``; return its first group."""
    match = wait_until(
        process, log, lambda: re.search(ready, file.read_text()) if file.exists() else None
    )
    return match[1]


@contextlib.contextmanager
def target(work: Path, name: str, devices: str) -> Iterator[str]:
    """Serve the devices of a configuration; gives the port."""
    config, log = work / f"{name}.conf", work / f"{name}.log"
    config.write_text(f"[target]\nport = 0\n{devices}")
    with service("vof-target", str(config), log=log) as process:
        yield wait_for(process, log, r"listening on \S+:(\d+)", log)


@contextlib.contextmanager
def mount(work: Path, name: str, *command: str) -> Iterator[Path]:
    """Run a program that mounts, in the foreground, on the folder that is its last argument."""
    folder, log = work / name, work / f"{name}.log"
    folder.mkdir()
    try:
        with service(*command, str(folder), log=log) as process:
            wait_until(process, log, lambda: is_mounted(folder) or None)
            yield folder
    finally:
        if is_mounted(folder):
            subprocess.run(["fusermount3", "-u", "-z", folder], check=False)
