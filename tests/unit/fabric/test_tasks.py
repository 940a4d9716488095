# SPDX-License-Identifier: BSD-3-Clause
"""Tasks waiting for commands in flight: leading, following, side by side with threads."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable

import pytest
import trio

from tests.support.loopback import Background
from tests.support.scripted_target import wait_until
from tests.unit.fabric.conftest import MakeRig
from tests.unit.fabric.queue_rig import QueueRig, buffer_of, command, completion
from vof.errors import SessionLost
from vof.fabric.pending import Pending
from vof.fabric.tasks import in_thread, wait_in_task
from vof.wire.stream import Arrival

PATIENCE = 20.0


def run(function: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with trio.fail_after(PATIENCE):
            await function()

    trio.run(bounded)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await trio.sleep(0.001)


def following(rig: QueueRig, count: int = 1) -> Callable[[], bool]:
    return lambda: rig.followers == count


def leading(rig: QueueRig) -> Callable[[], bool]:
    return lambda: rig.leading


def test_a_lone_task_receives_for_itself(rig: QueueRig) -> None:
    data = buffer_of(5)
    one = command(3, data)
    rig.queue.submit(one)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            arrivals: list[Arrival] = []

            async def wait() -> None:
                arrivals.append(await wait_in_task(rig.queue, one))

            nursery.start_soon(wait)
            await until(leading(rig))
            rig.far.sendall(completion(3, b"hello"))
        assert arrivals[0].lengths == [5]
        assert bytes(data) == b"hello"

    run(main)
    assert not leading(rig)()


def test_an_answer_in_pieces(rig: QueueRig) -> None:
    """Between them the task waits for the socket, and other tasks run."""
    data = buffer_of(100_000)
    one = command(3, data)
    rig.queue.submit(one)
    answer = completion(3, b"x" * 100_000)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_in_task, rig.queue, one)
            for place in range(0, len(answer), 9_999):
                rig.far.sendall(answer[place : place + 9_999])
                await trio.sleep(0.001)
                assert one.done == (place + 9_999 >= len(answer)) or not one.done

    run(main)
    assert one.done
    assert bytes(data) == b"x" * 100_000


def test_what_is_done_is_not_waited_for(rig: QueueRig) -> None:
    one, two = command(1), command(2)
    rig.queue.submit(one)
    rig.queue.submit(two)
    rig.far.sendall(completion(2) + completion(1))
    rig.queue.wait(one)
    assert two.done

    async def main() -> None:
        assert (await wait_in_task(rig.queue, two)).completion.command_id == 2

    run(main)


def test_many_tasks_and_any_order(rig: QueueRig) -> None:
    pendings = [command(ident, buffer_of(2)) for ident in range(8)]
    for pending in pendings:
        rig.queue.submit(pending)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for pending in pendings:
                nursery.start_soon(wait_in_task, rig.queue, pending)
            await until(following(rig, 7))
            for ident in (5, 0, 7, 3, 1, 2, 6, 4):
                rig.far.sendall(completion(ident, f"{ident:02}".encode()))
                await until(lambda ident=ident: pendings[ident].done)  # type: ignore[misc]

    run(main)
    assert [bytes(each.buffers[0]) for each in pendings] == [b"%02d" % n for n in range(8)]


def test_a_task_follows_a_thread_and_leads_after_it(rig: QueueRig) -> None:
    one, two = command(1), command(2)
    rig.queue.submit(one)
    rig.queue.submit(two)
    thread = Background(rig.queue.wait, one)
    wait_until(leading(rig), "the thread to lead")

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_in_task, rig.queue, two)
            await until(following(rig))
            rig.far.sendall(completion(1))
            await until(lambda: not thread.running)
            assert not two.done
            rig.far.sendall(completion(2))

    run(main)
    thread.result()
    assert two.done


def test_a_thread_receives_for_a_task(rig: QueueRig) -> None:
    one, two = command(1), command(2)
    rig.queue.submit(one)
    rig.queue.submit(two)
    thread = Background(rig.queue.wait, one)
    wait_until(leading(rig), "the thread to lead")

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_in_task, rig.queue, two)
            await until(following(rig))
            rig.far.sendall(completion(2))

    run(main)
    assert thread.running
    rig.far.sendall(completion(1))
    thread.result()


def test_a_task_receives_for_a_thread_and_hands_over_to_it(rig: QueueRig) -> None:
    one, two, three = command(1), command(2), command(3)
    for pending in (one, two, three):
        rig.queue.submit(pending)
    threads: list[Background[Arrival]] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_in_task, rig.queue, one)
            await until(leading(rig))
            threads.extend(Background(rig.queue.wait, each) for each in (two, three))
            await until(following(rig, 2))
            rig.far.sendall(completion(2))
            await until(lambda: not threads[0].running)
            rig.far.sendall(completion(1))

    run(main)
    rig.far.sendall(completion(3))
    for thread in threads:
        thread.result()


def test_threads_and_tasks_together(rig: QueueRig) -> None:
    """Every command comes back to whom it belongs, however the lead goes round."""
    rounds, width = 100, 6
    stop = threading.Event()

    def answer() -> None:
        while not stop.is_set():
            ident = rig.receive_command()
            if ident == 999:
                return
            rig.far.sendall(completion(ident, ident.to_bytes(2, "little")))

    far = Background(answer)

    def in_thread(ident: int) -> None:
        for _ in range(rounds):
            one = command(ident, buffer_of(2))
            rig.queue.submit(one)
            rig.queue.wait(one)
            assert bytes(one.buffers[0]) == ident.to_bytes(2, "little")

    async def in_task(ident: int) -> None:
        for _ in range(rounds):
            one = command(ident, buffer_of(2))
            rig.queue.submit(one)
            await wait_in_task(rig.queue, one)
            assert bytes(one.buffers[0]) == ident.to_bytes(2, "little")

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for ident in range(width):
                nursery.start_soon(in_task, 100 + ident)
            threads = [Background(in_thread, ident) for ident in range(width)]
            await until(lambda: not any(thread.running for thread in threads))
        for thread in threads:
            thread.result()

    run(main)
    stop.set()
    rig.queue.submit(command(999))
    far.result()
    assert not rig.leading


async def fails(rig: QueueRig, pending: Pending, words: str) -> None:
    with pytest.raises(SessionLost, match=words):
        await wait_in_task(rig.queue, pending)


def test_a_connection_that_ends_ends_all(rig: QueueRig) -> None:
    pendings = [command(ident) for ident in range(3)]
    for pending in pendings:
        rig.queue.submit(pending)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for pending in pendings:
                nursery.start_soon(fails, rig, pending, "closed by the target")
            await until(following(rig, 2))
            rig.hang_up()

    run(main)
    assert len(rig.losses) == 1


def test_a_queue_closed_by_a_thread(rig: QueueRig) -> None:
    one = command(1, buffer_of(10))
    rig.queue.submit(one)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails, rig, one, "closed")
            await until(leading(rig))
            closer = Background(rig.queue.close)
        closer.result()

    run(main)


def test_time_is_over_for_a_task_that_leads(make_rig: MakeRig) -> None:
    rig = make_rig(timeout=0.1)
    one = command(1)
    rig.queue.submit(one)
    run(lambda: fails(rig, one, r"no answer to command 1 within 0\.1 s"))
    assert rig.losses


def test_time_is_over_for_a_task_that_follows(rig: QueueRig) -> None:
    """The leader has no deadline; it is woken all the same."""
    one = command(1)
    rig.queue.submit(one)
    rig.queue.set_timeout(0.1)
    two = command(2)
    rig.queue.submit(two)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails, rig, one, "no answer to command 2")
            await until(leading(rig))
            nursery.start_soon(fails, rig, two, "no answer to command 2")

    run(main)


def test_time_is_over_for_a_task_behind_a_thread(rig: QueueRig) -> None:
    one = command(1)
    rig.queue.submit(one)
    thread = Background(rig.queue.wait, one)
    wait_until(leading(rig), "the thread to lead")
    rig.queue.set_timeout(0.1)
    two = command(2)
    rig.queue.submit(two)
    run(lambda: fails(rig, two, "no answer to command 2"))
    with pytest.raises(SessionLost):
        thread.result()


def test_a_cancelled_task_leaves_only_when_its_buffers_are_free(rig: QueueRig) -> None:
    data = buffer_of(4)
    one = command(1, data)
    rig.queue.submit(one)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_in_task, rig.queue, one)
            await until(leading(rig))
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await trio.sleep(0.05)
                assert not one.done
                rig.far.sendall(completion(1, b"late"))

    run(main)
    assert bytes(data) == b"late"
    assert rig.queue.error is None


def test_a_mistake_of_ours_ends_the_queue(rig: QueueRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The task leaves, and its buffers with it: nothing may be received any more."""
    one = command(1)
    rig.queue.submit(one)
    monkeypatch.setattr(trio.lowlevel, "wait_readable", lambda _queue: 1 / 0)
    rig.far.sendall(completion(1))

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await wait_in_task(rig.queue, one)

    run(main)
    assert "internal error" in str(rig.queue.error)


def test_other_tasks_go_on_while_a_large_command_waits_for_room(make_rig: MakeRig) -> None:
    rig = make_rig(buffer_size=4096)
    size = 4 << 20
    pending = command(0, extra=bytes(size))
    alive = trio.Event()

    async def look_around() -> None:
        # Only when the sender cannot go on does it lead, to receive meanwhile.
        while not leading(rig)():
            await trio.sleep(0.001)
        alive.set()

    def take_and_answer() -> None:
        left = 16 + size
        while left:
            left -= len(rig.far.recv(min(left, 65536)))
        rig.far.sendall(completion(0))

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look_around)
            nursery.start_soon(in_thread, lambda: rig.queue.submit(pending))
            await alive.wait()
            far = Background(take_and_answer)
        await wait_in_task(rig.queue, pending)
        far.result()

    run(main)
