# SPDX-License-Identifier: BSD-3-Clause
"""A disk that does not answer: requests that do not need it are not held up by those that do."""

from __future__ import annotations

import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.target.peer import IN, OK, Association, Peer, request_bytes
from tests.target.slow_disk import HALF, NAME, content
from vof.gateways.attach.fence import Fence
from vof.target.config import parse
from vof.target.server import Target

pytestmark = pytest.mark.fuse

TVQN = "slow/disk"
CONFIG = """
[target]
port = 0
threads = 4

[slow]
tvqn = slow/disk
model = block
backend = driver=block-posix,path={path},readonly=yes,queues=2
"""
SLOW = HALF // 512
"""The first slow sector."""


class SlowDisk:
    """The mount and the process that serves it."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.target.slow_disk", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.await_line(b"mounted\n")

    def await_line(self, expected: bytes) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == expected

    def release(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Nobody may be left waiting for a read: the end of the input ends the mount.
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SlowDisk]:
    folder = tmp_path / "mount"
    folder.mkdir()
    with SlowDisk(folder) as disk:
        yield disk


@pytest.fixture
def association(disk: SlowDisk, tmp_path: Path) -> Iterator[Association]:
    with ExitStack() as stack:
        config = CONFIG.format(path=tmp_path / "mount" / NAME)
        target = stack.enter_context(Target(parse(config, "slow.conf")))
        yield stack.enter_context(Association((target.address, target.port), TVQN, queues=2))


def read_all(peer: Peer, count: int, size: int) -> dict[int, bytes]:
    """Receive the completions of ``count`` reads of ``size`` bytes; return data by command id."""
    found = {}
    for _ in range(count):
        answer = peer.completion()
        assert answer.ndesc == 2
        peer.receive(48)
        data = peer.receive(size + 1)
        assert data[-1] == OK
        found[answer.command_id] = data[:-1]
    return found


@pytest.mark.parametrize("size", [512, 64 << 10, 256 << 10])
def test_reads_that_wait_hold_up_no_others(
    disk: SlowDisk, association: Association, size: int
) -> None:
    """Three of the queue's four places are taken by reads that do not end."""
    queue = association.queue
    for ident in range(3):
        queue.send(request_bytes(IN, SLOW + ident, room=size, command_id=ident))
        disk.await_line(b"held\n")
    for ident in range(10, 30):
        queue.send(request_bytes(IN, ident, room=size, command_id=ident))
    found = read_all(queue, 20, size)
    assert found == {ident: content(512 * ident, size) for ident in range(10, 30)}
    # A control command on the same connection does not wait either.
    assert queue.control(0x1001) == 2
    disk.release()
    found = read_all(queue, 3, size)
    assert found == {ident: content(512 * (SLOW + ident), size) for ident in range(3)}


def test_a_queue_whose_places_are_all_taken(disk: SlowDisk, association: Association) -> None:
    """It waits, and goes on; another queue of the same device does not wait for it."""
    waiting, other = association.queues
    for ident in range(4):
        waiting.send(request_bytes(IN, SLOW + ident, room=512, command_id=ident))
        disk.await_line(b"held\n")
    for ident in range(4, 40):
        waiting.send(request_bytes(IN, SLOW + ident, room=512, command_id=ident))
    assert other.request(IN, 7, room=512) == (OK, content(512 * 7, 512))
    disk.release()
    found = read_all(waiting, 40, 512)
    assert found == {ident: content(512 * (SLOW + ident), 512) for ident in range(40)}


def test_what_is_in_progress_ends_before_the_queue_does(
    disk: SlowDisk, association: Association
) -> None:
    """The stream ends behind a read that waits: the read is answered, then the connection ends."""
    queue = association.queue
    queue.send(request_bytes(IN, SLOW, room=512, command_id=5)).half_close()
    disk.await_line(b"held\n")
    disk.release()
    assert read_all(queue, 1, 512) == {5: content(HALF, 512)}
    assert queue.is_closed()


def test_the_control_queue_ends_after_all_that_is_in_progress(
    disk: SlowDisk, association: Association
) -> None:
    """Who ends an association by it learns when nothing is executed any more."""
    queue, control = association.queue, association.control
    queue.send(request_bytes(IN, SLOW, room=512, command_id=5))
    disk.await_line(b"held\n")
    control.half_close()
    queue.drain()  # that connection is cut off at once
    ended, _, _ = select.select([control.sock], [], [], 0)
    disk.release()
    assert not ended
    assert control.is_closed()


def test_a_fence_is_passed_when_nothing_is_executed_any_more(
    disk: SlowDisk, association: Association
) -> None:
    """An initiator dies with a request in progress; copies of its connections are left."""
    association.queue.send(request_bytes(IN, SLOW, room=512, command_id=5))
    disk.await_line(b"held\n")
    peers = (association.control, *association.queues)
    fence = Fence([peer.sock.dup() for peer in peers])
    association.close()
    passed = fence.passed_within(0.2) or fence.passed_within(0.2)
    disk.release()
    assert not passed
    while not fence.passed_within(1):
        pass
    assert fence.reason == ""


def test_an_id_in_progress_is_in_flight(disk: SlowDisk, association: Association) -> None:
    queue = association.queue
    queue.send(request_bytes(IN, SLOW, room=512, command_id=5))
    disk.await_line(b"held\n")
    queue.send(request_bytes(IN, 0, room=512, command_id=6))
    assert read_all(queue, 1, 512) == {6: content(0, 512)}
    queue.send(request_bytes(IN, 0, room=512, command_id=5))
    assert association.control.is_closed()
    disk.release()
    queue.drain()
