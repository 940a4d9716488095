# SPDX-License-Identifier: BSD-3-Clause
"""The stage of the demonstration: runs programs, keeps services up, tells what happens."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from vof.program import hold, release

START_TIMEOUT = 60
END_TIMEOUT = 20

console = Console(highlight=False)


class DemoError(Exception):
    """Something the demonstration needs is not there, or went wrong; the text says what."""


def step(title: str) -> None:
    console.print(f"\n[bold cyan]▸ {title}[/]")


def show(command: list[str], output: str = "") -> None:
    """Print a command as a user would type it, or nothing of it, and what it printed."""
    if command:
        console.print(f"  $ {' '.join(command)}", style="dim", markup=False, soft_wrap=True)
    for line in output.rstrip().splitlines():
        console.print(f"    {line}", markup=False, soft_wrap=True)


def run(*command: str, quiet: bool = False) -> str:
    """Run a command to its end and return what it printed. Raises DemoError if it fails."""
    try:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # a terminal's Ctrl-C reaches it through us
        )
    except FileNotFoundError:
        raise DemoError(f"{command[0]} is not installed; run `make setup`") from None
    try:
        output, _none = process.communicate()
    except BaseException:
        # With all that it has started, and not killed: it has things to undo, as we have.
        _end(process, os.killpg)
        raise
    if process.returncode:
        raise DemoError(f"`{' '.join(command)}` failed:\n{output.strip()}")
    if not quiet:
        show(list(command))
    return output


def _end(process: subprocess.Popen[Any], kill: Callable[[int, int], None]) -> None:
    """Have a program end, by force if it does not; ``kill`` says whether it alone, or its group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        kill(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_TIMEOUT)


def succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def service(*command: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Keep a program running; its output goes to ``log``."""
    with log.open("wb") as output:
        hold()  # until its end is seen to
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a terminal's Ctrl-C is not for what is in use
                preexec_fn=release,  # noqa: PLW1509 - there are no threads yet
            )
        except FileNotFoundError:
            release()
            raise DemoError(f"{command[0]} was not found; run this by `make demo`") from None
    try:
        release()
        yield process
    finally:
        _end(process, os.kill)


@contextlib.contextmanager
def mounted(device: str, folder: Path, *options: str) -> Iterator[Path]:
    try:
        run("mount", *options, device, str(folder))
        yield folder
    except BaseException:
        succeeds("umount", str(folder))
        raise
    run("umount", str(folder))


def wait_for(what: str, found: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a started program has made the file ``found``."""
    deadline = time.monotonic() + START_TIMEOUT
    while not found.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise DemoError(f"{what} did not start:\n{log.read_text().strip()}")
        time.sleep(0.02)
