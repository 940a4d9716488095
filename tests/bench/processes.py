# SPDX-License-Identifier: BSD-3-Clause
"""The programs a measurement needs: started, waited for, and ended whatever happens.

Every program is sent SIGTERM when this one ends, even by SIGKILL, and all of them leave in good
order on that.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple, TypeVar

from tests.fuse.mounting import is_mounted

START_TIMEOUT = 20.0
END_TIMEOUT = 15.0
END_OF_A_RUN = 300.0
"""Seconds after which no load generator runs any more."""
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


class Unavailable(Exception):
    """Something cannot be measured here; says in one line what failed, and what to do if known."""


class Served(NamedTuple):
    """A target that listens."""

    port: str
    pid: int


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


def pinned(cpus: str, *command: str) -> list[str]:
    """Return a command that runs on these CPUs only; empty: on all of them."""
    return ["taskset", "-c", cpus, *command] if cpus else list(command)


def output_of(
    command: Sequence[str], cpus: str = "", environment: Mapping[str, str] | None = None
) -> str:
    """Run a program to its end; return what it printed. Raises Unavailable if it failed."""
    require(command[0])
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            [*BOUND, *pinned(cpus, *command)],
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=END_OF_A_RUN,
            env={**os.environ, **(environment or {})},
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{name} did not end within {END_OF_A_RUN:g} s") from None
    if done.returncode:
        raise Unavailable(f"{name} failed: {last_line(done.stderr or done.stdout)}")
    return done.stdout


def require(program: str) -> None:
    """Raise Unavailable if a program is not installed."""
    if shutil.which(program) is None:
        raise Unavailable(f"{program} is not installed; `tools/setup.sh bench` installs it")


def last_line(text: str) -> str:
    """Return the last thing a program said: what it complained of, as a rule."""
    lines = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    return lines[-1] if lines else "it did not say why"


@contextlib.contextmanager
def service(
    *command: str,
    log: Path,
    cpus: str = "",
    environment: Mapping[str, str] | None = None,
    last_signal: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program for as long as the block lasts. Raises Unavailable if there is no such one."""
    require(command[0])
    bound = ["setpriv", "--pdeathsig", last_signal.name.removeprefix("SIG"), "--"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*bound, *pinned(cpus, *command)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
    try:
        yield process
    finally:
        process.send_signal(last_signal)
        try:
            process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(process: subprocess.Popen[bytes], log: Path, look: Callable[[], _T | None]) -> _T:
    """Wait until ``look`` finds something; return that. Raises Unavailable if it never does."""
    deadline = time.monotonic() + START_TIMEOUT
    while (found := look()) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            how = "ended" if process.poll() is not None else f"was not ready in {START_TIMEOUT:g} s"
            said = last_line(log.read_text(errors="replace"))
            raise Unavailable(f"{_program(process)} {how}: {said}")
        time.sleep(0.02)
    return found


def wait_for(process: subprocess.Popen[bytes], log: Path, ready: str, file: Path) -> str:
    """Wait until ``file`` has text that matches ``ready``; return its first group."""
    match = wait_until(
        process, log, lambda: re.search(ready, file.read_text()) if file.exists() else None
    )
    return match[1]


@contextlib.contextmanager
def target(work: Path, name: str, devices: str, cpus: str = "") -> Iterator[Served]:
    """Serve the devices of a configuration."""
    config, log = work / f"{name}.conf", work / f"{name}.log"
    config.write_text(f"[target]\nport = 0\n{devices}")
    with service("vof-target", str(config), log=log, cpus=cpus) as process:
        port = wait_for(process, log, r"listening on \S+:(\d+)", log)
        yield Served(port, process.pid)


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


def _program(process: subprocess.Popen[bytes]) -> str:
    """Return what a process runs, without what we put before it."""
    words = process.args
    if not isinstance(words, list):
        return str(words)
    own = words[words.index("--") + 1 :]
    return str(own[3] if own[0] == "taskset" else own[0])
