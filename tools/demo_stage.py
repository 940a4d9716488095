# SPDX-License-Identifier: BSD-3-Clause
"""What every part of the demonstration does: run programs, keep services up, tell what happens."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

START_TIMEOUT = 60

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
        done = subprocess.run(
            command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    except FileNotFoundError:
        raise DemoError(f"{command[0]} is not installed; run `make setup`") from None
    if done.returncode:
        raise DemoError(f"`{' '.join(command)}` failed:\n{done.stdout.strip()}")
    if not quiet:
        show(list(command))
    return done.stdout


def succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def service(*command: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Keep a program running; its output goes to ``log``."""
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        except FileNotFoundError:
            raise DemoError(f"{command[0]} was not found; run this by `make demo`") from None
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(START_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(what: str, found: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a started program has made the file ``found``."""
    deadline = time.monotonic() + START_TIMEOUT
    while not found.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise DemoError(f"{what} did not start:\n{log.read_text().strip()}")
        time.sleep(0.02)
