# SPDX-License-Identifier: BSD-3-Clause
"""How programs end, in a process of its own for each case."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

SCRIPT = """
import os, signal, sys
from vof.program import *
def send(number): os.kill(os.getpid(), number)
def told(text): os.write(1, text.encode() + b"\\n")
def main():
{body}
sys.exit(run("name", main))
"""


def ended(body: str, output: int = subprocess.PIPE) -> tuple[int, str, str]:
    """Return the exit status, standard output and standard error of a program."""
    script = SCRIPT.format(body="\n".join(f"    {line}" for line in body.splitlines()))
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ("return 3", 3, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit(4)", 4, ""),
        ("sys.exit('so it is')", 1, "so it is\n"),
        (
            "return 1 // 0",
            1,
            "name: internal error: ZeroDivisionError at main, line 7: "
            "integer division or modulo by zero; please report it\n",
        ),
        ("raise Interrupted(signal.SIGTERM)", -signal.SIGTERM, ""),
        ("send(signal.SIGINT)", -signal.SIGINT, ""),
    ],
)
def test_ends(body: str, status: int, error: str) -> None:
    assert ended(body) == (status, "", error)


@pytest.mark.parametrize(
    "body",
    [
        "sys.stdout.write('short')\nreturn 0",
        "sys.stdout.write('long' * 100000)\nreturn 0",
        "try: print('x', flush=True)\nexcept OSError: pass\nreturn 0",
    ],
)
def test_output_that_is_lost(body: str) -> None:
    """Whatever was done about an OSError, and whether anything is left to be written."""
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        status, _output, error = ended(body, full.fileno())
    reason = "cannot write to standard output: No space left on device"
    assert (status, error) == (1, f"name: {reason}\n")


def test_the_first_signal_has_things_undone_and_no_other_breaks_into_that() -> None:
    body = """
with undone():
    try:
        with undone(): send(signal.SIGTERM)
    finally:
        send(signal.SIGINT)
        told("undone")
told("not undone")
"""
    assert ended(body) == (-signal.SIGTERM, "undone\n", "")


def test_a_signal_that_is_ignored_stays_so() -> None:
    body = """
signal.signal(signal.SIGHUP, signal.SIG_IGN)
with undone(): send(signal.SIGHUP)
return 0
"""
    assert ended(body) == (0, "", "")


def test_a_signal_that_is_held_comes_afterwards() -> None:
    body = """
with held():
    send(signal.SIGTERM)
    told("done")
told("not done")
"""
    assert ended(body) == (-signal.SIGTERM, "done\n", "")


def test_orders() -> None:
    """Also where who started the program had them blocked."""
    body = """
hold()
wait = orders(*ENDING)
for number in (signal.SIGHUP, signal.SIGTERM):
    send(number)
    told(wait().name)
return 0
"""
    assert ended(body) == (0, "SIGHUP\nSIGTERM\n", "")
