# SPDX-License-Identifier: BSD-3-Clause
"""The console driver and the real target: every byte once and in order, however long it waits."""

from __future__ import annotations

import os
import tty
from pathlib import Path

import pytest

from tests.conformance.conftest import Served
from tests.support.loopback import Background
from vof.errors import ConnectError, SessionLost
from vof.target.backends.console_echo import KEPT

ECHO, PTY = "conformance/echo", "conformance/pty"


def devices(folder: Path) -> str:
    return f"""
[echo]
tvqn = {ECHO}
model = console
backend = driver=console-echo

[pty]
tvqn = {PTY}
model = console
backend = driver=console-pty,link={folder}/terminal
"""


@pytest.mark.rdma
def test_what_is_written_comes_back(served: Served) -> None:
    driver = served.console(ECHO)
    data = bytes(range(256)) * 1024
    writing = Background(driver.write, memoryview(data))
    found = b""
    while len(found) < len(data):
        found += driver.read()
    writing.result()
    assert found == data


def test_a_writer_waits_for_a_reader(served: Served) -> None:
    driver = served.console(ECHO)
    data = b"x" * (2 * KEPT)
    writing = Background(driver.write, memoryview(data))
    found = len(driver.read())
    assert writing.running
    while found < len(data):
        found += len(driver.read())
    writing.result()


@pytest.mark.rdma
@pytest.mark.rdma_once
def test_a_terminal(served: Served) -> None:
    driver = served.console(PTY)
    fd = os.open(served.folder / "terminal", os.O_RDWR | os.O_NOCTTY)
    try:
        tty.setraw(fd)
        reading = Background(driver.read)
        os.write(fd, b"to the driver\n")
        assert reading.result() == b"to the driver\n"
        driver.write(memoryview(b"to the terminal\n"))
        assert os.read(fd, 100) == b"to the terminal\n"
        # More than the terminal keeps: the rest waits until somebody reads.
        writing = Background(driver.write, memoryview(b"y" * 300_000))
        found = 0
        while found < 300_000:
            found += len(os.read(fd, 4096))
        writing.result()
    finally:
        os.close(fd)


def test_one_initiator_at_a_time(served: Served) -> None:
    for tvqn in (ECHO, PTY):
        first = served.console(tvqn)
        with pytest.raises(ConnectError):
            served.console(tvqn)
        first.close()


def test_closing_ends_a_reader(served: Served) -> None:
    driver = served.console(PTY)
    reading = Background(driver.read)
    driver.close()
    with pytest.raises(SessionLost):
        reading.result()
