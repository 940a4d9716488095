# SPDX-License-Identifier: BSD-3-Clause
"""Waiting for a target, over copies of the connections of a process that died."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from vof.gateways.attach.fence import Fence

DIALS = """
import socket, sys
made = [socket.create_connection(("127.0.0.1", int(port))) for port in sys.argv[1:]]
made[-1].sendall(b"the last request")
print("done", flush=True)
sys.stdin.read()
"""
RESET = struct.pack("ii", 1, 0)


class Target:
    """What listens, and its ends of connections."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.ends: list[socket.socket] = []

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def dial(self) -> tuple[socket.socket, socket.socket]:
        """Return both ends of a new connection, the target's second."""
        return socket.create_connection(("127.0.0.1", self.port)), self.accept()

    def accept(self) -> socket.socket:
        self.ends.append(self.listener.accept()[0])
        return self.ends[-1]

    def close(self) -> None:
        for sock in (self.listener, *self.ends):
            sock.close()


@pytest.fixture
def target() -> Iterator[Target]:
    with contextlib.closing(Target()) as target:
        yield target


def connected(target: Target, count: int) -> tuple[Fence, list[socket.socket]]:
    """Return a fence with so many connections, and the target's ends."""
    pairs = [target.dial() for _ in range(count)]
    return Fence(ours for ours, _end in pairs), [end for _ours, end in pairs]


def test_it_is_passed_when_every_connection_was_closed(target: Target) -> None:
    fence, ends = connected(target, 2)
    assert not fence.passed_within(0)
    for end in ends:
        assert end.recv(1) == b""  # all that was sent has come
    ends[0].close()
    assert not fence.passed_within(0.01)
    ends[1].close()
    assert fence.passed_within(10)
    assert fence.reason == ""


def test_answers_do_not_count(target: Target) -> None:
    """A target that finishes what it has may have much to say before it closes."""
    fence, (end,) = connected(target, 1)
    answers = threading.Thread(target=end.sendall, args=(bytes(8 << 20),))
    answers.start()
    while answers.is_alive():
        assert not fence.passed_within(0.01)
    answers.join()
    assert not fence.passed_within(0)
    end.close()
    while not fence.passed_within(1):
        pass
    assert fence.reason == ""


def test_a_target_that_went(target: Target) -> None:
    """A reset is an end, too: there is nobody any more."""
    fence, (end,) = connected(target, 1)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    assert not fence.passed_within(0)
    end.close()
    assert fence.passed_within(10)
    assert fence.reason == ""


def test_a_session_that_was_cut_before_tells_nothing(target: Target) -> None:
    ours, _end = target.dial()
    ours.shutdown(socket.SHUT_RDWR)
    fence = Fence([ours])
    assert fence.passed_within(10)
    assert "lost its session" in fence.reason


def test_a_session_that_had_ended_before_tells_nothing(target: Target) -> None:
    fence, (end,) = connected(target, 1)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    end.close()
    assert fence.passed_within(10)
    assert "lost its session" in fence.reason


def test_nothing_to_wait_for() -> None:
    fence = Fence(())
    assert fence.passed_within(0)
    assert fence.reason == "there is no TCP connection to wait for"


def test_dropped(target: Target) -> None:
    fence, (end,) = connected(target, 1)
    fence.drop("enough")
    assert fence.passed_within(0)
    assert fence.reason == "enough"
    assert end.recv(1) == b""


def test_the_connections_outlive_their_process(target: Target) -> None:
    """Those to the target are taken, no others, and what was sent last comes before the end."""
    with contextlib.closing(Target()) as other:
        ports = [str(port) for port in (other.port, target.port, target.port)]
        with subprocess.Popen(
            [sys.executable, "-c", DIALS, *ports], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"done\n"
            fence = Fence.of(process.pid, target.port)
            process.kill()
        assert other.accept().recv(1) == b""
    ends = [target.accept() for _ in range(2)]
    ends[0].settimeout(0)
    with pytest.raises(BlockingIOError):
        ends[0].recv(1)
    assert not fence.passed_within(0)
    ends[0].settimeout(10)
    assert ends[0].recv(1) == b""
    assert ends[1].recv(100, socket.MSG_WAITALL) == b"the last request"
    for end in ends:
        end.close()
    assert fence.passed_within(10)
    assert fence.reason == ""


def test_a_process_that_cannot_be_looked_into(tmp_path: Path) -> None:
    fence = Fence.of(os.getpid(), 1, tmp_path)
    assert fence.passed_within(0)
    assert fence.reason.startswith("nbdkit's connections cannot be copied")
