# SPDX-License-Identifier: BSD-3-Clause
"""The load on a block device: what it asks of the target, and what it says of that afterwards."""

from __future__ import annotations

import itertools
from contextlib import closing

import pytest

from tests.support.implementations import implementation, on_both
from tests.support.protocol_numbers import EVERYTHING, F_RO, IN, OUT, VRING
from tests.support.scripted_target import Command, on
from tests.support.target_fixtures import Serve
from tests.unit.drivers.opening import device, open_driver
from vof.drivers.load import LoadPlan, run
from vof.errors import LocalProtocolError

__all__ = ["implementation"]

PLACES = 2048 * 512 // 4096
BRIEFLY = 0.05


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    on_both(metafunc)


def places(requests: list[Command]) -> list[int]:
    return [request.request[1] // 8 for request in requests]


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
def test_what_it_counts_is_what_the_target_was_asked(serve: Serve, write: bool) -> None:
    target = serve()
    with closing(open_driver(target, queues=2)) as driver:
        result = run(driver, LoadPlan(write=write, depth=4, seconds=BRIEFLY))
    requests = target.requests()
    assert {request.request[0] for request in requests} == {OUT if write else IN}
    assert {request.connection.queue for request in requests} == {0, 1}
    assert result.requests == len(requests) == sum(result.latencies) > 0
    assert result.bytes == 4096 * result.requests
    assert result.errors == 0
    assert result.seconds >= BRIEFLY


def test_a_sequential_load_goes_from_the_beginning_to_the_end_and_again(serve: Serve) -> None:
    target = serve()
    with closing(open_driver(target)) as driver:
        while len(target.requests()) <= PLACES:
            target.commands.clear()
            run(driver, LoadPlan(random=False, depth=8, seconds=1))
    asked = places(target.requests())
    assert asked == [number % PLACES for number in range(len(asked))]


def test_a_random_load_is_the_same_with_the_same_seed(serve: Serve) -> None:
    asked = []
    for seed in (5, 5, 6):
        target = serve()
        with closing(open_driver(target)) as driver:
            run(driver, LoadPlan(depth=1, seconds=BRIEFLY, seed=seed))
        asked.append(places(target.requests())[:8])
    assert asked[0] == asked[1] != asked[2]
    assert all(0 <= place < PLACES for each in asked for place in each)


def test_no_more_in_flight_than_asked_for(serve: Serve) -> None:
    waiting: list[Command] = []
    most = 0

    def answer_in_threes(command: Command) -> None:
        nonlocal most
        waiting.append(command)
        most = max(most, len(waiting))
        if len(waiting) == 3 or len(target.requests()) > 30:
            while waiting:
                waiting.pop().perform()

    target = serve(None, on(VRING, answer_in_threes))
    with closing(open_driver(target, timeout=30.0)) as driver:
        result = run(driver, LoadPlan(depth=3, seconds=BRIEFLY))
    assert most == 3
    assert result.errors == 0


def test_requests_that_fail_are_counted_apart(serve: Serve) -> None:
    def fail(command: Command) -> None:
        command.complete(bytes(4096), b"\x01")

    target = serve(None, on(VRING, fail, nth=4))
    with closing(open_driver(target)) as driver:
        result = run(driver, LoadPlan(depth=1, seconds=BRIEFLY))
    assert result.requests == 3
    assert result.errors == len(target.requests()) - 3 > 0


def test_a_lost_session_ends_it(serve: Serve) -> None:
    target = serve(None, on(VRING, lambda command: command.connection.close(), nth=4))
    with closing(open_driver(target)) as driver:
        result = run(driver, LoadPlan(depth=1, seconds=3600))
        assert driver.session.is_lost()
    assert (result.requests, result.errors) == (3, 1)


@pytest.mark.parametrize("unanswered", ["one", "all"])
def test_a_request_that_takes_too_long_ends_it(serve: Serve, unanswered: str) -> None:
    """Also where others beside it are answered all the time."""
    numbers = itertools.count()

    def keep(command: Command) -> None:
        if unanswered == "one" and next(numbers) != 5:
            command.perform()

    target = serve(None, on(VRING, keep))
    with closing(open_driver(target, queues=2, timeout=0.3)) as driver:
        result = run(driver, LoadPlan(depth=4, seconds=3600))
        assert "no answer to VIRTIO_BLK_T_IN within 0.3 s" in str(driver.session.error)
    assert result.errors > 0
    assert (result.requests > 0) == (unanswered == "one")


def test_percentiles_rise(serve: Serve) -> None:
    target = serve()
    with closing(open_driver(target)) as driver:
        result = run(driver, LoadPlan(depth=2, seconds=BRIEFLY))
    half, most, all_of_them = (result.percentile(percent) for percent in (50, 99, 100))
    assert 0 < half <= most <= all_of_them <= 2 * result.seconds


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (LoadPlan(block_size=100), "requests of 100 bytes: multiples of 512 up to"),
        (LoadPlan(block_size=0), "requests of 0 bytes"),
        (LoadPlan(block_size=1 << 40), "requests of 1099511627776 bytes"),
        (LoadPlan(depth=0), "depth 0: 1 to"),
        (LoadPlan(depth=1 << 20), "depth 1048576: 1 to"),
    ],
)
def test_what_it_cannot_do(serve: Serve, plan: LoadPlan, message: str) -> None:
    target = serve()
    with closing(open_driver(target)) as driver, pytest.raises(LocalProtocolError, match=message):
        run(driver, plan)
    assert target.requests() == []


def test_no_writes_to_a_read_only_device(serve: Serve) -> None:
    target = serve(device(EVERYTHING | F_RO))
    with (
        closing(open_driver(target)) as driver,
        pytest.raises(LocalProtocolError, match="the device is read-only"),
    ):
        run(driver, LoadPlan(write=True))
    assert target.requests() == []
