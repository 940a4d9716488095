# SPDX-License-Identifier: BSD-3-Clause
"""Numbers at and beyond what a queue can hold."""

from __future__ import annotations

import signal
import threading

import pytest

from tests.support.loopback import Background
from tests.support.scripted_target import wait_until
from tests.unit.fabric.queue_rig import QueueRig, buffer_of, command, completion
from vof.engine.native import NativeQueue
from vof.errors import LocalProtocolError
from vof.fabric.pending import Pending

NATIVE = pytest.mark.parametrize("make_queue", [NativeQueue], ids=["native"])


def test_more_descriptors_than_16_bits_hold_are_not_taken_for_few(rig: QueueRig) -> None:
    rig.queue.resize(256)
    assert rig.queue.take_id(65_536, wait=False) is None
    assert rig.queue.take_id(65_536 + 1, wait=False) is None
    assert rig.queue.take_id(256, wait=False) == 0


def test_a_queue_of_more_than_16_bits_is_one_of_all_command_ids(rig: QueueRig) -> None:
    rig.queue.resize(65_536)
    assert rig.queue.take_id(0xFF00, wait=False) == 0
    assert rig.queue.take_id(1, wait=False) is None


def test_a_queue_made_smaller_under_what_is_in_flight(rig: QueueRig) -> None:
    rig.queue.resize(8)
    assert rig.queue.take_id(6, wait=False) == 0
    rig.queue.resize(4)
    assert rig.queue.take_id(1, wait=False) is None
    rig.queue.give_back_id(0, 6)
    assert rig.queue.take_id(5, wait=False) is None
    assert rig.queue.take_id(4, wait=False) == 0


@NATIVE
@pytest.mark.parametrize("ident", [0xFF00, 0xFFFF, 0x10000, -1])
def test_a_command_id_beyond_the_table_is_refused(rig: QueueRig, ident: int) -> None:
    pending = Pending("command", ident, [bytes(16)])
    with pytest.raises(LocalProtocolError, match="command id"):
        rig.queue.submit(pending)
    with pytest.raises((ValueError, OverflowError)):
        rig.queue.give_back_id(ident, 1)
    assert rig.queue.activity().in_flight == 0


class _InterruptError(Exception):
    pass


def test_an_interrupted_wait_returns_only_after_its_buffers_were_let_go_of(rig: QueueRig) -> None:
    """The leader is in the middle of something, and may write to anyone's buffers until it sees
    the end."""
    held, go_on = threading.Event(), threading.Event()

    def hold(_pending: Pending) -> None:
        held.set()
        go_on.wait()

    def interrupt(*_args: object) -> None:
        raise _InterruptError

    def release() -> None:
        wait_until(lambda: rig.queue.error is not None, "the interruption")
        released_before.append(mine.done)
        go_on.set()

    released_before: list[bool] = []
    first, slow = command(0, buffer_of(4)), command(1, on_done=hold)
    mine = command(2, buffer_of(4))
    for pending in (first, slow, mine):
        rig.queue.submit(pending)
    leader = Background(rig.queue.wait, first)
    wait_until(lambda: rig.leading, "a leader")
    rig.far.sendall(completion(1))
    assert held.wait(20)
    releaser = Background(release)
    before = signal.signal(signal.SIGUSR1, interrupt)
    main = threading.main_thread().ident
    assert main is not None

    def signal_main() -> None:
        wait_until(lambda: rig.followers == 1, "a follower")
        signal.pthread_kill(main, signal.SIGUSR1)

    sender = Background(signal_main)
    try:
        with pytest.raises(_InterruptError):
            rig.queue.wait(mine)
        assert mine.done
    finally:
        go_on.set()
        signal.signal(signal.SIGUSR1, before)
    sender.result()
    releaser.result()
    assert released_before == [False]
    with pytest.raises(Exception, match="internal error"):
        leader.result()
