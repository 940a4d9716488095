# SPDX-License-Identifier: BSD-3-Clause
"""Requests that do not go the way of small ones: through buffers of their own, or without any."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.target.conftest import Serve, address_of
from tests.target.peer import (
    BLOCK0,
    BLOCK2,
    IN,
    IOERR,
    OK,
    OUT,
    Association,
    Peer,
    header,
    request_bytes,
    vring_bytes,
)

KIB, MIB = 1 << 10, 1 << 20
SIZE = 4 * MIB
"""Of block0's image."""

SIZES = [64 * KIB, 80 * KIB, 128 * KIB, 128 * KIB + 512, MIB - 512, MIB, MIB + 512, 3 * MIB]


@pytest.fixture(params=[1, 4])
def association(serve: Serve, request: pytest.FixtureRequest) -> Iterator[Association]:
    with Association(address_of(serve(threads=request.param)), features=1 << 32 | 1 << 9) as it:
        yield it


@pytest.fixture
def queue(association: Association) -> Peer:
    return association.queue


@pytest.fixture
def image(tmp_path: Path, queue: Peer) -> bytes:
    """What is in the image, which is in the page cache."""
    data = random.Random(1).randbytes(SIZE)
    (tmp_path / "target0/block0.img").write_bytes(data)
    return data


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sector", [0, 1, 7, 8])
def test_reads(queue: Peer, image: bytes, size: int, sector: int) -> None:
    data = image[512 * sector : 512 * sector + size]
    assert queue.request(IN, sector, room=size) == (OK, data)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sector", [0, 3, 8])
def test_writes(queue: Peer, image: bytes, size: int, sector: int) -> None:
    data = random.Random(size).randbytes(size)
    assert queue.request(OUT, sector, data) == (OK, b"")
    expected = image[: 512 * sector] + data + image[512 * sector + size :]
    assert queue.request(IN, 0, room=SIZE) == (OK, expected)


@pytest.mark.parametrize("size", SIZES)
def test_a_file_that_ends_inside_a_read(
    queue: Peer, image: bytes, tmp_path: Path, size: int
) -> None:
    """Nothing of what could be read comes back, and what comes next is not mixed up with it."""
    os.truncate(tmp_path / "target0/block0.img", size - 512)
    assert queue.request(IN, 0, room=size) == (IOERR, bytes(size))
    for _ in range(3):
        assert queue.request(IN, 0, room=size - 512) == (OK, image[: size - 512])


@pytest.mark.parametrize("tvqn", [BLOCK0, BLOCK2])
def test_small_and_large_reads_sent_together(serve: Serve, tmp_path: Path, tvqn: str) -> None:
    """Each completion is whole, whatever order they come in."""
    sizes = [512, MIB, 4096, 200 * KIB, 512, 70 * KIB, 2 * MIB, 512] * 4
    with Association(address_of(serve(threads=4)), tvqn) as association:
        queue = association.queue
        data = random.Random(2).randbytes(SIZE)
        assert queue.request(OUT, 0, data) == (OK, b"")
        for ident, size in enumerate(sizes):
            queue.send(request_bytes(IN, ident, room=size, command_id=ident))
        seen = set()
        for _ in sizes:
            ident = queue.completion().command_id
            queue.receive(48)
            size = sizes[ident]
            assert queue.receive(size + 1) == data[512 * ident : 512 * ident + size] + b"\0"
            seen.add(ident)
        assert seen == set(range(len(sizes)))


def test_a_payload_and_the_next_command_in_one_piece(queue: Peer) -> None:
    """What follows a large payload on the stream is not lost with it."""
    data = random.Random(3).randbytes(300 * KIB)
    descriptors = [(16, 0, 0), (len(data), 1, 0), (1, 2, 2)]
    stream = b"".join(
        vring_bytes(descriptors, header(OUT, 1 + ident) + data, command_id=ident)
        + request_bytes(OUT, 4000 + ident, data[:512], command_id=100 + ident)
        for ident in range(6)
    )
    queue.send(stream)
    seen = set()
    for _ in range(12):
        answer = queue.completion()
        assert queue.receive(25)[-1] == OK
        seen.add(answer.command_id)
    assert seen == {*range(6), *range(100, 106)}
    assert queue.request(IN, 4005, room=512) == (OK, data[:512])


def test_ids_are_free_again_with_their_completions(queue: Peer, image: bytes) -> None:
    """Large and small requests under a few ids, each used again as soon as it is seen."""
    sizes = [512, 256 * KIB, 4096, MIB]
    turn = 0
    for ident in range(4):
        queue.send(request_bytes(IN, 0, room=sizes[ident], command_id=ident))
    pending = dict(enumerate(sizes))
    while pending:
        ident = queue.completion().command_id
        queue.receive(48)
        size = pending.pop(ident)
        assert queue.receive(size + 1) == image[:size] + b"\0"
        turn += 1
        if turn < 200:
            pending[ident] = sizes[turn % 4]
            queue.send(request_bytes(IN, 0, room=pending[ident], command_id=ident))
