# SPDX-License-Identifier: BSD-3-Clause
"""Chains of work requests: their order, their room, and when each is over."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.target.rdma.verbs_free import Heap, QueuePair
from vof.target.rdma.memory import PAGE
from vof.target.rdma.send_queue import FIRST_IDENT, SILENT_BYTES, SILENT_CHAINS, SendQueue, pieces
from vof.wire.v5 import KeyedDescriptor


class Rig:
    """A send queue, and a note of what happens."""

    def __init__(self, room: int = 8) -> None:
        self.heap = Heap()
        self.pair = QueuePair(self.heap)
        self.data = self.heap.register(PAGE)
        desk = self.heap.register(PAGE)
        self.queue = SendQueue(self.pair, desk, PAGE - 16 * room, room)
        self.notes: list[str] = []

    def answer(
        self, number: int, *parts: tuple[int, int], held: int = 0, now: bool = False
    ) -> None:
        self.queue.answer(
            [self.pair.part(*part) for part in parts],
            self.data.address,
            self.data.local_key,
            message(number),
            before=partial(self.notes.append, f"before {number}"),
            done=partial(self.notes.append, f"done {number}"),
            held=held,
            now=now,
        )

    def read(self, number: int, *parts: tuple[int, int]) -> None:
        self.queue.read(
            [self.pair.part(*part) for part in parts],
            self.data.address,
            self.data.local_key,
            partial(self.notes.append, f"read {number}"),
        )

    def complete(self) -> None:
        for ident in self.pair.complete():
            self.queue.ended(ident)

    def settle(self) -> None:
        while not self.queue.idle:
            self.queue.hurry()
            self.complete()


def message(number: int) -> bytes:
    return number.to_bytes(2, "little") * 8


def test_writes_and_a_message_go_together() -> None:
    rig = Rig()
    rig.data.view[:6] = b"abcdef"
    rig.answer(1, (100, 2), (50, 3), (10, 1))
    assert rig.notes == ["before 1"]
    assert rig.queue.operations.posts == 1
    rig.settle()
    assert rig.notes == ["before 1", "done 1"]
    assert rig.pair.messages == [message(1)]
    assert rig.pair.memory[100:102] + rig.pair.memory[50:53] + rig.pair.memory[10:11] == b"abcdef"
    assert rig.queue.idle


def test_reads_come_one_behind_the_other() -> None:
    rig = Rig()
    rig.pair.memory[:6] = b"abcdef"
    rig.read(1, (4, 2), (0, 3))
    assert not rig.notes
    rig.complete()
    assert rig.notes == ["read 1"]
    assert bytes(rig.data.view[:5]) == b"efabc"


def test_operations_are_counted() -> None:
    rig = Rig()
    rig.read(1, (0, 1), (2, 1))
    rig.answer(2, (0, 1), (2, 1), (4, 1))
    rig.answer(3)
    rig.queue.hurry()
    found = rig.queue.operations
    assert (found.reads, found.writes, found.sends, found.probes, found.posts) == (2, 3, 2, 0, 3)
    rig.settle()
    assert found.probes == 1


def test_most_answers_are_silent() -> None:
    """Of every so many one tells its end, and those before it have ended with it."""
    rig = Rig(room=64)
    for number in range(SILENT_CHAINS - 1):
        rig.answer(number)
    assert not rig.pair.signalled
    assert rig.queue.waiting_since is None
    rig.answer(99)
    assert rig.pair.signalled == [FIRST_IDENT + SILENT_CHAINS]
    assert rig.queue.waiting_since is not None
    rig.complete()
    assert len([note for note in rig.notes if note.startswith("done")]) == SILENT_CHAINS
    assert rig.queue.waiting_since is None


def test_answers_that_hold_much_are_not_silent() -> None:
    rig = Rig()
    rig.answer(1, held=SILENT_BYTES)
    assert not rig.pair.signalled
    rig.answer(2, held=1)
    assert len(rig.pair.signalled) == 1


def test_the_last_answer_may_be_told_of_at_once() -> None:
    rig = Rig()
    rig.answer(1, now=True)
    rig.complete()
    assert rig.notes == ["before 1", "done 1"]


def test_a_later_end_is_that_of_all_before() -> None:
    rig = Rig()
    rig.answer(1)
    rig.read(2, (0, 1))
    rig.complete()
    assert rig.notes == ["before 1", "done 1", "read 2"]


def test_what_finds_no_room_waits_and_nothing_overtakes_it() -> None:
    rig = Rig(room=4)
    rig.answer(1, (0, 1), (1, 1))
    rig.answer(2, (2, 1))
    rig.read(3, (3, 1))
    # Nothing that the initiator may do once it has an answer is possible before the answer goes.
    assert rig.notes == ["before 1"]
    assert [kind for kind, _ident in rig.pair.posted] == ["answer", "marker"]
    rig.complete()
    assert rig.notes == ["before 1", "done 1", "before 2"]
    rig.settle()
    assert rig.notes[3:] == ["done 2", "read 3"]
    assert rig.pair.messages == [message(1), message(2)]


def test_a_probe_is_posted_even_where_there_is_no_room() -> None:
    rig = Rig(room=2)
    rig.answer(1, (0, 1))
    rig.queue.probe()
    rig.queue.probe()
    assert len(rig.pair.posted) == 2
    rig.settle()
    rig.answer(2, (0, 1))
    rig.settle()
    assert rig.pair.messages == [message(1), message(2)]


def test_nothing_is_asked_of_a_queue_that_is_idle() -> None:
    rig = Rig()
    rig.queue.hurry()
    assert not rig.pair.posted
    rig.queue.probe()
    assert len(rig.pair.posted) == 1


@given(st.lists(st.tuples(st.sampled_from(["answer", "read", "complete"]), st.integers(0, 7))))
def test_every_message_is_sent_once_in_order_from_a_place_of_its_own(
    steps: list[tuple[str, int]],
) -> None:
    """The queue pair copies a message when it sends it, not when it is posted."""
    rig = Rig(room=8)
    answers = 0
    for number, (what, count) in enumerate(steps):
        parts = [(place, 1) for place in range(count)]
        if what == "answer":
            rig.answer(number, *parts)
            answers += 1
        elif what == "read" and parts:
            rig.read(number, *parts)
        else:
            rig.complete()
    rig.settle()
    expected = [message(number) for number, (what, _count) in enumerate(steps) if what == "answer"]
    assert rig.pair.messages == expected
    assert len([note for note in rig.notes if note.startswith("done")]) == answers
    assert rig.queue.idle


def part(addr: int, length: int, key: int = 1) -> KeyedDescriptor:
    return KeyedDescriptor(addr, length, key)


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ([part(0, 16)], [part(0, 16)]),
        ([part(0, 16), part(16, 4), part(20, 1)], [part(0, 21)]),
        ([part(0, 16), part(17, 4)], [part(0, 16), part(17, 4)]),
        ([part(0, 16), part(16, 4, 2)], [part(0, 16), part(16, 4, 2)]),
        ([part(16, 4), part(0, 16)], [part(16, 4), part(0, 16)]),
        ([part(0, 250)], [part(0, 100), part(100, 100), part(200, 50)]),
        ([part(0, 100), part(100, 1)], [part(0, 100), part(100, 1)]),
        ([], []),
    ],
)
def test_the_same_memory_in_fewer_pieces(
    given_: list[KeyedDescriptor], expected: list[KeyedDescriptor]
) -> None:
    assert pieces(given_, 100) == expected
