# SPDX-License-Identifier: BSD-3-Clause
"""The end of a fabric queue: whatever ends it, every command ends, at once, and lets go."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Callable

import pytest

from tests.support.loopback import Background
from tests.support.scripted_target import wait_until
from tests.unit.fabric.queue_rig import QueueRig, buffer_of, command, completion
from vof.errors import RemoteProtocolError, SessionLost
from vof.fabric.pending import Pending
from vof.fabric.tcp.queue import TcpQueue
from vof.wire.stream import Arrival

MakeRig = Callable[..., QueueRig]

BLOCKING = 8 << 20
"""Bytes that no pair of small socket buffers takes without a reader."""


def seconds_of(call: Callable[[], object]) -> float:
    start = time.monotonic()
    call()
    return time.monotonic() - start


def waiters(rig: QueueRig, count: int) -> list[Background[Arrival]]:
    """Return ``count`` threads that wait: one leads, the others follow."""
    threads: list[Background[Arrival]] = []
    for ident in range(count):
        pending = command(ident, buffer_of(8))
        rig.queue.submit(pending)
        threads.append(Background(rig.queue.wait, pending))
    wait_until(lambda: rig.followers == count - 1, "followers")
    return threads


def reset(rig: QueueRig) -> None:
    rig.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    rig.far.close()


ENDS: dict[str, Callable[[QueueRig], None]] = {
    "closed by the target": QueueRig.hang_up,
    "closed": lambda rig: rig.queue.close(),
    "reset": reset,
    "given up": lambda rig: rig.queue.fail(SessionLost("given up")),
}


@pytest.mark.parametrize("reason", ENDS)
def test_every_command_in_flight_ends_at_once(rig: QueueRig, reason: str) -> None:
    threads = waiters(rig, 4)
    unwaited = command(9)
    rig.queue.submit(unwaited)
    ENDS[reason](rig)
    for thread in threads:
        with pytest.raises(SessionLost, match=reason):
            thread.result(5)
    with pytest.raises(SessionLost, match=reason):
        rig.queue.wait(unwaited)
    with pytest.raises(SessionLost, match=reason):
        rig.queue.submit(command(10))
    [(error, in_flight)] = rig.losses
    assert error is rig.queue.error
    assert {pending.command_id for pending in in_flight} == {0, 1, 2, 3, 9}


@pytest.mark.parametrize("make_queue", [TcpQueue])
def test_an_end_just_before_the_leader_gives_up_its_lead(
    rig: QueueRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever ends the queue leaves the rest to the leader, which has received its last."""
    assert isinstance(rig.queue, TcpQueue)
    leadership = rig.queue._leadership
    release = leadership.release

    def late_end() -> None:
        monkeypatch.undo()
        rig.queue.fail(SessionLost("late"))
        release()

    one, two = command(0), command(1)
    rig.queue.submit(one)
    rig.queue.submit(two)
    rig.far.sendall(completion(0))
    monkeypatch.setattr(leadership, "release", late_end)
    rig.queue.wait(one)
    assert two.done
    assert rig.losses


def test_each_waiter_gets_an_error_of_its_own(rig: QueueRig) -> None:
    """One exception raised in many threads would gather all their tracebacks."""
    one, two = command(0), command(1)
    rig.queue.submit(one)
    rig.queue.submit(two)
    rig.queue.close()
    errors = []
    for pending in (one, two):
        with pytest.raises(SessionLost) as caught:
            rig.queue.wait(pending)
        errors.append(caught.value)
    assert errors[0] is not errors[1]
    assert errors[0].errno == errors[1].errno
    assert str(errors[0]) == str(errors[1])


def test_an_end_that_nobody_waits_for_shows_with_the_next_command(rig: QueueRig) -> None:
    rig.hang_up()
    pending = command(0)

    def use() -> None:
        rig.queue.submit(pending)
        rig.queue.wait(pending)

    with pytest.raises(SessionLost):
        use()
    assert rig.queue.error is not None


def test_a_look_sees_an_end_that_nobody_waits_for(rig: QueueRig) -> None:
    rig.queue.look()
    assert rig.queue.error is None
    rig.hang_up()
    wait_until(lambda: bool(select.select([rig.queue], [], [], 0)[0]), "the end to arrive")
    rig.queue.look()
    assert isinstance(rig.queue.error, SessionLost)
    assert len(rig.losses) == 1
    rig.queue.look()  # of a queue that has ended: nothing to see


def test_a_look_takes_nothing_from_those_who_wait(rig: QueueRig) -> None:
    [waiter] = waiters(rig, 1)
    rig.queue.look()
    rig.far.sendall(completion(0, b"12345678"))
    assert waiter.result().lengths == [8]


def test_close_is_idempotent_and_counts_as_one_loss(rig: QueueRig) -> None:
    rig.queue.close()
    rig.queue.close()
    rig.queue.fail(SessionLost("later"))
    assert "closed" in str(rig.queue.error)
    assert len(rig.losses) == 1
    rig.queue.set_timeout(1.0)  # of a queue that has ended: nothing to do


