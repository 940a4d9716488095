# SPDX-License-Identifier: BSD-3-Clause
"""Commands kept over the loss of their connection, and sent again over another one."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import pytest

from tests.support.loopback import Background
from tests.support.scripted_target import wait_until
from tests.unit.fabric.queue_rig import Bell, QueueRig, buffer_of, command, completion
from vof.errors import LocalProtocolError, SessionLost
from vof.fabric.pending import Pending

MakeRig = Callable[..., QueueRig]


@pytest.fixture
def keeper(rig: QueueRig) -> QueueRig:
    rig.keep = True
    return rig


def lose(rig: QueueRig) -> list[Pending]:
    """End the connection from the far side; return what was in flight."""
    known = len(rig.losses)
    rig.hang_up()

    def lost() -> bool:
        rig.queue.look()
        return len(rig.losses) > known

    wait_until(lost, "the loss to be noticed")
    return pendings(rig)


def pendings(rig: QueueRig) -> list[Pending]:
    found = [item for item in rig.losses[-1][1] if isinstance(item, Pending)]
    assert len(found) == len(rig.losses[-1][1])
    return found


def submit(rig: QueueRig, *idents: int) -> list[Pending]:
    found = [command(ident, buffer_of(4)) for ident in idents]
    for pending in found:
        rig.queue.submit(pending)
    return found


def answer(rig: QueueRig, *idents: int) -> None:
    for ident in idents:
        rig.far.sendall(completion(ident, b"%04d" % ident))


def waits(rig: QueueRig, followers: int) -> bool:
    return rig.leading and rig.followers == followers


def as_sent(rig: QueueRig, count: int) -> list[int]:
    return [rig.receive_command() for _ in range(count)]


def test_a_kept_command_is_answered_over_another_connection(keeper: QueueRig) -> None:
    [one] = submit(keeper, 3)
    assert lose(keeper) == [one]
    keeper.reattach()
    assert keeper.queue.error is None
    keeper.queue.resubmit(one)
    assert as_sent(keeper, 1) == [3]
    answer(keeper, 3)
    assert keeper.queue.wait(one).lengths == [4]
    assert bytes(one.buffers[0]) == b"0003"


@pytest.mark.parametrize("waiters", [1, 2, 5])
def test_those_who_wait_go_on_waiting(keeper: QueueRig, waiters: int) -> None:
    found = submit(keeper, *range(waiters))
    threads = [Background(keeper.queue.wait, pending) for pending in found]
    wait_until(lambda: keeper.followers == waiters - 1, "followers")
    keeper.hang_up()
    wait_until(lambda: bool(keeper.losses), "the loss")
    assert pendings(keeper) == found
    keeper.reattach()
    for pending in found:
        keeper.queue.resubmit(pending)
    assert as_sent(keeper, waiters) == list(range(waiters))
    answer(keeper, *reversed(range(waiters)))
    for thread in threads:
        assert thread.result().lengths == [4]
    assert not keeper.leading


def test_a_new_command_goes_beside_the_kept_ones(keeper: QueueRig) -> None:
    [old] = submit(keeper, 0)
    thread = Background(keeper.queue.wait, old)
    wait_until(lambda: keeper.leading, "a leader")
    keeper.hang_up()
    wait_until(lambda: bool(keeper.losses), "the loss")
    with pytest.raises(SessionLost):
        keeper.queue.submit(command(1))
    keeper.reattach()
    [new] = submit(keeper, 1)
    answer(keeper, 1)
    keeper.queue.wait(new)
    keeper.queue.resubmit(old)
    answer(keeper, 0)
    thread.result()


def test_a_kept_command_may_be_ended_instead(keeper: QueueRig) -> None:
    done: list[Pending] = []
    one, two = command(0, on_done=done.append), command(1, on_done=done.append)
    for pending in (one, two):
        keeper.queue.submit(pending)
    threads = [Background(keeper.queue.wait, pending) for pending in (one, two)]
    wait_until(lambda: keeper.followers == 1, "a follower")
    keeper.hang_up()
    wait_until(lambda: bool(keeper.losses), "the loss")
    keeper.queue.end(one, SessionLost("not sent again"))
    with pytest.raises(SessionLost, match="not sent again"):
        threads[0].result()
    keeper.reattach()
    keeper.queue.resubmit(two)
    keeper.far.sendall(completion(1))
    threads[1].result()
    assert done == [one, two]


def test_a_second_loss_hands_back_the_same_commands_in_their_first_order(keeper: QueueRig) -> None:
    found = submit(keeper, 5, 2, 9)
    assert lose(keeper) == found
    keeper.reattach()
    for pending in reversed(found):
        keeper.queue.resubmit(pending)
    assert lose(keeper) == found
    assert len(keeper.losses) == 2


def test_commands_are_handed_back_in_order_though_one_had_begun_to_arrive(
    keeper: QueueRig,
) -> None:
    found = submit(keeper, 0, 1, 2)
    keeper.far.sendall(completion(1, b"data")[:-2])
    assert lose(keeper) == found
    keeper.reattach()
    keeper.queue.resubmit(found[1])
    answer(keeper, 1)  # from its first byte on
    assert keeper.queue.wait(found[1]).lengths == [4]
    assert bytes(found[1].buffers[0]) == b"0001"


def test_attaching_to_a_queue_that_lives_is_refused(rig: QueueRig) -> None:
    with pytest.raises(LocalProtocolError):
        rig.reattach()
    [one] = submit(rig, 0)
    answer(rig, 0)
    rig.queue.wait(one)


def test_resubmitting_over_a_lost_connection_is_refused(keeper: QueueRig) -> None:
    [one] = submit(keeper, 0)
    lose(keeper)
    with pytest.raises(SessionLost):
        keeper.queue.resubmit(one)
    keeper.reattach()
    keeper.queue.resubmit(one)
    answer(keeper, 0)
    keeper.queue.wait(one)


def test_attaching_within_on_lost(make_rig: MakeRig) -> None:
    """Who leads finds the connection replaced when it comes back."""
    rig = make_rig()
    rig.keep = True
    found = submit(rig, 0, 1)
    lost = rig._lost

    def go_on(*args: object) -> None:
        rig.on_lost = lost
        lost(*args)  # type: ignore[arg-type]
        rig.reattach()
        for pending in found:
            rig.queue.resubmit(pending)

    rig.on_lost = go_on
    threads = [Background(rig.queue.wait, pending) for pending in found]
    wait_until(lambda: rig.followers == 1, "a follower")
    rig.hang_up()
    wait_until(lambda: rig.queue.error is None and bool(rig.losses), "another connection")
    answer(rig, 1, 0)
    for thread in threads:
        thread.result()


class TestLead:
    """The lead is given to followers that are no threads, so that each step is the test's own."""

    @pytest.fixture
    def followers(self, keeper: QueueRig) -> tuple[Pending, Bell, Pending, Bell]:
        """Two that follow, kept over a loss, on the new connection."""
        leader, one, two = submit(keeper, 0, 1, 2)
        bells = Bell(), Bell()
        assert keeper.queue.lead_or_follow(leader, Bell())
        assert not keeper.queue.lead_or_follow(one, bells[0])
        assert not keeper.queue.lead_or_follow(two, bells[1])
        keeper.hang_up()

        def lost() -> bool:
            keeper.queue.receive_ready()
            return bool(keeper.losses)

        wait_until(lost, "the loss")
        keeper.queue.end(leader, SessionLost("not needed"))
        keeper.reattach()
        keeper.queue.release_lead()
        return one, bells[0], two, bells[1]

    def test_given_to_one_that_is_sent_again_meanwhile(
        self, keeper: QueueRig, followers: tuple[Pending, Bell, Pending, Bell]
    ) -> None:
        one, bell, two, _other = followers
        keeper.queue.resubmit(two)
        assert bell.rings == 1
        keeper.queue.resubmit(one)
        assert keeper.queue.leads(one)
        answer(keeper, 1, 2)
        wait_until(lambda: self.received(keeper, two), "the answers")
        keeper.queue.release_lead()
        assert not keeper.leading

    def test_given_to_one_that_is_ended_meanwhile(
        self, keeper: QueueRig, followers: tuple[Pending, Bell, Pending, Bell]
    ) -> None:
        one, bell, two, other = followers
        keeper.queue.resubmit(two)
        assert bell.rings == 1
        keeper.queue.end(one, SessionLost("not sent again"))
        assert not keeper.queue.leads(one)
        assert other.rings == 1
        assert keeper.queue.leads(two)
        answer(keeper, 2)
        wait_until(lambda: self.received(keeper, two), "the answer")
        keeper.queue.release_lead()
        assert not keeper.leading

    @staticmethod
    def received(rig: QueueRig, pending: Pending) -> bool:
        rig.queue.receive_ready()
        return pending.done


