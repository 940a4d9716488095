# SPDX-License-Identifier: BSD-3-Clause
"""The stream fabric at work: many waiters, any order, data in its place."""

from __future__ import annotations

import random
import select
import struct
import threading
import time
from collections.abc import Callable

import pytest

from tests.support.loopback import Background, receive_exactly
from tests.support.scripted_target import wait_until
from tests.unit.fabric.queue_rig import QueueRig, buffer_of, command, completion
from vof.fabric.pending import Pending

MakeRig = Callable[..., QueueRig]

THREADS = 32
REQUESTS = 100
SIZES = (1, 7, 64, 512, 4096, 16 * 1024 + 1, 70_000)


def pattern(ident: int, number: int, size: int) -> bytes:
    """Data that belongs to one request only."""
    seed = struct.pack("<HI", ident, number)
    return (seed * (size // len(seed) + 1))[:size]


def answer_in_any_order(rig: QueueRig, count: int, rng: random.Random) -> None:
    """Answer ``count`` commands; of those that are there at a time, in a random order.

    A command says in its 12 spare bytes which number it has and how much it wants.
    """
    held: list[tuple[int, int, int]] = []
    answered = 0
    received = b""
    while answered < count:
        received += rig.far.recv(65536)
        while len(received) >= 16:
            _opcode, ident, number, size = struct.unpack_from("<HHII4x", received)
            held.append((ident, number, size))
            received = received[16:]
        rng.shuffle(held)
        # Some stay for a later round, if there is one: more is to be read already.
        answer, held = held[: len(held) // 2 + 1], held[len(held) // 2 + 1 :]
        if not select.select([rig.far], [], [], 0)[0]:
            answer, held = [*answer, *held], []
        for ident, number, size in answer:
            half = size // 2
            data = pattern(ident, number, size)
            rig.far.sendall(completion(ident, data[:half], data[half:]))
            answered += 1


def test_every_thread_gets_its_own_data_in_any_order_of_completion(rig: QueueRig) -> None:
    def work(ident: int) -> int:
        rng = random.Random(ident)
        for number in range(REQUESTS):
            size = rng.choice(SIZES)
            room = bytearray(b"\xee" * (size + 32))
            inner = memoryview(room)[16:-16]
            pending = command(ident, inner[: size // 2], inner[size // 2 :])
            pending.parts = [struct.pack("<HHII4x", 0x2000, ident, number, size)]
            rig.queue.submit(pending)
            arrival = rig.queue.wait(pending)
            assert list(arrival.lengths) == [size // 2, size - size // 2]
            assert inner == pattern(ident, number, size)
            assert room[:16] == room[-16:] == b"\xee" * 16
        return REQUESTS

    far = Background(
        lambda: answer_in_any_order(rig, THREADS * REQUESTS, random.Random("any order"))
    )
    workers = [Background(work, ident) for ident in range(THREADS)]
    assert sum(worker.result() for worker in workers) == THREADS * REQUESTS
    far.result()
    assert rig.queue.error is None


@pytest.mark.parametrize("first", ["leader", "follower"])
def test_whoever_waits_longest_goes_on_receiving(rig: QueueRig, first: str) -> None:
    one, two = command(0), command(1)
    rig.queue.submit(one)
    rig.queue.submit(two)
    leader = Background(rig.queue.wait, one)
    wait_until(lambda: rig.leading, "a leader")
    follower = Background(rig.queue.wait, two)
    wait_until(lambda: bool(rig.followers), "a follower")
    early, late = (leader, follower) if first == "leader" else (follower, leader)

    rig.far.sendall(completion(0 if first == "leader" else 1))
    early.result()
    assert late.running
    rig.far.sendall(completion(1 if first == "leader" else 0))
    late.result()


def test_one_of_several_followers_is_promoted_and_serves_the_others(rig: QueueRig) -> None:
    waiting = [command(ident) for ident in range(5)]
    for pending in waiting:
        rig.queue.submit(pending)
    threads = [Background(rig.queue.wait, waiting[0])]
    wait_until(lambda: rig.leading, "a leader")
    threads += [Background(rig.queue.wait, pending) for pending in waiting[1:]]
    wait_until(lambda: rig.followers == 4, "four followers")
    for place, ident in enumerate(range(5)):
        assert sum(thread.running for thread in threads) == 5 - place
        rig.far.sendall(completion(ident))
        threads[ident].result()


def test_a_completion_that_arrived_before_it_was_waited_for(rig: QueueRig) -> None:
    one, two = command(0), command(1)
    rig.queue.submit(one)
    rig.queue.submit(two)
    rig.far.sendall(completion(0) + completion(1))
    rig.queue.wait(two)
    rig.hang_up()
    assert rig.queue.wait(one).completion.command_id == 0


def test_completions_delivered_byte_by_byte(rig: QueueRig) -> None:
    data, second = buffer_of(5), buffer_of(3)
    one, two = command(3, data), command(4, second)
    rig.queue.submit(one)
    rig.queue.submit(two)
    waiter = Background(rig.queue.wait, one)
    for byte in completion(4, b"xyz") + completion(3, b"hello"):
        rig.far.sendall(bytes([byte]))
    assert waiter.result().lengths == [5]
    assert bytes(data) == b"hello"
    assert rig.queue.wait(two).lengths == [3]
    assert bytes(second) == b"xyz"


def test_large_data_and_the_next_completion_in_one_stream(rig: QueueRig) -> None:
    """What is received behind a caller's buffer belongs to the completions that follow."""
    size = 300_000
    large, small = buffer_of(size), buffer_of(4)
    one, two = command(0, large), command(1, small)
    rig.queue.submit(one)
    rig.queue.submit(two)
    far = Background(
        lambda: rig.far.sendall(completion(0, pattern(0, 9, size)) + completion(1, b"tail"))
    )
    rig.queue.wait(one)
    rig.queue.wait(two)
    far.result()
    assert large == pattern(0, 9, size)
    assert bytes(small) == b"tail"


@pytest.mark.parametrize("count", [1023, 1024, 1025, 5000])
def test_more_buffers_than_the_kernel_takes_in_one_receive(rig: QueueRig, count: int) -> None:
    whole = bytearray(count * 512)
    buffers = [memoryview(whole)[place : place + 512] for place in range(0, len(whole), 512)]
    data = random.Random(count).randbytes(len(whole))
    pending = command(0, *buffers)
    rig.queue.submit(pending)
    pieces = [data[place : place + 512] for place in range(0, len(data), 512)]
    far = Background(lambda: rig.far.sendall(completion(0, *pieces) + completion(1)))
    follower = command(1)
    rig.queue.submit(follower)
    rig.queue.wait(pending)
    rig.queue.wait(follower)
    far.result()
    assert whole == data


def test_fewer_bytes_than_a_buffer_holds_leave_its_rest_alone(rig: QueueRig) -> None:
    data = memoryview(bytearray(b"........"))
    pending = command(0, data)
    rig.queue.submit(pending)
    rig.far.sendall(completion(0, b"abc"))
    assert rig.queue.wait(pending).lengths == [3]
    assert bytes(data) == b"abc....."


def test_all_parts_of_a_command_are_sent_in_order(rig: QueueRig) -> None:
    pending = command(5)
    pending.parts = [b"0123456789abcdef", b"", bytearray(b"second"), memoryview(b"third")]
    rig.queue.submit(pending)
    assert receive_exactly(rig.far, 27) == b"0123456789abcdefsecondthird"


def test_on_done_is_called_once_for_every_outcome(rig: QueueRig) -> None:
    done: list[tuple[int, bool]] = []

    def note(pending: Pending) -> None:
        done.append((pending.command_id, pending.error is None))

    one, two = command(0, on_done=note), command(1, on_done=note)
    rig.queue.submit(one)
    rig.queue.submit(two)
    rig.far.sendall(completion(0))
    rig.queue.wait(one)
    assert done == [(0, True)]
    rig.queue.close()
    assert done == [(0, True), (1, False)]


def test_a_sender_that_has_to_wait_receives_meanwhile(make_rig: MakeRig) -> None:
    """The target reads on only when its completion was taken, by the one thread there is."""
    rig = make_rig(buffer_size=4096)
    size = 4 << 20
    data = buffer_of(size)
    one, two = command(0, data), command(1, extra=bytes(size))

    def far() -> None:
        rig.receive_command()
        rig.far.sendall(completion(0, pattern(0, 1, size)))
        receive_exactly(rig.far, 16 + size)
        rig.far.sendall(completion(1))

    target = Background(far)

    def near() -> None:
        rig.queue.submit(one)
        rig.queue.submit(two)
        rig.queue.wait(one)
        rig.queue.wait(two)

    Background(near).result()
    target.result()
    assert data == pattern(0, 1, size)


def test_two_threads_that_send_more_than_fits_while_completions_come(make_rig: MakeRig) -> None:
    rig = make_rig(buffer_size=4096)
    size = 1 << 20
    buffers = {ident: buffer_of(size) for ident in range(4)}

    def far() -> None:
        for _ in range(2):
            held = []
            for _ in range(2):
                held.append(rig.receive_command())
                receive_exactly(rig.far, size)
            for ident in held:
                rig.far.sendall(completion(ident, pattern(ident, 3, size)))

    def near(ident: int) -> None:
        pending = command(ident, buffers[ident], extra=bytes(size))
        rig.queue.submit(pending)
        rig.queue.wait(pending)

    target = Background(far)
    senders = [Background(near, ident) for ident in buffers]
    for sender in senders:
        sender.result()
    target.result()
    assert all(data == pattern(ident, 3, size) for ident, data in buffers.items())


def test_waiting_does_not_spin(rig: QueueRig) -> None:
    """A leader and a follower that wait take no processor time."""
    spent: list[float] = []

    def wait(pending: Pending) -> None:
        before = time.thread_time()
        rig.queue.wait(pending)
        spent.append(time.thread_time() - before)

    pending = [command(0), command(1)]
    for each in pending:
        rig.queue.submit(each)
    threads = [Background(wait, each) for each in pending]
    wait_until(lambda: bool(rig.followers), "a follower")
    assert not threading.Event().wait(0.3)  # the time over which spinning would show
    rig.far.sendall(completion(0) + completion(1))
    for thread in threads:
        thread.result()
    assert max(spent) < 0.1