def test_completed_commands_keep_their_results_after_the_end(rig: QueueRig) -> None:
    one = command(0)
    rig.queue.submit(one)
    rig.far.sendall(completion(0))
    rig.queue.wait(one)
    rig.queue.close()
    assert rig.queue.wait(one).completion.command_id == 0


class TestSenderThatIsBlocked:
    """The far end never reads, so a large command cannot be sent."""

    @pytest.fixture
    def blocked(self, make_rig: MakeRig) -> QueueRig:
        return make_rig(buffer_size=4096)

    @pytest.mark.parametrize("reason", ENDS)
    def test_is_released_by_the_end_of_the_queue(self, blocked: QueueRig, reason: str) -> None:
        self.release(blocked, ENDS[reason])

    def test_is_released_while_another_thread_receives(self, blocked: QueueRig) -> None:
        [leader] = waiters(blocked, 1)
        self.release(blocked, QueueRig.hang_up)
        with pytest.raises(SessionLost):
            leader.result(5)

    def test_is_released_with_others_queued_behind_it(self, blocked: QueueRig) -> None:
        behind: list[Background[Arrival]] = []

        def end(rig: QueueRig) -> None:
            behind.extend(Background(self.send, rig, command(ident)) for ident in (20, 21))
            wait_until(lambda: rig.queue.activity().in_flight == 3, "commands behind it")
            rig.queue.close()

        self.release(blocked, end)
        for thread in behind:
            with pytest.raises(SessionLost):
                thread.result(5)

    def test_is_released_by_its_deadline(self, make_rig: MakeRig) -> None:
        rig = make_rig(timeout=0.15, buffer_size=4096)
        pending = command(7, extra=bytes(BLOCKING))
        start = time.monotonic()
        with pytest.raises(SessionLost, match=r"no answer to command 7 within 0\.15 s"):
            self.send(rig, pending)
        assert 0.1 < time.monotonic() - start < 3

    def test_ends_its_command_though_nobody_waits_for_it(self, make_rig: MakeRig) -> None:
        rig = make_rig(timeout=0.15, buffer_size=4096)
        done: list[Pending] = []
        pending = command(7, extra=bytes(BLOCKING), on_done=done.append)
        rig.queue.submit(pending)
        assert done == [pending]
        assert isinstance(pending.error, SessionLost)

    def release(self, rig: QueueRig, end: Callable[[QueueRig], None]) -> None:
        pending = command(7, extra=bytes(BLOCKING))
        sender = Background(self.send, rig, pending)
        wait_until(lambda: rig.queue.activity().sending, "a sender")
        end(rig)
        with pytest.raises(SessionLost):
            sender.result(5)
        assert len(rig.losses) == 1

    @staticmethod
    def send(rig: QueueRig, pending: Pending) -> Arrival:
        rig.queue.submit(pending)
        return rig.queue.wait(pending)


class TestDeadline:
    def test_ends_the_queue_of_a_silent_target(self, make_rig: MakeRig) -> None:
        rig = make_rig(timeout=0.15)
        pending = command(0)
        rig.queue.submit(pending)
        start = time.monotonic()
        with pytest.raises(SessionLost, match=r"no answer to command 0 within 0\.15 s"):
            rig.queue.wait(pending)
        assert 0.1 < time.monotonic() - start < 3

    def test_of_a_follower_ends_it_for_the_leader_too(self, make_rig: MakeRig) -> None:
        rig = make_rig()
        patient = command(0, buffer_of(8))
        rig.queue.submit(patient)
        leader = Background(rig.queue.wait, patient)
        wait_until(lambda: rig.leading, "a leader")
        rig.queue.set_timeout(0.15)
        hasty = command(1, buffer_of(8))
        rig.queue.submit(hasty)
        with pytest.raises(SessionLost, match="no answer to command 1"):
            rig.queue.wait(hasty)
        with pytest.raises(SessionLost, match="no answer to command 1"):
            leader.result(5)

    def test_holds_for_an_answer_that_comes_in_drops(self, make_rig: MakeRig) -> None:
        rig = make_rig(timeout=0.2)
        pending = command(0, buffer_of(64 << 20))
        rig.queue.submit(pending)
        rig.receive_command()

        def drip() -> None:
            rig.far.sendall(struct.pack("<HHHHQ", 0, 0, 1, 0, 64 << 20))
            rig.far.sendall(struct.pack("<QIHHI4x", 0, 64 << 20, 1, 2, 0))
            while True:
                rig.far.sendall(b"x")

        far = Background(drip)
        with pytest.raises(SessionLost, match="no answer"):
            rig.queue.wait(pending)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            far.result()

    def test_is_none_for_commands_sent_while_there_is_no_timeout(self, rig: QueueRig) -> None:
        pending = command(0)
        rig.queue.submit(pending)
        assert pending.deadline is None
        with socket.socket(fileno=os.dup(rig.queue.fileno())) as same:
            assert same.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16) == bytes(16)

    def test_that_is_met_has_no_effect(self, make_rig: MakeRig) -> None:
        rig = make_rig(timeout=0.1)
        for ident in range(3):
            pending = command(ident)
            rig.queue.submit(pending)
            rig.far.sendall(completion(ident))
            rig.queue.wait(pending)
        assert rig.queue.error is None