class TestDeadline:
    """A kept command has all of its time again, once it is sent again."""

    @pytest.mark.parametrize("place", ["leader", "follower"])
    def test_begins_anew(self, make_rig: MakeRig, place: str) -> None:
        timeout = 1.0
        rig = make_rig(timeout=timeout)
        rig.keep = True
        start = time.monotonic()
        found = submit(rig, 0, 1)
        threads = []
        for count, pending in enumerate(found):
            threads.append(Background(rig.queue.wait, pending))
            wait_until(partial(waits, rig, count), "waiters")
        rig.hang_up()
        wait_until(lambda: bool(rig.losses), "the loss")
        assert [pending.deadline for pending in found] == [None, None]
        rig.reattach()
        wait_until(lambda: time.monotonic() > start + timeout / 2, "half of the time to pass")
        mine, other = found if place == "leader" else reversed(found)
        rig.queue.resubmit(mine)
        rig.queue.end(other, SessionLost("not sent again"))
        assert mine.deadline is not None
        assert mine.deadline >= start + timeout * 1.5
        wait_until(lambda: time.monotonic() > start + timeout * 1.05, "the old deadline")
        answer(rig, mine.command_id)
        assert threads[mine.command_id].result().lengths == [4]
        with pytest.raises(SessionLost):
            threads[other.command_id].result()
        assert rig.queue.error is None

    @pytest.mark.parametrize("count", [1, 2])
    def test_holds_for_the_new_connection(self, make_rig: MakeRig, count: int) -> None:
        rig = make_rig(timeout=0.2)
        rig.keep = True
        found = submit(rig, *range(count))
        threads = [Background(rig.queue.wait, pending) for pending in found]
        wait_until(lambda: bool(rig.losses), "the deadline")
        assert "no answer" in str(rig.losses[0][0])
        rig.reattach()
        rig.keep = False
        for pending in found:
            rig.queue.resubmit(pending)
        for thread in threads:
            with pytest.raises(SessionLost, match="no answer"):
                thread.result()
        assert len(rig.losses) == 2


def test_statistics_count_a_command_once(keeper: QueueRig) -> None:
    found = submit(keeper, 0, 1)
    before = keeper.queue.statistics()
    assert (before.submitted, before.completed) == (2, 0)
    assert before.bytes_sent == 32
    lose(keeper)
    assert keeper.queue.activity().in_flight == 2
    keeper.reattach()
    keeper.queue.end(found[0], SessionLost("not sent again"))
    keeper.queue.resubmit(found[1])
    answer(keeper, 1)
    keeper.queue.wait(found[1])
    after = keeper.queue.statistics()
    assert (after.submitted, after.completed) == (2, 2)
    assert after.bytes_sent == 48
    assert after.bytes_received == len(completion(1, b"0001"))
    assert keeper.queue.activity().in_flight == 0
