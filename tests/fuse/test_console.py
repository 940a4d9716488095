# SPDX-License-Identifier: BSD-3-Clause
"""``console`` on a real mount: who waits, who does not, and who is let go."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.fuse.conftest import MakeMount
from tests.fuse.mounting import Mount, eventually
from tests.support.loopback import Background
from tests.target.process import TargetProcess

pytestmark = pytest.mark.fuse

CONFIG = """
[target]
port = 0

[echo]
tvqn = console/echo.service
model = console
backend = driver=console-echo

[pty]
tvqn = console/pty.service
model = console
backend = driver=console-pty,link={folder}/terminal
"""


@pytest.fixture
def target(tmp_path: Path) -> Iterator[TargetProcess]:
    config = tmp_path / "target.conf"
    config.write_text(CONFIG.format(folder=tmp_path), encoding="utf-8")
    with TargetProcess(config) as process:
        yield process


@pytest.fixture
def mounted(mount: MakeMount, target: TargetProcess) -> Mount:
    return mount("console/echo.service", "console/pty.service", tport=target.address[1])


@pytest.fixture
def echo(mounted: Mount) -> Iterator[int]:
    fd = os.open(mounted / "echo/console", os.O_RDWR)
    yield fd
    os.close(fd)


def refused(number: int) -> AbstractContextManager[object]:
    return pytest.raises(OSError, check=lambda error: error.errno == number)


def test_a_reader_and_a_writer_share_a_descriptor(echo: int) -> None:
    """The writer is not behind the reader that waits for it."""
    reading = Background(os.read, echo, 100)
    assert os.write(echo, b"hello") == 5
    assert reading.result() == b"hello"


def test_much_in_pieces(echo: int) -> None:
    data = os.urandom(1 << 20)
    writing = Background(os.write, echo, data)
    found = b""
    while len(found) < len(data):
        found += os.read(echo, 100_000)
    assert found == data
    assert writing.result() == len(data)


def test_not_waiting_and_poll(echo: int) -> None:
    os.set_blocking(echo, False)
    poller = select.poll()
    poller.register(echo, select.POLLIN | select.POLLOUT)
    with refused(errno.EAGAIN):
        os.read(echo, 1)
    assert poller.poll(0) == [(echo, select.POLLOUT)]
    assert os.write(echo, b"a") == 1
    eventually(lambda: poller.poll(0) == [(echo, 5)], "a byte to read")
    assert os.read(echo, 10) == b"a"
    reader = select.poll()
    reader.register(echo, select.POLLIN)
    waiting = Background(reader.poll, 20_000)
    os.write(echo, b"b")
    assert waiting.result() == [(echo, select.POLLIN)]

    def full() -> bool:
        try:
            os.write(echo, b"c" * 100_000)
        except BlockingIOError:
            return not poller.poll(0)[0][1] & select.POLLOUT
        return False

    eventually(full, "no more room")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_ends_who_waits(echo: int, number: signal.Signals) -> None:
    reader = subprocess.Popen(["head", "-c1"], stdin=echo, stdout=subprocess.DEVNULL)
    writer = subprocess.Popen(["head", "-c9M", "/dev/zero"], stdout=echo)
    writer.send_signal(number)
    assert writer.wait(20) == -number
    reader.send_signal(number)
    assert reader.wait(20) in (0, -number)


def test_a_terminal(mounted: Mount, tmp_path: Path) -> None:
    ours = os.open(mounted / "pty/console", os.O_RDWR)
    theirs = os.open(tmp_path / "terminal", os.O_RDWR | os.O_NOCTTY)
    try:
        os.write(theirs, b"login: ")
        assert os.read(ours, 100) == b"login: "
        os.write(ours, b"root\n")
        assert os.read(theirs, 100) == b"root\n"
        with refused(errno.ESPIPE):
            os.lseek(ours, 0, os.SEEK_SET)
    finally:
        os.close(theirs)
        os.close(ours)


def test_the_target_ends(mounted: Mount, target: TargetProcess, tmp_path: Path) -> None:
    ours = os.open(mounted / "pty/console", os.O_RDWR)
    try:
        reading = Background(os.read, ours, 1)
        assert target.stop() == 0
        assert not (tmp_path / "terminal").is_symlink()
        with refused(errno.EIO):
            reading.result()
        with refused(errno.EIO):
            os.write(ours, b"x")
    finally:
        os.close(ours)
