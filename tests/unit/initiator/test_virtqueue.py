# SPDX-License-Identifier: BSD-3-Clause
"""Command ids, and never more descriptors in flight than the queue holds."""

from __future__ import annotations

import random
import select
import struct
from collections.abc import Callable, Iterator

import pytest

from tests.support.loopback import Background, receive_exactly, tcp_pair
from tests.support.scripted_target import wait_until
from tests.unit.fabric.conftest import make_queue
from tests.unit.fabric.queue_rig import MakeQueue
from vof.errors import LocalProtocolError, SessionLost, VofError
from vof.fabric.interface import Queue
from vof.fabric.pending import Pending
from vof.fabric.tcp.requests import StreamQueue
from vof.initiator.virtqueue import Virtqueue
from vof.wire.dialect import PROPOSAL

FIRST_RESERVED = 0xFF00


class Far:
    """The target's end: takes commands with one writable descriptor each, or none."""

    def __init__(self, make_queue: MakeQueue, size: int) -> None:
        near, self.socket = tcp_pair()
        self.fabric: StreamQueue = make_queue(near, "virtqueue 0", self._lost)
        self.queue = Virtqueue(0, size, self.fabric, PROPOSAL)

    def take(self) -> tuple[int, int]:
        """Receive a command without payload; return its id and number of descriptors."""
        _opcode, ident, _length, ndesc = struct.unpack("<HHIH6x", receive_exactly(self.socket, 16))
        receive_exactly(self.socket, 24 * ndesc)
        return ident, ndesc

    def answer(self, ident: int, ndesc: int) -> None:
        """Complete a command all of whose descriptors are device-writable, each with nothing."""
        self.socket.sendall(
            struct.pack("<HHHHQ", 0, ident, ndesc, 0, 0)
            + b"".join(struct.pack("<QIHHI4x", 0, 0, i, 2, 0) for i in range(ndesc))
        )

    def submit(self, ndesc: int = 1, *, wait: bool = True) -> Pending | None:
        buffers = [memoryview(bytearray(1)) for _ in range(ndesc)]
        return self.queue.submit("request", [], [], buffers, wait=wait)

    def sent(self, ndesc: int = 1) -> Pending:
        pending = self.submit(ndesc)
        assert pending is not None
        return pending

    def finish(self, pending: Pending) -> None:
        """Answer a command that was taken before, and wait for it."""
        self.answer(pending.command_id, len(pending.buffers))
        self.queue.wait(pending)

    def close(self) -> None:
        self.fabric.close()
        self.socket.close()

    @staticmethod
    def _lost(queue: Queue, error: VofError, in_flight: object) -> None:
        assert isinstance(in_flight, list)
        for pending in in_flight:
            queue.end(pending, error)


MakeFar = Callable[[int], Far]


__all__ = ["make_queue"]


@pytest.fixture
def far_of(leaves_nothing: None, make_queue: MakeQueue) -> Iterator[MakeFar]:
    made: list[Far] = []

    def make(size: int) -> Far:
        made.append(Far(make_queue, size))
        return made[-1]

    yield make
    for far in made:
        far.close()


def test_the_lowest_free_id_is_taken(far_of: MakeFar) -> None:
    far = far_of(16)
    pendings = [far.sent() for _ in range(4)]
    assert [far.take()[0] for _ in range(4)] == [0, 1, 2, 3]
    far.finish(pendings[2])
    far.finish(pendings[0])
    assert [far.sent().command_id for _ in range(3)] == [0, 2, 4]


def test_one_after_the_other_all_have_id_0(far_of: MakeFar) -> None:
    """A target that answers with id 0 always works with one request in flight."""
    far = far_of(16)
    for _ in range(5):
        pending = far.sent()
        assert far.take() == (0, 1)
        far.finish(pending)


def test_descriptors_and_their_bytes_as_they_are_sent(far_of: MakeFar) -> None:
    far = far_of(16)
    writable = [memoryview(bytearray(5)), memoryview(bytearray(1))]
    far.queue.submit("request", [4, 3], [b"abcd", b"efg"], writable)
    expected = (
        struct.pack("<HHIH6x", 0x2000, 0, 7, 4)
        + struct.pack("<QIHHI4x", 0, 4, 0, 1, 0)
        + struct.pack("<QIHHI4x", 4, 3, 1, 1, 0)
        + struct.pack("<QIHHI4x", 0, 5, 2, 3, 0)
        + struct.pack("<QIHHI4x", 5, 1, 3, 2, 0)
        + b"abcdefg"
    )
    assert receive_exactly(far.socket, len(expected)) == expected


