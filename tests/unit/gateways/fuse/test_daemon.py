# SPDX-License-Identifier: BSD-3-Clause
"""Going into the background: what the starter learns, in a process of its own for each case."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from vof.program import ENDING

SCRIPT = """
import os, sys, time
from vof.gateways.fuse.daemon import in_background
def work(ready):
{work}
print(repr(in_background(work)))
"""


def outcome(work: str) -> str:
    script = SCRIPT.format(work="\n".join(f"    {line}" for line in work.splitlines()))
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=True
    )
    return run.stdout.strip()


@pytest.mark.parametrize(
    ("work", "said"),
    [
        ("ready()", "None"),
        ("ready()\nready()\nreturn 'too late'", "None"),
        ("ready()\ntime.sleep(0.2)\nraise ValueError", "None"),
        ("return 'it is broken: ä'", "'it is broken: ä'"),
        ("return None", "'ended before it was ready'"),
        ("os.kill(os.getpid(), 9)", "'ended by SIGKILL before it was ready'"),
    ],
)
def test_news(work: str, said: str) -> None:
    assert outcome(work) == said


def test_a_mistake_of_ours() -> None:
    assert outcome("raise ValueError('oops')") == "'internal error: ValueError: oops'"


ENDS = """
import os, select, signal, sys
from vof.gateways.fuse.daemon import in_background
from vof.program import run
kept = os.dup(1)
def undo(_number, _frame):
    os.write(kept, b"undone")
    os._exit(0)
def work(ready):
    signal.signal(signal.SIGTERM, undo)
{work}
def main():
    in_background(work)
{after}
sys.exit(run("name", main))
"""


def ended(work: str, after: str = "return 0") -> tuple[int, str]:
    """Return how the starter ends, and what is written until the child has ended, too."""
    lines = {"work": work, "after": after}
    indented = {
        key: "\n".join(f"    {line}" for line in text.splitlines()) for key, text in lines.items()
    }
    run = subprocess.run(
        [sys.executable, "-c", ENDS.format(**indented)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=20,
        check=False,
    )
    return run.returncode, run.stdout


@pytest.mark.parametrize("number", ENDING)
def test_a_starter_that_is_interrupted_has_it_undone(number: signal.Signals) -> None:
    """Also where the child has just got ready."""
    work = f"os.kill(os.getppid(), {number:d})\nsignal.pause()"
    assert ended(work) == (-number, "undone")


def test_a_starter_that_is_told_is_not_interrupted_any_more() -> None:
    assert ended("ready()", "os.kill(os.getpid(), signal.SIGINT)\nreturn 3") == (3, "")


def test_a_starter_that_is_killed_is_missed() -> None:
    work = """
starter = os.pidfd_open(os.getppid())
os.kill(os.getppid(), signal.SIGKILL)
select.select([starter], [], [])
ready()
"""
    assert ended(work) == (-signal.SIGKILL, "undone")


def test_the_child_stands_alone() -> None:
    """Its own session, the root folder, and nothing of the terminal."""
    work = (
        "assert os.getsid(0) == os.getpid() and os.getcwd() == '/'\n"
        "assert os.readlink('/proc/self/fd/0') == '/dev/null'\n"
        "ready()\n"
        "for fd in (1, 2): assert os.readlink(f'/proc/self/fd/{fd}') == '/dev/null'\n"
    )
    assert outcome(work) == "None"
