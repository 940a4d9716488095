# SPDX-License-Identifier: BSD-3-Clause
"""Many crypto requests at a time: over which queue, under which id, from threads and tasks."""

from __future__ import annotations

import errno
import struct
from collections import Counter

import pytest
import trio

from tests.support.loopback import Background
from tests.support.protocol_numbers import VENDOR_VTGT
from tests.support.scripted_target import Command, Hold, completion, wait_until
from tests.support.target_fixtures import Serve
from tests.unit.drivers.crypto_device import (
    RESULT,
    Answers,
    device,
    ids_of,
    open_driver,
    queues_of,
)
from vof.drivers.crypto import CryptoDriver
from vof.errors import DeviceError, LocalProtocolError, SessionLost
from vof.wire.crypto import DataOpcode, HashAlgorithm, Service
from vof.wire.crypto_operations import DataRequest
from vof.wire.crypto_parameters import HashParameters

HASH = HashParameters(HashAlgorithm.SHA_256, 32)
REQUEST = DataRequest(DataOpcode.HASH, parameters=HASH, src=b"data", result_len=32)


def finish(command: Command, result: bytes = bytes(32)) -> None:
    command.complete(result, b"\0")


def always_0(command: Command, *buffers: bytes) -> None:
    """Complete as the reference target does: under command id 0, whatever the command had."""
    parts = [completion(0, 0, len(buffers), sum(map(len, buffers)))]
    for each, buffer in zip(command.writable, buffers, strict=True):
        parts.append(struct.pack("<QIHHI4x", 0, len(buffer), each.id, each.flags, 0))
    command.connection.send(b"".join([*parts, *buffers]))


def test_threads_are_spread_over_the_queues(serve: Serve) -> None:
    hold = Hold()
    target = serve(device(about={"num_queues": 5}, max_dataqueues=4), hold)
    driver = open_driver(target, 4)
    calls = [Background(driver.execute, REQUEST) for _ in range(12)]
    held = hold.take(12)
    assert Counter(queues_of(held)) == {0: 3, 1: 3, 2: 3, 3: 3}
    for number, command in enumerate(reversed(held)):
        finish(command, bytes([number]) * 32)
    assert sorted(call.result()[0] for call in calls) == list(range(12))
    driver.close()


def test_threads_wait_for_room(serve: Serve) -> None:
    hold = Hold()
    target = serve(device(about={"queue_size": 14}), hold)
    driver = open_driver(target)
    assert driver.depth == 4
    calls = [Background(driver.execute, REQUEST) for _ in range(10)]
    done = 0
    while done < 10:
        held = hold.take(min(4, 10 - done))
        for command in held:
            finish(command, RESULT * 32)
        done += len(held)
    assert all(call.result() == RESULT * 32 for call in calls)
    driver.close()


def test_the_reference_target_has_one_request_in_flight_per_queue(serve: Serve) -> None:
    """Its completions carry command id 0 always, so that must be the id of the command, too."""
    hold = Hold()
    target = serve(device(about={"vendor_id": VENDOR_VTGT}), hold)
    driver = open_driver(target)
    made = [Background(driver.create_session, HASH) for _ in range(3)]
    for number in range(3):
        [command] = hold.take(1)
        always_0(command, struct.pack("<QII", number, 0, 0))
    assert sorted(call.result() for call in made) == [0, 1, 2]
    calls = [Background(driver.execute, REQUEST) for _ in range(9)]
    for _round in range(4):
        held = hold.take(2)
        assert sorted(map(str, queues_of(held))) == ["0", "1"]
        for command in held:
            always_0(command, RESULT * 32, b"\0")
    [command] = hold.take(1)
    always_0(command, RESULT * 32, b"\0")
    assert all(call.result() == RESULT * 32 for call in calls)
    assert set(ids_of(target.requests())) == {0}
    driver.close()


def test_tasks(serve: Serve) -> None:
    target = serve(device(), Answers())
    driver = open_driver(target)
    results = []

    async def once(limit: trio.Semaphore) -> None:
        async with limit:
            results.append(await driver.execute_in_task(REQUEST))

    async def main() -> None:
        session = await driver.create_session_in_task(HASH)
        request = DataRequest(DataOpcode.HASH, session, src=b"x", result_len=32)
        assert await driver.execute_in_task(request) == RESULT * 32
        await driver.destroy_session_in_task(Service.HASH, session)
        with pytest.raises(LocalProtocolError) as caught:
            await driver.execute_in_task(request)
        assert caught.value.errno == errno.ESTALE
        limit = trio.Semaphore(driver.depth)
        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(once, limit)

    trio.run(main)
    assert results == [RESULT * 32] * 200
    assert set(queues_of(target.requests()[3:])) == {0, 1}
    driver.close()


def test_tasks_must_keep_to_the_depth(serve: Serve) -> None:
    hold = Hold()
    target = serve(device(about={"vendor_id": VENDOR_VTGT}), hold)
    driver = open_driver(target)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(driver.depth):
                nursery.start_soon(driver.execute_in_task, REQUEST)
            held = await trio.to_thread.run_sync(hold.take, 2)
            with pytest.raises(LocalProtocolError, match="more than 2 requests at a time: hash"):
                await driver.execute_in_task(REQUEST)
            for command in held:
                always_0(command, RESULT * 32, b"\0")

    trio.run(main)
    driver.close()


def test_places_come_back_after_failures(serve: Serve) -> None:
    answers = Answers({0x100: [bytes(32), b"\1"]})
    driver = open_driver(serve(device(about={"queue_size": 7}), answers))

    async def main() -> None:
        for _ in range(5):
            with pytest.raises(DeviceError):
                await driver.execute_in_task(REQUEST)

    trio.run(main)
    for _ in range(5):
        with pytest.raises(DeviceError):
            driver.execute(REQUEST)
    driver.close()
    for _ in range(5):
        with pytest.raises(SessionLost):
            driver.execute(REQUEST)


def test_the_end_of_the_target_ends_what_is_in_flight(serve: Serve) -> None:
    hold = Hold()
    target = serve(device(about={"queue_size": 7}), hold)
    driver = open_driver(target)
    calls = [Background(driver.execute, REQUEST) for _ in range(5)]
    hold.take(2)
    wait_until(lambda: all(call.running for call in calls), "threads that wait for room")
    for connection in target.connections:
        connection.close()
    for call in calls:
        with pytest.raises(SessionLost):
            call.result()
    driver.close()


def test_a_timeout_ends_the_session(serve: Serve) -> None:
    target = serve(device(), Hold())
    driver: CryptoDriver = open_driver(target, timeout=0.2)
    with pytest.raises(SessionLost, match=r"no answer to hash within 0\.2 s"):
        driver.execute(REQUEST)
    with pytest.raises(SessionLost):
        driver.create_session(HASH)
    driver.close()
