# SPDX-License-Identifier: BSD-3-Clause
"""Requests of any shape: cut into buffers anyhow, of every length, with and without an answer."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from tests.conformance.conftest import Served
from tests.conformance.disks import DISK_SIZE, FILE, MEMORY, disks, read, write
from vof.drivers.block import BlockDriver
from vof.wire.blk import REQUEST_HEADER, RequestType, Status

devices = disks

KINDS = [FILE, pytest.param(MEMORY, marks=pytest.mark.rdma)]


def cut(rng: random.Random, size: int, most: int) -> list[int]:
    """Return lengths that add up to ``size``, at most so many and none of them 0."""
    places = sorted(rng.sample(range(1, size), min(rng.randrange(most), size - 1)))
    return [end - start for start, end in zip([0, *places], [*places, size], strict=True)]


def pieces(lengths: Sequence[int], data: memoryview) -> list[memoryview]:
    found = []
    for length in lengths:
        found.append(data[:length])
        data = data[length:]
    assert not data
    return found


def execute(
    driver: BlockDriver,
    kind: int,
    sector: int,
    data: bytes = b"",
    room: int = 0,
    *,
    rng: random.Random,
    most: int = 12,
) -> tuple[int, bytes]:
    """Execute a request whose buffers are cut at random, the status byte among them; return the
    status and what was read.
    """
    payload = memoryview(REQUEST_HEADER.pack(kind, 0, sector) + data)
    answer = bytearray(b"\xdb" * (room + 1))
    readable = cut(rng, len(payload), most)
    writable = cut(rng, len(answer), most)
    queue = driver.session.virtqueues[0]
    pending = queue.submit(
        "request", readable, pieces(readable, payload), pieces(writable, memoryview(answer)), 1
    )
    assert pending is not None
    arrival = queue.wait(pending)
    assert arrival.completion.status == 0
    assert arrival.lengths == writable
    return answer[-1], bytes(answer[:-1])


@pytest.mark.parametrize("tvqn", KINDS)
def test_buffers_cut_anywhere(served: Served, tvqn: str) -> None:
    driver = served.block(tvqn, 1)
    rng = random.Random(f"cuts of {tvqn}")
    for _ in range(served.way.rounds(60)):
        sectors = rng.choice((1, 2, 8, 9, 64))
        data = rng.randbytes(sectors * 512)
        sector = rng.randrange(DISK_SIZE // 512 - sectors)
        assert execute(driver, RequestType.OUT, sector, data, rng=rng) == (Status.OK, b"")
        assert execute(driver, RequestType.IN, sector, room=len(data), rng=rng) == (0, data)
        assert read(driver, sector * 512, len(data)) == data


@pytest.mark.rdma
def test_as_many_buffers_as_there_may_be(served: Served) -> None:
    driver = served.block(MEMORY, 1)
    most = min(driver.session.max_segs, 128)
    data = random.Random("most").randbytes((most - 2) * 512)
    queue = driver.session.virtqueues[0]
    header = REQUEST_HEADER.pack(RequestType.OUT, 0, 0)
    status = memoryview(bytearray(1))
    parts = [memoryview(data)[place : place + 512] for place in range(0, len(data), 512)]
    sizes = [len(header), *map(len, parts)]
    pending = queue.submit("write", sizes, [header, *parts], [status], 1)
    assert pending is not None
    assert queue.wait(pending).lengths == [1]
    assert read(driver, 0, len(data)) == data
    found = memoryview(bytearray(len(data)))
    rooms = [found[place : place + 512] for place in range(0, len(data), 512)]
    header = REQUEST_HEADER.pack(RequestType.IN, 0, 0)
    pending = queue.submit("read", [16], [header], [*rooms, status], 1)
    assert pending is not None
    assert queue.wait(pending).lengths == [*map(len, rooms), 1]
    assert bytes(found) == data


@pytest.mark.rdma
@pytest.mark.rdma_once
def test_every_length_around_a_page(served: Served) -> None:
    """Of the buffers of one request, by the sector that is all a device knows."""
    driver = served.block(FILE, 1)
    rng = random.Random("lengths")
    for sectors in (1, 7, 8, 9, 15, 16, 17, 127, 128, 129, 255, 256, 257):
        data = rng.randbytes(sectors * 512)
        write(driver, 512, data)
        assert read(driver, 512, len(data)) == data
        assert read(driver, 0, 512) == bytes(512)


@pytest.mark.parametrize("tvqn", KINDS)
def test_what_a_device_refuses_is_answered_in_full(served: Served, tvqn: str) -> None:
    """And the queue serves on: the error is that of a request."""
    driver = served.block(tvqn, 1)
    rng = random.Random("refused")
    end = DISK_SIZE // 512
    for kind, sector, data, room, status in (
        (77, 0, b"", 0, Status.UNSUPP),
        (77, 0, bytes(512), 0, Status.UNSUPP),
        (77, 0, b"", 512, Status.UNSUPP),
        (RequestType.IN, end, b"", 512, Status.IOERR),
        (RequestType.IN, end - 1, b"", 1024, Status.IOERR),
        (RequestType.OUT, end, bytes(512), 0, Status.IOERR),
        (RequestType.OUT, 1 << 54, bytes(512), 0, Status.IOERR),
        (RequestType.DISCARD, 0, bytes(15), 0, Status.IOERR),
        (RequestType.WRITE_ZEROES, 0, bytes(17), 0, Status.IOERR),
    ):
        found, answer = execute(driver, kind, sector, data, room, rng=rng, most=3)
        assert found == status, (kind, sector)
        # Nobody's memory in place of what was not read.
        assert answer == bytes(room)
    assert read(driver, DISK_SIZE - 512, 512) == bytes(512)


def test_an_identification_with_any_room(served: Served) -> None:
    driver = served.block(FILE, 1)
    rng = random.Random("serial")
    serial = b"file-disk".ljust(20, b"\0")
    for room in (1, 9, 19, 20, 21, 127):
        status, found = execute(driver, RequestType.GET_ID, 0, room=room, rng=rng)
        assert (status, found) == (Status.OK, serial[:room].ljust(room, b"\0"))
