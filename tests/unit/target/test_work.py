# SPDX-License-Identifier: BSD-3-Clause
"""What is counted of a target's requests, and that it outlives the connections."""

from __future__ import annotations

import pytest

from tests.unit.target.asking import ask
from tests.unit.target.place import Place
from vof.target.devices.device import BlockingInstance, DeviceFailure, Request, Result
from vof.target.work import Statistics, Work


class ScriptedInstance(BlockingInstance):
    """Answers as its request says."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self.seen_in_flight: list[int] = []

    def reset(self) -> None: ...

    def kind_of(self, request: Request) -> str:
        return bytes(request.readable).decode()

    def execute(self, queue: int, readable: memoryview, writable: memoryview) -> int:
        self.seen_in_flight.append(self._work.in_flight)
        if bytes(readable) == b"break":
            raise DeviceFailure("gone")
        return len(writable)

    def result_of(self, request: Request, used: int) -> Result:
        return Result(used, failed=bytes(request.readable) == b"fail")


def test_requests_are_counted_by_kind_and_end() -> None:
    work = Work()
    instance = ScriptedInstance(work)
    room = memoryview(bytearray(7))
    for name in (b"good", b"good", b"fail"):
        assert ask(instance, memoryview(name), room, work=work) == 7
    with pytest.raises(DeviceFailure):
        ask(instance, memoryview(b"break"), room, work=work)
    counts = work.counts()
    assert counts["good"][:5] == (2, 14, 0, 0, 0)
    assert counts["fail"][:5] == (1, 7, 0, 1, 0)
    assert counts["break"][:5] == (1, 0, 0, 0, 1)
    assert instance.seen_in_flight == [1] * 4
    assert work.in_flight == 0


def test_what_waits_has_no_latency() -> None:
    work = Work()
    instance = ScriptedInstance(work)
    request = Request(0, memoryview(b"good"), memoryview(bytearray(7)))
    work.submit(instance, request, lambda _outcome: None, waits=True)
    count = work.counts()["good"]
    assert (count.requests, count.data_bytes, count.seconds, sum(count.latencies)) == (1, 7, 0, 0)


def test_statistics_keep_what_was_done_on_connections_that_are_gone() -> None:
    statistics = Statistics()
    works = [Work(), Work(), Work()]
    for work, queue in zip(works, (0, 0, 1), strict=True):
        statistics.enter(work, "disk", queue)
        ask(ScriptedInstance(work), memoryview(b"read"), memoryview(bytearray(1)), queue, work)
    first, second = statistics.read()
    assert (first.tvqn, first.queue, first.connections) == ("disk", 0, 2)
    assert first.counts["read"].requests == 2
    assert second.counts["read"].requests == 1
    for work in works:
        statistics.leave(work)
        statistics.leave(work)  # twice is no more
    first, second = statistics.read()
    assert (first.connections, second.connections) == (0, 0)
    assert first.counts["read"].requests == 2
    assert second.counts["read"].requests == 1


def test_a_table_enters_virtqueues_and_no_control_queue() -> None:
    place = Place()
    control = place.control()
    assert place.table.users() == {"dev": 1}
    queue = place.queue(control.association.target_id, 2)
    (entry,) = place.table.statistics.read()
    assert (entry.tvqn, entry.queue, entry.connections) == ("dev", 2, 1)
    place.table.release(queue)
    (entry,) = place.table.statistics.read()
    assert entry.connections == 0
    place.table.release(control)
    assert place.table.users() == {"dev": 0}
