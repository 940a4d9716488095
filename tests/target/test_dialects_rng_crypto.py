# SPDX-License-Identifier: BSD-3-Clause
"""Entropy and crypto devices in v5: answers that are shorter than their room."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.target.all_devices import FILE, LETTERS, RNG0, Everyone, served
from tests.target.conftest import Log
from tests.target.crypto_peer import (
    CRYPTO0,
    ERR,
    OK,
    Request,
    create_cipher,
    create_rsa,
    run_cipher,
    run_rsa,
)
from tests.target.peer import Peer
from tests.target.speakers import V5, vq_bytes
from tests.unit.target.openssl_program import rsa_key

Address = tuple[str, int]


@pytest.fixture
def address(tmp_path: Path) -> Iterator[Address]:
    with served(tmp_path) as where, Everyone(where) as everyone:
        yield where
        everyone.check()


def run(peer: Peer, payload: bytes, room: int) -> tuple[int, bytes]:
    """Execute a request; return the completion's in_length and the bytes that came back."""
    peer.send(vq_bytes(payload, room, command_id=77))
    status, ident, reserved, length, in_length = struct.unpack("<HH4sII", peer.receive(16))
    assert (status, ident, reserved) == (0, 77, bytes(4))
    return in_length, peer.receive(length)


def test_random_bytes(address: Address) -> None:
    with V5.attach(address, LETTERS) as association:
        assert run(association.queue, b"", 5) == (5, b"ABCDE")
        assert run(association.queue, b"", 3) == (3, b"FGH")
    with V5.attach(address, RNG0) as association:
        _in_length, data = run(association.queue, b"", 1 << 20)
        assert (len(data), len(set(data))) == (1 << 20, 256)


def test_fewer_random_bytes_than_there_is_room_for(address: Address) -> None:
    with V5.attach(address, FILE) as association:
        assert run(association.queue, b"", 90) == (90, bytes(range(90)))
        assert run(association.queue, b"", 4096) == (4096, bytes(range(90, 100)))


@pytest.mark.parametrize(
    "data",
    [vq_bytes(b"abcd", 16), vq_bytes(b"", 0), vq_bytes(b"", (1 << 20) + 1)],
    ids=["device-readable bytes", "no room", "too much room"],
)
def test_requests_that_are_violations(address: Address, log: Log, data: bytes) -> None:
    with V5.attach(address, RNG0) as association:
        association.queue.send(data)
        assert association.is_closed()
    (line,) = log.lines("violation")
    assert f"tvqn={RNG0}" in line


def crypto(peer: Peer, request: Request) -> tuple[int, bytes]:
    return run(peer, b"".join(request.readable), sum(request.room))


def session(peer: Peer, request: Request) -> int:
    in_length, answer = crypto(peer, request)
    number, status, _pad = struct.unpack("<QII", answer)
    assert (in_length, status) == (16, OK)
    return int(number)


def test_a_status_stands_at_the_end_of_the_area(address: Address) -> None:
    """A result shorter than its room leaves a gap, which holds nobody's bytes."""
    private, public = rsa_key(1024)
    with V5.attach(address, CRYPTO0, queues=3) as association:
        data, _second, control = association.queues
        signing = session(control, create_rsa(private, 2, padding=1, digest=6))
        verifying = session(control, create_rsa(public, 1, padding=1, digest=6))
        encrypting = session(control, create_cipher())
        # What the target's buffer held before: other results.
        used, secret = crypto(data, run_cipher(encrypting, b"\xee" * 512))
        assert (used, len(secret), secret[-1]) == (513, 513, OK)
        digest = hashlib.sha256(b"text").digest()
        used, exact = crypto(data, run_rsa(signing, 2, digest, 128))
        assert (used, len(exact), exact[-1]) == (129, 129, OK)
        used, roomy = crypto(data, run_rsa(signing, 2, digest, 300))
        assert used == 129
        assert roomy == exact[:128] + bytes(172) + bytes([OK])
        # Errors come back in full.
        used, refused = crypto(data, run_rsa(verifying, 2, digest, 300))
        assert (used, refused) == (301, bytes(300) + bytes([ERR]))