@pytest.mark.parametrize("size", [64, 100_000])
def test_buffers_are_not_touched_after_wait_returned(make_rig: MakeRig, size: int) -> None:
    """Half an answer, a deadline, then the rest: the rest must not land in memory given back."""
    rig = make_rig(timeout=0.15)
    data = buffer_of(size)
    pending = command(0, data)
    rig.queue.submit(pending)
    answer = completion(0, b"\xaa" * size)
    rig.far.sendall(answer[: 40 + size // 2])
    with pytest.raises(SessionLost):
        rig.queue.wait(pending)
    data[:] = b"\x55" * size
    try:
        rig.far.sendall(answer[40 + size // 2 :])
    except OSError:
        pass
    late = command(1, buffer_of(1))
    with pytest.raises(SessionLost):
        rig.queue.submit(late)
    assert data == b"\x55" * size


class TestViolation:
    """What the protocol forbids ends the connection, with the reason in the error."""

    @staticmethod
    def provoke(rig: QueueRig, data: bytes, match: str) -> None:
        pending = command(0, buffer_of(8), buffer_of(1))
        rig.queue.submit(pending)
        rig.far.sendall(data)
        with pytest.raises(RemoteProtocolError, match=match):
            rig.queue.wait(pending)
        assert isinstance(rig.queue.error, RemoteProtocolError)
        with pytest.raises(RemoteProtocolError):
            rig.queue.submit(command(1))
        assert rig.far.recv(64)[16:] == b""  # the command, then the end

    def test_command_id_that_is_not_in_flight(self, rig: QueueRig) -> None:
        self.provoke(rig, completion(5, b"12345678", b"\0"), "command id 5, which is not in flight")

    def test_twice_the_same_completion_in_one_segment(self, rig: QueueRig) -> None:
        twice = completion(0, b"12345678", b"\0") * 2
        self.provoke(rig, twice, "command id 0, which is not in flight")

    def test_too_few_descriptors(self, rig: QueueRig) -> None:
        self.provoke(rig, completion(0, b"12345678"), "1 descriptors where the command has 2")

    def test_too_many_descriptors(self, rig: QueueRig) -> None:
        data = completion(0, b"12345678", b"\0", b"x")
        self.provoke(rig, data, "3 descriptors where the command has 2")

    def test_no_descriptors_and_success(self, rig: QueueRig) -> None:
        self.provoke(rig, completion(0), "0 descriptors where the command has 2")

    def test_length_beyond_the_buffer(self, rig: QueueRig) -> None:
        data = completion(0, b"123456789", b"\0")
        self.provoke(rig, data, "9 bytes for descriptor id 1, which has room for 8")

    def test_descriptor_id_of_no_buffer(self, rig: QueueRig) -> None:
        head = struct.pack("<HHHHQ", 0, 0, 2, 0, 9)
        table = b"".join(struct.pack("<QIHHI4x", 0, 1, ident, 2, 0) for ident in (1, 3))
        self.provoke(rig, head + table + b"ab", "descriptor id 3")

    def test_descriptor_id_twice(self, rig: QueueRig) -> None:
        head = struct.pack("<HHHHQ", 0, 0, 2, 0, 9)
        table = b"".join(struct.pack("<QIHHI4x", 0, 1, ident, 2, 0) for ident in (1, 1))
        self.provoke(rig, head + table + b"ab", "descriptor id 1")

    def test_garbage(self, rig: QueueRig) -> None:
        self.provoke(rig, b"HTTP/1.1 400 Bad Request\r\n\r\n", "not in flight")

    def test_the_same_completion_again_in_a_later_segment(self, rig: QueueRig) -> None:
        one, two = command(0, buffer_of(4)), command(1, buffer_of(4))
        rig.queue.submit(one)
        rig.queue.submit(two)
        rig.far.sendall(completion(0, b"once"))
        rig.queue.wait(one)
        one.buffers[0][:] = b"mine"
        rig.far.sendall(completion(0, b"more"))
        with pytest.raises(RemoteProtocolError, match="command id 0, which is not in flight"):
            rig.queue.wait(two)
        assert bytes(one.buffers[0]) == b"mine"

    def test_a_refusal_as_the_reference_target_sends_it(self, rig: QueueRig) -> None:
        """Status 22, ndesc 0, and descriptors with their bytes nevertheless."""
        rig.queue.accept_refusals_with_buffers()
        data, status = buffer_of(8), buffer_of(1)
        one, two = command(0, data, status), command(1)
        rig.queue.submit(one)
        rig.queue.submit(two)
        refusal = struct.pack("<HHHHQ", 22, 0, 0, 0, 0) + completion(0, b"12345678", b"\1")[16:]
        rig.far.sendall(refusal + completion(1))
        assert rig.queue.wait(one).completion.status == 22
        assert rig.queue.wait(two).completion.status == 0
