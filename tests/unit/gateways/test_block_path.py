# SPDX-License-Identifier: BSD-3-Clause
"""A process in the path of a block device."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vof.errors import ConfigError
from vof.gateways import block_path, process
from vof.gateways.block_path import enter_block_path
from vof.gateways.nbd.plugin import NbdGateway


def test_all_three_are_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    monkeypatch.setattr(process, "lock_memory", lambda: done.append("lock"))
    monkeypatch.setattr(process, "become_io_flusher", lambda: done.append("flusher"))
    monkeypatch.setattr(block_path, "_OOM", tmp_path / "oom")
    enter_block_path()
    assert done == ["lock", "flusher"]
    assert (tmp_path / "oom").read_text() == "-1000"


def test_a_privilege_that_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(process, "lock_memory", refuse)
    with pytest.raises(ConfigError, match=r"block_path=yes: cannot lock memory.*CAP_IPC_LOCK"):
        enter_block_path()


def test_only_where_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    entered = []
    monkeypatch.setattr("vof.gateways.nbd.plugin.enter_block_path", lambda: entered.append(1))
    for value, count in ((None, 0), ("no", 0), ("yes", 1)):
        gateway = NbdGateway(lambda _errno: None, lambda _text: None)
        if value:
            gateway.config("block_path", value)
        gateway.after_fork()
        assert len(entered) == count


@pytest.mark.parametrize("key", ["block_path", "growing"])
def test_yes_or_no(key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}=maybe: use yes or no"):
        NbdGateway(lambda _errno: None, lambda _text: None).config(key, "maybe")


def test_memory_is_locked() -> None:
    """In a child, which may then end with it. Root is let; others may have a limit of 0."""
    pid = os.fork()
    if pid == 0:
        try:
            process.lock_memory()
            locked = [
                line
                for line in Path("/proc/self/status").read_text().splitlines()
                if line.startswith("VmLck:")
            ]
            os._exit(0 if int(locked[0].split()[1]) > 0 else 2)
        except OSError:
            os._exit(0 if os.geteuid() else 3)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_child_ends_with_its_parent() -> None:
    reading, writing = os.pipe()
    parent = os.fork()
    if parent == 0:
        me = os.getpid()
        if os.fork() == 0:
            process.die_with(me)
            os.write(writing, b"x")
            os.close(reading)
        else:
            os.close(writing)
        signal.pause()
    os.close(writing)
    assert os.read(reading, 1) == b"x"
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert os.read(reading, 1) == b""  # nobody holds the other end: the child is gone
    os.close(reading)


@pytest.mark.parametrize(("asked", "gets"), [(None, 0), (signal.SIGTERM, signal.SIGKILL)])
def test_an_end_with_the_parent_is_at_once(asked: signal.Signals | None, gets: int) -> None:
    """As nbdkit asks for it; nothing for who did not ask."""
    code = (
        "import ctypes, sys\n"
        "from vof.gateways import process\n"
        "libc, number = ctypes.CDLL(None), ctypes.c_int(-1)\n"
        "libc.prctl(1, int(sys.argv[1]), 0, 0, 0)\n"
        "process.die_at_once_with_parent()\n"
        "libc.prctl(2, ctypes.byref(number), 0, 0, 0)\n"
        "print(number.value)\n"
    )
    command = [sys.executable, "-c", code, str(int(asked or 0))]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout == f"{int(gets)}\n"


def test_an_orphan_is_told_so() -> None:
    pid = os.fork()
    if pid == 0:
        try:
            process.die_with(os.getpid())
        except ProcessLookupError:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
