# SPDX-License-Identifier: BSD-3-Clause
"""What a supervisor hears of its nbdkit; here a program in its place."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.scripted_target import PATIENCE
from vof.gateways.attach.nbd.nbdkit import CommandLine, Nbdkit
from vof.gateways.sessions.status import SessionStatus

START = """
import pathlib, socket, sys
fd = int(sys.argv[-1].removeprefix("status_fd="))
channel = socket.socket(fileno=fd)
"""

ONE = SessionStatus("connected", "2024-01-01T00:00:00+00:00", 512, fast_path=True)
TWO = SessionStatus("lost", "2024-01-01T00:00:01+00:00", 512, "gone", fast_path=True)


@pytest.fixture
def start(tmp_path: Path, leaves_nothing: None) -> Iterator[Callable[[str], Nbdkit]]:
    made: list[Nbdkit] = []

    def act(body: str) -> Nbdkit:
        arguments = [sys.executable, "-c", START + body]
        made.append(Nbdkit(CommandLine(arguments, dict(os.environ)), tmp_path, lambda _line: None))
        return made[-1]

    yield act
    for each in made:
        each.kill()
        each._listener.join()


def test_what_it_says_is_heard_at_once(start: Callable[[str], Nbdkit]) -> None:
    nbdkit = start(f"channel.send({ONE.encode()!r}); channel.recv(1)")
    assert nbdkit.status is None
    assert not nbdkit.ends_within(PATIENCE)
    assert nbdkit.status == ONE
    assert not nbdkit.ends_within(0)


def test_the_last_word_before_its_end_counts(start: Callable[[str], Nbdkit]) -> None:
    nbdkit = start(f"for each in {ONE.encode()!r}, {TWO.encode()!r}: channel.send(each)")
    while not nbdkit.ends_within(PATIENCE):
        pass
    assert nbdkit.status == TWO


def test_one_that_says_no_more(start: Callable[[str], Nbdkit]) -> None:
    """It is waited for all the same, and not looked at again and again."""
    nbdkit = start("channel.close(); sys.stdin.read(); import signal; signal.pause()")
    assert not nbdkit.ends_within(PATIENCE)
    assert nbdkit._channel.fileno() < 0
    assert not nbdkit.ends_within(0.001)


@pytest.mark.parametrize(
    "record",
    [b"no JSON", b"[]", b"{}", b'{"schema": 2}', b'{"schema": 1, "state": "lost"}', b"\xff" * 100],
)
def test_what_cannot_be_read_says_nothing(start: Callable[[str], Nbdkit], record: bytes) -> None:
    nbdkit = start(f"for each in {ONE.encode()!r}, {record!r}: channel.send(each)")
    while not nbdkit.ends_within(PATIENCE):
        pass
    assert nbdkit.status == ONE


def test_keys_may_be_added() -> None:
    assert SessionStatus.decode(ONE.encode()[:-1] + b', "portal": "x"}') == ONE
