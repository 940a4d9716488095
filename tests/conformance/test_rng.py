# SPDX-License-Identifier: BSD-3-Clause
"""The rng driver and the real target: every byte once, however many ask, and short answers."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.conformance.conftest import Served
from tests.support.loopback import PATIENCE, Background
from vof.drivers.rng import MAX_REQUEST, RngDriver
from vof.errors import ConfigError, SessionLost

LETTERS, RANDOM, FILE, SLOW = (
    "conformance/letters",
    "conformance/random",
    "conformance/file",
    "conformance/slow",
)

ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"

RECORDS = [number.to_bytes(4, "big") for number in range(256)]

SOURCE = b"".join(RECORDS)
"""What stands in the file of the device that ends."""

BLOCK = "conformance/disk"


def devices(folder: Path) -> str:
    (folder / "source").write_bytes(SOURCE)
    return f"""
[letters]
tvqn = {LETTERS}
model = rng
backend = driver=rng-simulator

[random]
tvqn = {RANDOM}
model = rng
backend = driver=rng-random

[file]
tvqn = {FILE}
model = rng
backend = driver=rng-file,path={folder}/source

[slow]
tvqn = {SLOW}
model = rng
backend = driver=rng-simulator,bytes=10,period=3600000

[disk]
tvqn = {BLOCK}
model = block
backend = driver=block-memory,size=1M
"""


def read(driver: RngDriver, size: int) -> bytes:
    data = bytearray(b"\xdb" * size)
    count = driver.read(memoryview(data))
    assert data[count:] == b"\xdb" * (size - count)
    return bytes(data[:count])


@pytest.mark.rdma
def test_bytes_come_in_their_order(served: Served) -> None:
    driver = served.rng(LETTERS)
    expected = ALPHABET * (3 * MAX_REQUEST // 26)
    place = 0
    for size in (1, 2, 25, 26, 27, 4096, 4097, MAX_REQUEST - 1, MAX_REQUEST):
        assert read(driver, size) == expected[place : place + size]
        place += size


def test_a_read_is_cut_to_the_largest_request(served: Served) -> None:
    driver = served.rng(RANDOM)
    found = read(driver, MAX_REQUEST + 1)
    assert len(found) == MAX_REQUEST
    assert set(found) == set(range(256))


@pytest.mark.rdma
@pytest.mark.rdma_once
def test_an_answer_may_be_shorter_than_its_room(served: Served) -> None:
    driver = served.rng(FILE)
    assert read(driver, 1000) == SOURCE[:1000]
    assert read(driver, 1000) == SOURCE[1000:]


def test_the_end_of_the_source_ends_the_session(served: Served) -> None:
    driver = served.rng(FILE)
    assert read(driver, 2 * len(SOURCE)) == SOURCE
    with pytest.raises(SessionLost):
        read(driver, 1)
    # Nobody else's.
    assert read(served.rng(LETTERS), 26) == ALPHABET


def test_as_much_as_the_limit_allows(served: Served) -> None:
    """And who waits for more does not keep its target from ending."""
    driver = served.rng(SLOW)
    assert read(driver, 26) == ALPHABET[:10]
    waiting = Background(read, driver, 26)
    driver.close()
    with pytest.raises(SessionLost):
        waiting.result()


@pytest.mark.rdma
@pytest.mark.rdma_once
def test_many_threads_share_a_device(served: Served) -> None:
    """What they have got, put together, is what the device gave, each piece once."""
    driver = served.rng(FILE)
    threads = 2 * driver.depth

    def work() -> list[bytes]:
        return [read(driver, 4) for _ in range(len(RECORDS) // threads)]

    workers = [Background(work) for _ in range(threads)]
    assert sorted(piece for worker in workers for piece in worker.result()) == RECORDS


@pytest.mark.rdma
@pytest.mark.rdma_once
def test_tasks_share_a_device(served: Served) -> None:
    driver = served.rng(FILE)
    found: list[bytes] = []

    async def work() -> None:
        for _ in range(len(RECORDS) // driver.depth):
            data = bytearray(4)
            assert await driver.read_in_task(memoryview(data)) == 4
            found.append(bytes(data))

    async def main() -> None:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for _ in range(driver.depth):
                    nursery.start_soon(work)

    trio.run(main)
    assert sorted(found) == RECORDS


def test_sessions_have_their_own_letters(served: Served) -> None:
    one, two = served.rng(LETTERS), served.rng(LETTERS)
    assert read(one, 3) == b"ABC"
    assert read(two, 5) == b"ABCDE"
    assert read(one, 3) == b"DEF"


@pytest.mark.one_dialect
def test_what_the_device_says_of_itself(served: Served) -> None:
    driver = served.rng(LETTERS)
    assert driver.session.device_id == 4
    assert driver.session.queue_sizes.count() == len(driver.session.virtqueues) == 1
    assert driver.depth == 8


@pytest.mark.one_dialect
def test_a_disk_is_no_rng(served: Served) -> None:
    with pytest.raises(ConfigError, match=f"'{BLOCK}' is not a virtio-rng"):
        served.rng(BLOCK)
