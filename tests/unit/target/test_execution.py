# SPDX-License-Identifier: BSD-3-Clause
"""A queue's requests while the device has them: as its policy says, with any number of threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from tests.unit.target.disk import NotingBackend
from tests.unit.target.place import Place
from vof.target.association import ConnectedQueue
from vof.target.devices.block import BlockDevice, BlockOptions
from vof.target.devices.device import (
    BlockingInstance,
    Cancelled,
    DeviceFailure,
    Done,
    QueuePolicy,
    Request,
)
from vof.target.execution import Execution

SIZE = 16


class LaterInstance(BlockingInstance):
    """Answers when it is told to; or blocks until then."""

    def __init__(self, policy: QueuePolicy) -> None:
        self.policy = policy
        self.begun: list[Request] = []
        self.running = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.done: dict[Request, Done] = {}
        self.lock = threading.Lock()

    def reset(self) -> None: ...

    def submit(self, request: Request, done: Done) -> None:
        with self.lock:
            self.begun.append(request)
            self.done[request] = done
        if self.policy.blocks:
            super().submit(request, done)

    def execute(self, queue: int, readable: memoryview, writable: memoryview) -> int:
        self.running.release()
        assert self.go_on.wait(10)
        return 3

    def cancel(self, request: Request) -> None:
        if not self.policy.blocks and request in self.done:
            self.done.pop(request)(Cancelled("it waited"))


class Rig:
    """An execution on a device with one policy, and how often it was woken."""

    def __init__(self, policy: QueuePolicy, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(BlockDevice, "policy", lambda _device, _queue: policy)
        self.instance = LaterInstance(policy)
        monkeypatch.setattr(BlockDevice, "new_instance", lambda _device: self.instance)
        place = Place()
        at = ConnectedQueue(place.control().association, 0)
        at.association.queue_sizes[0] = SIZE
        self.woken = threading.Semaphore(0)
        self.execution: Execution[int] = Execution(
            at, threads=threads, name="queue", wake=self.woken.release
        )

    def submit(self, number: int) -> None:
        self.execution.submit(number, Request(0, memoryview(b""), memoryview(bytearray(3))))

    def submit_all(self) -> int:
        """Submit as many as there is room for; return how many."""
        count = 0
        while self.execution.has_room:
            self.submit(count)
            count += 1
        return count

    def taken(self) -> list[int]:
        found = []
        while taken := self.execution.take():
            assert taken[2] == 3
            found.append(taken[0])
        return found


Make = Callable[[QueuePolicy, int], Rig]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    rigs: list[Rig] = []

    def build(policy: QueuePolicy, threads: int) -> Rig:
        rigs.append(Rig(policy, threads, monkeypatch))
        return rigs[-1]

    yield build
    for rig in rigs:
        rig.instance.go_on.set()
        rig.execution.finish()


@pytest.mark.parametrize("threads", [0, 1, 4])
@pytest.mark.parametrize("blocks", [True, False])
def test_an_ordered_queue_has_one_at_a_time(make: Make, threads: int, blocks: bool) -> None:
    rig = make(QueuePolicy(ordered=True, blocks=blocks), threads)
    assert rig.execution.is_direct == blocks
    rig.instance.go_on.set()
    order = []
    for number in range(5):
        assert rig.execution.has_room
        rig.submit(number)
        if not blocks:
            assert not rig.execution.has_room
            rig.instance.done.pop(rig.instance.begun[-1])(3)
        order += rig.taken()
    assert order == list(range(5))


def test_threads_block_side_by_side(make: Make) -> None:
    rig = make(QueuePolicy(), 4)
    assert not rig.execution.is_direct
    assert rig.submit_all() == 4
    for _ in range(4):
        assert rig.instance.running.acquire(timeout=10)
    assert rig.taken() == []
    rig.instance.go_on.set()
    for _ in range(4):
        assert rig.woken.acquire(timeout=10)
    assert sorted(rig.taken()) == [0, 1, 2, 3]
    assert not rig.execution.busy


@pytest.mark.parametrize("threads", [0, 1])
def test_without_threads_a_request_is_done_when_it_was_submitted(make: Make, threads: int) -> None:
    rig = make(QueuePolicy(), threads)
    rig.instance.go_on.set()
    assert rig.execution.is_direct
    rig.submit(7)
    assert rig.taken() == [7]
    assert not rig.woken.acquire(blocking=False)


@pytest.mark.parametrize("threads", [0, 4])
def test_what_answers_later_has_as_many_as_the_queue_holds(make: Make, threads: int) -> None:
    """In any order, from any thread, and none of ours is held meanwhile."""
    rig = make(QueuePolicy(blocks=False), threads)
    before = threading.active_count()
    assert rig.submit_all() == SIZE
    assert threading.active_count() == before
    for request in reversed(rig.instance.begun):
        other = threading.Thread(target=rig.instance.done.pop(request), args=(3,))
        other.start()
        other.join(10)
        assert rig.woken.acquire(timeout=10)
    assert rig.taken() == list(reversed(range(SIZE)))


def test_failures_are_raised_where_they_are_taken(make: Make) -> None:
    rig = make(QueuePolicy(blocks=False), 0)
    rig.submit(1)
    rig.submit(2)
    first, second = rig.instance.begun
    rig.instance.done.pop(second)(3)
    rig.instance.done.pop(first)(DeviceFailure("broken"))
    taken = rig.execution.take()
    assert taken
    assert taken[0] == 2
    with pytest.raises(DeviceFailure, match="broken"):
        rig.execution.take()
    assert not rig.execution.busy


@pytest.mark.parametrize("blocks", [True, False])
@pytest.mark.parametrize("threads", [0, 4])
def test_a_mistake_of_the_device_s_ends_its_request(
    make: Make, monkeypatch: pytest.MonkeyPatch, threads: int, blocks: bool
) -> None:
    rig = make(QueuePolicy(blocks=blocks), threads)

    def bad(_request: Request, done: Done) -> None:
        done(3)
        raise ZeroDivisionError

    monkeypatch.setattr(rig.instance, "submit", bad)
    rig.submit(1)
    rig.execution.finish()
    assert rig.taken() == [1]
    monkeypatch.setattr(rig.instance, "kind_of", lambda _request: 1 // 0)
    rig.submit(2)
    rig.execution.finish()
    with pytest.raises(ZeroDivisionError):
        rig.execution.take()


def test_the_end_waits_for_what_is_executed_and_not_for_what_waits(make: Make) -> None:
    waiting = make(QueuePolicy(ordered=True, waits=True, blocks=False), 0)
    waiting.submit(1)
    waiting.execution.finish()
    with pytest.raises(Cancelled):
        waiting.execution.take()
    executed = make(QueuePolicy(), 4)
    executed.submit(1)
    assert executed.instance.running.acquire(timeout=10)
    ending = threading.Thread(target=executed.execution.finish)
    ending.start()
    ending.join(0.05)
    assert ending.is_alive()
    executed.instance.go_on.set()
    ending.join(10)
    assert not ending.is_alive()
    assert executed.taken() == [1]


def test_every_block_queue_may_be_worked_on_in_parallel() -> None:
    device = BlockDevice("dev", 0, BlockOptions(queues=3), NotingBackend())
    assert {device.policy(queue) for queue in range(3)} == {QueuePolicy()}
