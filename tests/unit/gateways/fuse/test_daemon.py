# SPDX-License-Identifier: BSD-3-Clause
"""Going into the background: what the starter learns, in a process of its own for each case."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
        ("os.kill(os.getpid(), 9)", "'ended by SIGKILL before it was ready'"),
    ],
)
def test_news(work: str, said: str) -> None:
    assert outcome(work) == said


def test_a_mistake_of_ours() -> None:
    assert outcome("raise ValueError('oops')") == "'internal error: ValueError: oops'"


def test_the_child_stands_alone() -> None:
    """Its own session, the root folder, and nothing of the terminal."""
    work = (
        "assert os.getsid(0) == os.getpid() and os.getcwd() == '/'\n"
        "assert os.readlink('/proc/self/fd/0') == '/dev/null'\n"
        "ready()\n"
        "for fd in (1, 2): assert os.readlink(f'/proc/self/fd/{fd}') == '/dev/null'\n"
    )
    assert outcome(work) == "None"
