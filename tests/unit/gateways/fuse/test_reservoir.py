# SPDX-License-Identifier: BSD-3-Clause
"""The reservoir: what is asked of a device, and who gets what it gives."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from vof.errors import DeviceError, SessionLost
from vof.gateways.fuse.health import START_UP_SAMPLES
from vof.gateways.fuse.reservoir import (
    FIRST_REQUEST,
    LINGER,
    MAX_LINGER,
    MIN_REQUEST,
    READ_AHEAD,
    SMALLEST_REQUEST,
    Reservoir,
)

MAX_REQUEST = 1 << 16


class Device:
    """Gives what it is told to: by ``give``, or all that is asked for if ``prompt``."""

    def __init__(self, *, prompt: bool = True) -> None:
        self.prompt = prompt
        self.asked: list[int] = []
        self.stream = bytearray()
        self.waiting = 0
        self.most_waiting = 0
        self._noise = random.Random(1)
        self._send, self._receive = trio.open_memory_channel[bytes | Exception](1000)

    def noise(self, size: int) -> bytes:
        data = self._noise.randbytes(size)
        self.stream += data
        return data

    async def fetch(self, data: memoryview) -> int:
        self.asked.append(len(data))
        if self.prompt:
            await trio.sleep(0)
            data[:] = self.noise(len(data))
            return len(data)
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        try:
            answer = await self._receive.receive()
        finally:
            self.waiting -= 1
        if isinstance(answer, Exception):
            raise answer
        data[: len(answer)] = answer
        return len(answer)

    def give(self, size: int) -> None:
        self._send.send_nowait(self.noise(size))

    def answer(self, what: bytes | Exception) -> None:
        self._send.send_nowait(what)


@asynccontextmanager
async def running(device: Device, **changes: Any) -> AsyncIterator[Reservoir]:
    settings = {"depth": 4, "max_request": MAX_REQUEST, "patience": 10.0} | changes
    reservoir = Reservoir(device.fetch, **settings)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reservoir.run)
        await trio.testing.wait_all_tasks_blocked()
        yield reservoir
        nursery.cancel_scope.cancel()


def simulate(function: Callable[[], Awaitable[None]]) -> None:
    """Run with a clock that jumps to the next thing that happens."""
    trio.run(function, clock=trio.testing.MockClock(autojump_threshold=0))


@asynccontextmanager
async def started(device: Device, **changes: Any) -> AsyncIterator[Reservoir]:
    """A reservoir whose start-up test is over, its bytes taken; the device gives by hand now."""
    async with running(device, **changes) as reservoir:
        assert await reservoir.take(START_UP_SAMPLES) == bytes(device.stream)
        device.prompt = False
        device.asked.clear()
        yield reservoir


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


def test_the_start_up_test_comes_first() -> None:
    async def main() -> None:
        device = Device(prompt=False)
        async with running(device) as reservoir:
            assert device.asked == [FIRST_REQUEST] * 4
            got: list[bytes] = []

            async def read() -> None:
                got.append(await reservoir.take(10))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                await settle()
                for _ in range(START_UP_SAMPLES // FIRST_REQUEST - 1):
                    device.give(FIRST_REQUEST)
                    await settle()
                device.give(FIRST_REQUEST - 1)
                await settle()
                assert not reservoir.started
                assert not reservoir.ready
                with pytest.raises(BlockingIOError):
                    reservoir.take_now(1)
                assert got == []
                device.give(1)
            assert got == [bytes(device.stream[:10])]
            assert reservoir.started

    simulate(main)


def test_nothing_is_fetched_that_nobody_wants() -> None:
    async def main() -> None:
        async with started(Device()) as reservoir:
            await trio.sleep(100)
            assert reservoir.delivered == START_UP_SAMPLES
            assert not reservoir.ready

    simulate(main)


def test_the_order_of_the_stream() -> None:
    async def main() -> None:
        device = Device()
        async with running(device) as reservoir:
            got = b"".join([await reservoir.take(size) for size in (1, 5000, 3, 200_000, 77)])
            assert got == device.stream[: len(got)]
            assert len(got) == 205_081
            assert reservoir.delivered == len(got)

    simulate(main)


def test_a_large_read_is_several_requests_at_once() -> None:
    async def main() -> None:
        device = Device()
        async with running(device) as reservoir, trio.open_nursery() as nursery:
            await reservoir.take(MAX_REQUEST)
            device.prompt = False
            device.asked.clear()
            nursery.start_soon(reservoir.take, 1 << 20)
            await settle()
            assert device.asked == [MAX_REQUEST] * 4
            assert device.waiting == 4
            device.give(MAX_REQUEST)
            await settle()
            assert device.waiting == 4
            nursery.cancel_scope.cancel()

    simulate(main)


def test_small_reads_share_requests() -> None:
    """The more is read, the more is asked for at a time; never more ahead than was read."""

    async def main() -> None:
        device = Device()
        async with running(device) as reservoir:
            for _ in range(10_000):
                await reservoir.take(100)
                assert len(device.stream) <= 2 * (reservoir.delivered + START_UP_SAMPLES)
            assert max(device.asked) == MAX_REQUEST
            assert len(device.asked) < 30

    simulate(main)


def test_a_slow_device_is_asked_for_little() -> None:
    async def main() -> None:
        device = Device()
        async with started(device) as reservoir, trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(reservoir.take, 10)
                await settle()
                device.give(10)
                await settle()
            assert device.asked[-2:] == [MIN_REQUEST, MIN_REQUEST]
            nursery.cancel_scope.cancel()

    simulate(main)


def test_less_than_the_start_up_test_takes_at_a_time() -> None:
    """What is there already and may not be given away yet counts for no reader."""

    async def main() -> None:
        device = Device(prompt=False)
        async with running(device) as reservoir, trio.open_nursery() as nursery:

            async def limited() -> None:
                while True:
                    device.give(24)
                    await trio.sleep(1)

            nursery.start_soon(limited)
            assert await reservoir.take(32) == device.stream[:32]
            assert reservoir.started
            nursery.cancel_scope.cancel()

    simulate(main)


def test_a_device_that_fills_every_request_slowly() -> None:
    """It is asked for no more than it gives in about a second, and a small read is served."""

    async def main() -> None:
        asked: list[int] = []
        noise = random.Random(1)
        line = trio.Lock()

        async def fetch(data: memoryview) -> int:
            asked.append(len(data))
            async with line:
                await trio.sleep(len(data) / 10)
            data[:] = noise.randbytes(len(data))
            return len(data)

        reservoir = Reservoir(fetch, depth=4, max_request=MAX_REQUEST, patience=30.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reservoir.run)
            assert len(await reservoir.take(32)) == 32
            assert max(asked) == FIRST_REQUEST
            asked.clear()
            # What the start-up test left over goes first.
            while len(asked) < 10:
                await reservoir.take(8)
            assert set(asked) == {SMALLEST_REQUEST}
            nursery.cancel_scope.cancel()

    simulate(main)


def test_readers_in_turn() -> None:
    async def main() -> None:
        device = Device()
        got: dict[str, bytes] = {}
        async with started(device) as reservoir:

            async def read(name: str, size: int) -> None:
                got[name] = await reservoir.take(size)

            async with trio.open_nursery() as nursery:
                for name, size in (("one", 10), ("two", 20), ("three", 30)):
                    nursery.start_soon(read, name, size)
                    await settle()
                device.give(10)
                await settle()
                assert set(got) == {"one"}
                device.give(25)
                await settle()
                assert set(got) == {"one", "two"}
            assert {name: len(data) for name, data in got.items()} == {
                "one": 10,
                "two": 20,
                "three": 5,
            }
            assert got["one"] + got["two"] + got["three"] == device.stream[START_UP_SAMPLES:]

    simulate(main)


def test_a_short_answer_soon_rather_than_a_full_one_late() -> None:
    async def main() -> None:
        device = Device()
        async with started(device) as reservoir, trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 5)
            device.give(3)
            began = trio.current_time()
            assert len(await reservoir.take(10)) == 3
            assert trio.current_time() - began == pytest.approx(LINGER)
            nursery.cancel_scope.cancel()

    simulate(main)


def test_what_trickles_in_is_waited_for_a_while() -> None:
    async def main() -> None:
        device = Device()
        async with started(device) as reservoir, trio.open_nursery() as nursery:

            async def trickle() -> None:
                while True:
                    device.give(1)
                    await trio.sleep(LINGER / 2)

            nursery.start_soon(trickle)
            began = trio.current_time()
            assert 10 <= len(await reservoir.take(1000)) <= 30
            assert trio.current_time() - began == pytest.approx(MAX_LINGER)
            nursery.cancel_scope.cancel()

    simulate(main)


def test_patience() -> None:
    async def main() -> None:
        async with started(Device(), patience=3.0) as reservoir:
            began = trio.current_time()
            with pytest.raises(OSError, match="no random bytes within 3 s"):
                await reservoir.take(10)
            assert trio.current_time() - began == pytest.approx(3.0)

    simulate(main)


def test_patience_is_for_silence() -> None:
    """A reader whose turn is far goes on waiting while the device gives to others."""

    async def main() -> None:
        device = Device()
        async with started(device, patience=3.0) as reservoir, trio.open_nursery() as nursery:
            got: list[bytes] = []

            async def read(size: int) -> None:
                got.append(await reservoir.take(size))

            for _ in range(5):
                nursery.start_soon(read, 10)
                await settle()
            assert reservoir.waiting == 0
            for _ in range(5):
                await trio.sleep(2)
                assert reservoir.waiting == pytest.approx(2)
                device.give(10)
            await trio.sleep(1)
            assert len(got) == 5
            nursery.cancel_scope.cancel()

    simulate(main)


@pytest.mark.parametrize("given", [0, 4])
def test_a_reader_that_goes(given: int) -> None:
    """What has come for it, and what comes then, goes to the next."""

    async def main() -> None:
        device = Device()
        async with started(device) as reservoir:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(reservoir.take, 10)
                    await settle()
                    if given:
                        device.give(given)
                        await settle()
                    scope.cancel()
            before = reservoir.delivered
            device.give(10 - given)
            await settle()
            assert await reservoir.take(10) == device.stream[-10:]
            assert reservoir.delivered == before + 10

    simulate(main)


def test_not_waiting() -> None:
    async def main() -> None:
        device = Device()
        async with started(device) as reservoir:
            with pytest.raises(BlockingIOError):
                reservoir.take_now(10)
            await settle()
            assert device.asked == [READ_AHEAD]
            device.give(6)
            await settle()
            assert len(reservoir.take_now(10)) == 6
            assert reservoir.take_now(0) == b""

    simulate(main)


def test_whoever_does_not_wait_is_not_served_before_who_does() -> None:
    async def main() -> None:
        device = Device()
        async with started(device) as reservoir, trio.open_nursery() as nursery:
            nursery.start_soon(reservoir.take, 1000)
            await settle()
            device.give(10)
            await settle()
            with pytest.raises(BlockingIOError):
                reservoir.take_now(1)
            nursery.cancel_scope.cancel()

    simulate(main)


def test_watchers() -> None:
    async def main() -> None:
        device = Device()
        told: list[int] = []
        async with started(device) as reservoir:
            reservoir.watch(lambda: told.append(1))
            reservoir.watch(lambda: told.append(2))
            await settle()
            assert told == []
            assert device.asked
            device.give(5)
            await settle()
            assert told == [1, 2]
            device.give(5)
            await settle()
            assert told == [1, 2]

    simulate(main)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (SessionLost("gone"), SessionLost, "gone"),
        (DeviceError("nothing", 0), DeviceError, "nothing"),
        (bytes(1000), DeviceError, "health test failed: repetition count"),
    ],
)
def test_the_end(answer: bytes | Exception, error: type[Exception], words: str) -> None:
    """Everybody is told, those who wait and those who come."""

    async def main() -> None:
        device = Device()
        told: list[int] = []
        async with started(device) as reservoir:

            async def read() -> None:
                with pytest.raises(error, match=words):
                    await reservoir.take(10)

            reservoir.watch(lambda: told.append(1))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                nursery.start_soon(read)
                await settle()
                device.answer(answer)
            with pytest.raises(error, match=words):
                await reservoir.take(10)
            with pytest.raises(error, match=words):
                reservoir.take_now(10)
            assert reservoir.ready
            assert told == [1]
            device.asked.clear()
            await trio.sleep(10)
            assert not device.asked

    simulate(main)


def test_nothing_is_left_of_bytes_that_failed() -> None:
    async def main() -> None:
        device = Device()
        async with started(device) as reservoir:
            reservoir.watch(lambda: None)
            await settle()
            device.answer(device.noise(100) + bytes(100))
            await settle()
            assert reservoir.error is not None
            with pytest.raises(DeviceError):
                reservoir.take_now(50)

    simulate(main)
