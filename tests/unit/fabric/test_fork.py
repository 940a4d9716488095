# SPDX-License-Identifier: BSD-3-Clause
"""A fork while requests are in flight: the child closes its copy, the parent goes on."""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Callable

from tests.support.loopback import PATIENCE, Background
from tests.support.scripted_target import wait_until
from tests.unit.fabric.queue_rig import QueueRig, buffer_of, command, completion
from vof.errors import SessionLost

MakeRig = Callable[..., QueueRig]


def in_child(check: Callable[[], bool]) -> bool:
    """Return what ``check`` says in a child made by fork; False where it does not end, too."""
    child = os.fork()
    if not child:
        good = False
        try:
            good = check()
        finally:
            os._exit(0 if good else 1)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def is_socket(fd: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False


def test_the_child_closes_its_copy_and_the_parent_goes_on(make_rig: MakeRig) -> None:
    rig = make_rig(buffer_size=4096)
    rig.queue.resize(4)
    idents = [rig.queue.take_id(2, wait=True) for _ in range(2)]
    found = [command(ident, buffer_of(4)) for ident in idents if ident is not None]
    for pending in found:
        rig.queue.submit(pending)
    threads = [Background(rig.queue.wait, pending) for pending in found]
    wait_until(lambda: rig.followers == 1, "a leader and a follower")
    hungry = Background(rig.queue.take_id, 2, wait=True)
    wait_until(lambda: rig.queue.activity().waiting_for_room == 1, "one that waits for room")
    for pending in found:
        assert rig.receive_command() == pending.command_id
    large = command(7, extra=bytes(8 << 20))
    sender = Background(rig.queue.submit, large)
    wait_until(lambda: rig.queue.activity().sending, "a sender")

    def close() -> bool:
        copy = rig.queue.fileno()
        inherited = is_socket(copy)
        rig.queue.close()
        rig.queue.close()
        return (
            inherited
            and not is_socket(copy)
            and isinstance(rig.queue.error, SessionLost)
            and all(pending.done for pending in (*found, large))
            and len(rig.losses) == 1
        )

    assert in_child(close)
    assert rig.queue.error is None
    assert not rig.losses
    for pending in found:
        rig.far.sendall(completion(pending.command_id, b"data"))
        rig.queue.give_back_id(pending.command_id, 2)
    for thread in threads:
        assert thread.result().lengths == [4]
    assert hungry.result() is not None
    rig.queue.close()
    sender.result()


def test_forks_at_any_moment(rig: QueueRig) -> None:
    """Whatever lock a thread may hold just then, the child can close."""
    going = True

    def work(ident: int) -> int:
        count = 0
        while going:
            pending = command(ident, buffer_of(4))
            rig.queue.submit(pending)
            rig.queue.wait(pending)
            count += 1
        return count

    def answer() -> None:
        while (ident := rig.receive_command()) != 99:
            rig.far.sendall(completion(ident, b"data"))

    def close() -> bool:
        rig.queue.close()
        return rig.queue.error is not None

    far = Background(answer)
    workers = [Background(work, ident) for ident in range(3)]
    try:
        assert all(in_child(close) for _ in range(20))
    finally:
        going = False
        counts = [worker.result() for worker in workers]
        rig.queue.submit(command(99))
        far.result()
    assert all(counts)
    assert rig.queue.error is None