def test_a_full_queue_takes_nothing_without_waiting(far_of: MakeFar) -> None:
    far = far_of(8)
    first, second = far.sent(5), far.sent(3)
    assert far.submit(1, wait=False) is None
    far.take()
    far.take()
    far.finish(second)
    assert far.submit(4, wait=False) is None
    third = far.submit(3, wait=False)
    assert third is not None
    far.take()
    far.finish(first)
    assert far.submit(5, wait=False) is not None


def test_a_full_queue_makes_a_thread_wait_for_room(far_of: MakeFar) -> None:
    far = far_of(4)
    first = far.sent(3)
    waiter = Background(far.sent, 2)
    wait_until(lambda: far.fabric.activity().waiting_for_room == 1, "a thread without room")
    far.take()
    far.finish(first)
    assert waiter.result().command_id == 0
    assert far.take() == (0, 2)


def test_a_thread_that_waits_for_room_is_told_of_the_end(far_of: MakeFar) -> None:
    far = far_of(4)
    first = far.sent(4)
    holder = Background(far.queue.wait, first)
    waiter = Background(far.sent, 1)
    wait_until(lambda: far.fabric.activity().waiting_for_room == 1, "a thread without room")
    far.socket.close()
    for thread in (holder, waiter):
        with pytest.raises(SessionLost):
            thread.result(5)


def test_more_descriptors_than_the_queue_holds_are_refused(far_of: MakeFar) -> None:
    far = far_of(4)
    with pytest.raises(LocalProtocolError, match=r"request takes 5 descriptors; .* holds 4"):
        far.submit(5)
    assert far.sent(4).command_id == 0


def test_after_the_end_nothing_is_taken_and_nothing_leaks(far_of: MakeFar) -> None:
    far = far_of(2)
    far.fabric.close()
    for _ in range(5):
        with pytest.raises(SessionLost):
            far.submit(2)
    assert far.fabric.take_id(2, wait=False) == 0


def test_another_fabric_queue_takes_what_comes_after_it(
    far_of: MakeFar, make_queue: MakeQueue
) -> None:
    """A request that was sent before is waited for, and given back, where it was sent."""
    far = far_of(4)
    before = far.sent(3)
    far.take()
    near, other = tcp_pair()
    later = make_queue(near, "virtqueue 0", far._lost)
    try:
        far.queue.go_over(later)
        after = far.sent(4)
        assert after.command_id == 0
        receive_exactly(other, 16 + 24 * 4)
        far.finish(before)
        other.close()
        with pytest.raises(SessionLost):
            far.queue.wait(after)
        assert later.take_id(4, wait=False) == far.fabric.take_id(4, wait=False) == 0
    finally:
        later.close()
        other.close()


@pytest.mark.clause("v2:51-53", "initiator")
@pytest.mark.clause("v2:64-65", "initiator")
def test_ids_stay_below_the_reserved_ones(far_of: MakeFar) -> None:
    far = far_of(65535)
    assert far.queue.size == FIRST_RESERVED
    drain = Background(receive_exactly, far.socket, FIRST_RESERVED * 40)
    idents = {far.sent().command_id for _ in range(FIRST_RESERVED)}
    assert idents == set(range(FIRST_RESERVED))
    assert far.submit(wait=False) is None
    drain.result()


@pytest.mark.clause("v2:50", "initiator")
def test_many_threads_keep_to_the_size_and_never_share_an_id(far_of: MakeFar) -> None:
    size, threads, rounds = 16, 12, 150
    far = far_of(size)
    rng = random.Random("many threads")
    worst = 0

    def target() -> None:
        nonlocal worst
        in_flight: dict[int, int] = {}
        answered = 0
        while answered < threads * rounds:
            # Answers only when nothing more comes, so that the queue is as full as it gets.
            if select.select([far.socket], [], [], 0 if in_flight else None)[0]:
                ident, ndesc = far.take()
                assert ident not in in_flight
                in_flight[ident] = ndesc
                worst = max(worst, sum(in_flight.values()))
            else:
                done = rng.choice(list(in_flight))
                far.answer(done, in_flight.pop(done))
                answered += 1

    def work(number: int) -> None:
        own = random.Random(number)
        for _ in range(rounds):
            far.queue.wait(far.sent(own.randint(1, 8)))

    serving = Background(target)
    workers = [Background(work, number) for number in range(threads)]
    for worker in workers:
        worker.result()
    serving.result()
    assert size // 2 < worst <= size
