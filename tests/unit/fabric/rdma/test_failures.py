# SPDX-License-Identifier: BSD-3-Clause
"""How a keyed queue ends, what a target may not say, and that memory is left alone afterwards."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.loopback import Background
from tests.support.scripted_target import wait_until
from tests.unit.fabric.queue_rig import buffer_of
from tests.unit.fabric.rdma.keyed_rig import KeyedRig
from tests.unit.fabric.test_fork import in_child
from vof.errors import LocalProtocolError, RemoteProtocolError, SessionLost
from vof.fabric.pending import Pending
from vof.fabric.rdma import queue
from vof.wire.dialect import Framing

MakeKeyedRig = Callable[..., KeyedRig]


@pytest.fixture
def make_rig(leaves_nothing: None) -> Iterator[MakeKeyedRig]:
    rigs: list[KeyedRig] = []

    def make(framing: Framing = Framing.LENGTHS, *, timeout: float | None = None) -> KeyedRig:
        rigs.append(KeyedRig(framing, timeout=timeout))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def rig(make_rig: MakeKeyedRig) -> KeyedRig:
    return make_rig()


ENDS: dict[str, Callable[[KeyedRig], None]] = {
    "by the target": lambda rig: rig.far.break_off(),
    "by us": lambda rig: rig.queue.close(),
    "by another queue": lambda rig: rig.queue.fail(SessionLost("elsewhere")),
}


@pytest.mark.parametrize("reason", ENDS)
def test_an_end_reaches_every_waiter(rig: KeyedRig, reason: str) -> None:
    rig.use_eager(4096)
    pendings = [rig.submit([b"x" * 100], [buffer_of(8)]) for _ in range(4)]
    waiters = [Background(rig.queue.wait, pending) for pending in pendings]
    wait_until(lambda: rig.followers == 3, "followers")
    ENDS[reason](rig)
    for waiter in waiters:
        with pytest.raises(SessionLost):
            waiter.result(5)
    [(error, in_flight)] = rig.losses
    assert list(in_flight) == pendings  # in the order of their submission
    assert rig.link.closed == 1
    with pytest.raises(SessionLost) as later:
        rig.submit([b"x"], [])
    assert str(later.value) == str(error)
    for pending in pendings:
        rig.queue.release(pending)
    assert rig.pool.taken == rig.at_rest
    assert rig.queue.fileno() == -1


def test_an_end_without_waiters_is_noticed_by_a_look(rig: KeyedRig) -> None:
    rig.queue.look()
    assert rig.queue.error is None
    rig.far.break_off()
    rig.queue.look()
    assert "closed by the target" in str(rig.queue.error)
    assert rig.link.closed == 1
    rig.queue.look()
    assert len(rig.losses) == 1


def test_an_end_makes_the_descriptor_readable(rig: KeyedRig) -> None:
    import select

    rig.queue.look()
    poller = select.poll()
    poller.register(rig.queue.fileno(), select.POLLIN)
    assert not poller.poll(0)
    rig.far.break_off()
    assert poller.poll(5000)


def test_answers_that_came_before_the_end_are_good(rig: KeyedRig) -> None:
    one, two = rig.submit([b"x"], []), rig.submit([b"y"], [])
    rig.far.complete_vq(one.command_id, 0)
    rig.far.break_off()
    assert rig.queue.wait(one).completion.status == 0
    with pytest.raises(SessionLost, match="closed by the target"):
        rig.queue.wait(two)


def test_who_waits_for_memory_hears_of_the_end(rig: KeyedRig) -> None:
    while rig.start([b"x" * 200_000], [], wait=False) is not None:
        pass
    waiter = Background(rig.submit, [b"y" * 200_000], [])
    wait_until(lambda: rig.pool.waiting == 1, "one that waits")
    rig.queue.fail(SessionLost("the whole session"))
    rig.pool.close()
    with pytest.raises(SessionLost, match="the whole session"):
        waiter.result()


def test_a_closed_queue_is_closed_once(rig: KeyedRig) -> None:
    rig.queue.close()
    rig.queue.close()
    assert rig.link.closed == 1


def test_it_does_not_go_on_over_another_connection(rig: KeyedRig) -> None:
    pending = rig.submit([b"x"], [])
    rig.queue.close()
    with pytest.raises(LocalProtocolError, match="over RDMA does not go on"):
        rig.queue.attach(None)
    with pytest.raises(LocalProtocolError, match="over RDMA does not go on"):
        rig.queue.resubmit(pending)


def test_nothing_lands_in_memory_that_was_given_back(make_rig: MakeKeyedRig) -> None:
    """The deadline passes, the caller has its buffer again, and then the target writes."""
    rig = make_rig(timeout=0.15)
    data = buffer_of(64)
    pending = rig.submit([], [data])
    [room] = rig.far.receive().keyed()
    with pytest.raises(SessionLost, match=r"no answer to request within 0\.15 s"):
        rig.queue.wait(pending)
    data[:] = b"\x55" * 64
    with pytest.raises(AssertionError, match="the connection has ended"):
        rig.far.write(room, b"\xaa" * 64)
    rig.far.complete_vq(pending.command_id, 64)
    assert data == b"\x55" * 64
    assert rig.link.closed == 1


class TestDeadline:
    def test_ends_the_queue_of_a_silent_target(self, make_rig: MakeKeyedRig) -> None:
        rig = make_rig(timeout=0.15)
        pending = rig.submit([b"x"], [])
        start = time.monotonic()
        with pytest.raises(SessionLost, match=r"no answer to request within 0\.15 s"):
            rig.queue.wait(pending)
        assert 0.1 < time.monotonic() - start < 3

    def test_of_a_follower_ends_it_for_the_leader_too(self, make_rig: MakeKeyedRig) -> None:
        rig = make_rig()
        leader = Background(rig.queue.wait, rig.submit([b"x"], []))
        wait_until(lambda: rig.leading, "a leader")
        rig.queue.set_timeout(0.15)
        with pytest.raises(SessionLost, match="no answer"):
            rig.queue.wait(rig.submit([b"y"], []))
        with pytest.raises(SessionLost, match="no answer"):
            leader.result(5)

    def test_holds_where_the_send_queue_is_full(self, make_rig: MakeKeyedRig) -> None:
        rig = make_rig(timeout=0.15)
        rig.link.room = 0
        with pytest.raises(SessionLost, match=r"no answer to request within 0\.15 s"):
            rig.queue.wait(rig.submit([b"x"], []))

    def test_that_is_met_has_no_effect(self, make_rig: MakeKeyedRig) -> None:
        rig = make_rig(timeout=0.1)
        for _ in range(3):
            pending = rig.submit([b"x"], [])
            rig.far.complete_vq(pending.command_id, 0)
            rig.queue.wait(pending)
            rig.queue.release(pending)
        assert rig.queue.error is None


class TestFullSendQueue:
    def test_holds_a_command_back(self, rig: KeyedRig) -> None:
        rig.link.room = 0
        sender = Background(rig.submit, [b"x"], [])
        wait_until(lambda: rig.queue.activity().sending, "a sender")
        assert rig.far.arrived.empty()
        rig.link.room = 1
        assert sender.result().command_id == rig.far.receive().command_id

    @pytest.mark.parametrize("reason", ENDS)
    def test_ends_with_the_queue(self, rig: KeyedRig, reason: str) -> None:
        waiter = Background(rig.queue.wait, rig.submit([b"x"], []))
        wait_until(lambda: rig.leading, "a leader")
        rig.link.room = 0
        sender = Background(lambda: rig.queue.wait(rig.submit([b"y"], [])))
        wait_until(lambda: rig.queue.activity().sending, "a sender")
        ENDS[reason](rig)
        for thread in (waiter, sender):
            with pytest.raises(SessionLost):
                thread.result(5)
        assert rig.link.closed == 1


class TestProbe:
    def test_is_sent_while_a_target_is_silent(
        self, rig: KeyedRig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(queue, "PROBE_IDLE", 0.05)
        rig.queue.set_timeout(1.0)  # for a short tick
        pending = rig.submit([b"x"], [])
        waiter = Background(rig.queue.wait, pending)
        wait_until(lambda: rig.link.probes > 1, "probes")
        rig.far.complete_vq(pending.command_id, 0)
        waiter.result()

    def test_is_sent_by_looks_at_an_idle_queue(
        self, rig: KeyedRig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = []
        for idle in (60.0, 0.0):
            monkeypatch.setattr(queue, "PROBE_IDLE", idle)
            rig.queue.look()
            found.append(rig.link.probes)
        assert found == [0, 1]


class TestViolation:
    """What the protocol forbids ends the connection, with the reason in the error."""

    @staticmethod
    def provoke(rig: KeyedRig, match: str, *messages: bytes) -> Pending:
        pending = rig.submit([b"x" * 16], [buffer_of(8), buffer_of(1)], tail=1)
        rig.far.send(*messages)
        with pytest.raises(RemoteProtocolError, match=match):
            rig.queue.wait(pending)
        assert str(rig.queue.error).startswith("rig: protocol violation by the target: ")
        with pytest.raises(RemoteProtocolError):
            rig.submit([b"x"], [])
        assert rig.far.cut
        assert rig.link.closed == 1
        return pending

    def test_command_id_that_is_not_in_flight(self, rig: KeyedRig) -> None:
        answer = struct.pack("<HH4xI4x", 0, 5, 9)
        self.provoke(rig, "completion for command id 5, which is not in flight", answer)

    def test_the_same_completion_twice(self, rig: KeyedRig) -> None:
        first = rig.submit([b"x"], [])
        answer = struct.pack("<HH12x", 0, first.command_id)
        self.provoke(rig, "command id 0, which is not in flight", answer, answer)
        assert rig.queue.wait(first).completion.status == 0

    @pytest.mark.parametrize("size", [0, 1, 4, 15, 17, 32])
    def test_completion_of_another_size(self, rig: KeyedRig, size: int) -> None:
        self.provoke(rig, f"a completion of {size} bytes instead of 16", bytes(size))

    @pytest.mark.parametrize("length", [10, 1 << 31])
    def test_more_bytes_than_there_is_room(self, rig: KeyedRig, length: int) -> None:
        answer = struct.pack("<HH4xI4x", 0, 0, length)
        self.provoke(rig, f"returns {length} bytes where the command has room", answer)

    def test_more_bytes_than_there_is_room_in_a_vring(self, make_rig: MakeKeyedRig) -> None:
        answer = struct.pack("<HHHHQ", 0, 0, 2, 0, 10)
        self.provoke(make_rig(Framing.CHAINS), "returns 10 bytes where", answer)

    def test_what_the_link_calls_one(self, rig: KeyedRig) -> None:
        pending = rig.submit([b"x"], [])
        rig.link.deliver(RemoteProtocolError("a completion of more than 32 bytes"))
        with pytest.raises(RemoteProtocolError, match="by the target: a completion of more than"):
            rig.queue.wait(pending)

    def test_completion_of_a_request_for_a_control_command(self, rig: KeyedRig) -> None:
        """It has room for nothing; what it says of lengths means nothing."""
        pending = rig.queue.prepare_control("get_status", struct.pack("<HH12x", 0x1003, 0))
        rig.queue.submit(pending)
        rig.far.send(b"\0\0\0\0" + b"\xff" * 12)
        assert rig.queue.wait(pending).completion.value == (1 << 64) - 1


def test_a_child_closes_its_copy_and_the_parent_goes_on(rig: KeyedRig) -> None:
    pending = rig.submit([b"x"], [])
    waiter = Background(rig.queue.wait, pending)
    wait_until(lambda: rig.leading, "a leader")

    def close() -> bool:
        # A link tells its child that it is gone; this one has to be told.
        rig.link.far.cut = True
        rig.queue.close()
        return isinstance(rig.queue.error, SessionLost) and pending.done

    assert in_child(close)
    assert rig.queue.error is None
    assert os.fstat(rig.queue.fileno())
    rig.far.complete_vq(pending.command_id, 0)
    waiter.result()
