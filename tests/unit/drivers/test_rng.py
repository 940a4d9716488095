# SPDX-License-Identifier: BSD-3-Clause
"""The rng driver: what it asks for, what answers it takes, from threads and from tasks."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import trio

from tests.support.loopback import Background
from tests.support.protocol_numbers import GET_STATUS, SET_STATUS, VRING
from tests.support.scripted_rng import RNG_TVQN, ScriptedRng, Source, rng_device
from tests.support.scripted_target import (
    Command,
    Device,
    Hold,
    Hook,
    ScriptedTarget,
    on,
    vring_completion,
)
from tests.support.sessions import parameters_for
from vof.drivers.rng import EMPTY_ANSWERS, MAX_REQUEST, RngDriver
from vof.errors import (
    CompletionError,
    ConfigError,
    DeviceError,
    LocalProtocolError,
    RemoteProtocolError,
    SessionLost,
)
from vof.initiator.session import CONTROL

PATIENCE = 20.0

ServeRng = Callable[..., ScriptedRng]


@pytest.fixture
def serve_rng(leaves_nothing: None) -> Iterator[ServeRng]:
    """Return a starter of scripted rngs, which are stopped at the end."""
    targets: list[ScriptedRng] = []

    def start(
        *hooks: Hook, device: Device | None = None, source: Source | None = None
    ) -> ScriptedRng:
        targets.append(ScriptedRng(device, *hooks, source=source))
        return targets[-1]

    yield start
    for target in targets:
        target.stop()


def open_driver(target: ScriptedTarget, **changes: Any) -> RngDriver:
    return RngDriver.open(parameters_for(target, tvqn=RNG_TVQN, **changes))


def in_task(function: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with trio.fail_after(PATIENCE):
            await function()

    trio.run(bounded)


def read(driver: RngDriver, size: int) -> bytes:
    data = bytearray(size)
    return bytes(data[: driver.read(memoryview(data))])


async def read_in_task(driver: RngDriver, size: int) -> bytes:
    data = bytearray(size)
    count = await driver.read_in_task(memoryview(data))
    return bytes(data[:count])


async def taken(hold: Hold, count: int) -> list[Command]:
    """Return the next commands held, without keeping the loop."""
    thread = Background(hold.take, count)
    while thread.running:
        await trio.sleep(0.001)
    return thread.result()


@pytest.fixture(params=["thread", "task"])
def reader(request: pytest.FixtureRequest) -> Callable[[RngDriver, int], bytes]:
    """Return either way to read."""
    if request.param == "thread":
        return read

    def in_one_task(driver: RngDriver, size: int) -> bytes:
        async def bounded() -> bytes:
            with trio.fail_after(PATIENCE):
                return await read_in_task(driver, size)

        return trio.run(bounded)

    return in_one_task


Reader = Callable[[RngDriver, int], bytes]


def test_opening(serve_rng: ServeRng) -> None:
    target = serve_rng()
    with open_driver(target).session as session:
        assert target.device.status == 7
        assert len(session.virtqueues) == 1
    assert SET_STATUS in target.opcodes()


def test_a_legacy_free_device_gets_version_1(serve_rng: ServeRng) -> None:
    target = serve_rng(device=rng_device(features=1 << 32 | 1 << 5))
    with open_driver(target).session as session:
        assert session.features == 1 << 32
        assert target.device.status == 15


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"device_id": 2}, ConfigError, "not a virtio-rng"),
        ({"num_queues": 0}, RemoteProtocolError, "no virtqueue"),
        ({"queue_size": 0}, RemoteProtocolError, "size 0"),
    ],
)
def test_no_rng(
    serve_rng: ServeRng, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    target = serve_rng(device=rng_device(**changes))
    with pytest.raises(error, match=words):
        open_driver(target)


def test_one_buffer_and_nothing_else(serve_rng: ServeRng, reader: Reader) -> None:
    target = serve_rng(source=lambda size: bytes(range(size)))
    with open_driver(target).session as session:
        driver = RngDriver(session, session.virtqueues[0])
        assert reader(driver, 100) == bytes(range(100))
    (request,) = target.requests()
    assert [(each.length, each.writable) for each in request.descriptors] == [(100, True)]
    assert request.payload == b""


def test_large_reads_are_cut(serve_rng: ServeRng, reader: Reader) -> None:
    target = serve_rng()
    driver = open_driver(target)
    assert len(reader(driver, MAX_REQUEST + 1)) == MAX_REQUEST
    driver.close()


def test_a_short_answer_is_an_answer(serve_rng: ServeRng, reader: Reader) -> None:
    target = serve_rng(source=lambda size: b"abc"[:size])
    driver = open_driver(target)
    assert reader(driver, 1000) == b"abc"
    assert len(target.requests()) == 1
    driver.close()


def test_an_empty_answer_is_asked_again(serve_rng: ServeRng, reader: Reader) -> None:
    answers = [b""] * (EMPTY_ANSWERS - 1) + [b"at last"]
    target = serve_rng(source=lambda _size: answers.pop(0))
    driver = open_driver(target)
    assert reader(driver, 100) == b"at last"
    driver.close()


def test_only_empty_answers(serve_rng: ServeRng, reader: Reader) -> None:
    target = serve_rng(source=lambda _size: b"")
    driver = open_driver(target)
    with pytest.raises(DeviceError, match=f"no bytes in {EMPTY_ANSWERS} answers"):
        reader(driver, 100)
    assert len(target.requests()) == EMPTY_ANSWERS
    assert driver.session.error is None
    driver.close()


def test_what_comes_back_unwritten_is_not_random(serve_rng: ServeRng, reader: Reader) -> None:
    def overstate(command: Command) -> None:
        command.connection.send(vring_completion(command, [b"0123456789"], used=4))

    driver = open_driver(serve_rng(on(VRING, overstate)))
    assert reader(driver, 100) == b"0123"
    driver.close()


def more_than_asked(command: Command) -> None:
    command.complete(b"x" * (command.writable[0].length + 1))


def no_descriptor(command: Command) -> None:
    command.reply(100)


def refusal(command: Command) -> None:
    command.reply(status=5)


def hang_up(command: Command) -> None:
    command.connection.close()


@pytest.mark.parametrize(
    ("action", "error"),
    [
        (more_than_asked, RemoteProtocolError),
        (no_descriptor, RemoteProtocolError),
        (refusal, CompletionError),
        (hang_up, SessionLost),
    ],
)
def test_bad_answers(
    serve_rng: ServeRng, reader: Reader, action: Callable[[Command], None], error: type[Exception]
) -> None:
    target = serve_rng(on(0x2000, action))
    driver = open_driver(target)
    with pytest.raises(error):
        reader(driver, 100)
    driver.close()


def test_a_slow_device_is_not_a_lost_session(serve_rng: ServeRng, reader: Reader) -> None:
    """Whatever the timeout; the target answers for it on the control queue."""
    hold = Hold()
    target = serve_rng(hold)
    driver = open_driver(target, timeout=0.01)
    reading = Background(reader, driver, 100)
    (command,) = hold.take(1)
    over = time.monotonic() + 0.05
    while time.monotonic() < over:
        driver.check()
    assert driver.session.error is None
    command.complete(b"at last")
    assert reading.result() == b"at last"
    driver.close()


def test_silence_of_the_target_ends_the_session(serve_rng: ServeRng, reader: Reader) -> None:
    hold = Hold()
    target = serve_rng(hold, on(GET_STATUS, lambda _command: None))
    driver = open_driver(target)
    driver.session.queues()[CONTROL].set_timeout(0.05)
    reading = Background(reader, driver, 100)
    hold.take(1)
    with pytest.raises(SessionLost, match="no answer to get_status"):
        driver.check()
    with pytest.raises(SessionLost):
        reading.result()
    driver.close()


def test_as_many_tasks_as_the_queue_holds(serve_rng: ServeRng) -> None:
    """And no more: one over is told so, and harms nobody."""
    hold = Hold()
    target = serve_rng(hold)
    driver = open_driver(target)
    assert driver.depth == 8
    found: list[bytes] = []

    async def one() -> None:
        found.append(await read_in_task(driver, 4))

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(one)
            held = await taken(hold, 8)
            with pytest.raises(LocalProtocolError, match="more than 8 reads"):
                await read_in_task(driver, 4)
            for number, command in reversed(list(enumerate(held))):
                command.complete(bytes([number] * 4))

    in_task(main)
    assert sorted(found) == [bytes([number] * 4) for number in range(8)]
    driver.close()


def test_tasks_share_the_loop(serve_rng: ServeRng) -> None:
    """While one waits for the device, others run."""
    hold = Hold()
    target = serve_rng(hold)
    driver = open_driver(target)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_in_task, driver, 4)
            (command,) = await taken(hold, 1)
            for _ in range(10):
                await trio.sleep(0)
            command.complete(b"done")

    in_task(main)
    driver.close()


def test_closing_ends_what_is_in_flight(serve_rng: ServeRng) -> None:
    hold = Hold()
    target = serve_rng(hold)
    driver = open_driver(target)

    async def lost() -> None:
        with pytest.raises(SessionLost):
            await read_in_task(driver, 4)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(lost)
            await taken(hold, 3)
            closer = Background(driver.close)
        closer.result()

    in_task(main)


def test_the_parameters_are_the_sessions(serve_rng: ServeRng) -> None:
    target = serve_rng()
    parameters = parameters_for(target, tvqn=RNG_TVQN)
    driver = RngDriver.open(parameters)
    assert driver.session.parameters == dataclasses.replace(parameters)
    driver.close()
