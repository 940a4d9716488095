# SPDX-License-Identifier: BSD-3-Clause
"""Initiators that send a crypto device what makes no sense: an answer with a status, no harm done.

Each is sent beside innocent initiators of every device; after it the same queue serves a good
request. What cannot be answered at all ends the association.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import pytest

from tests.target.conftest import Log
from tests.target.crypto_peer import (
    AES_XTS,
    CIPHER,
    DECRYPT,
    ERR,
    EVERY_MODE,
    INVSESS,
    MAC,
    NOTSUPP,
    OK,
    CryptoPeer,
    Request,
    create_aead,
    create_cipher,
    create_hash,
    create_mac,
    create_rsa,
    data_header,
    destroy,
    operation,
    run_aead,
    run_cipher,
    run_hash,
    run_rsa,
    verify_rsa,
)
from tests.target.peer import vring_bytes
from tests.unit.target.openssl_program import rsa_key

Address = tuple[str, int]
BIG = 0xFFFFFFFF
MIB = 1 << 20


# Operations: what they ask of a session of AES-CBC, to encrypt.

KEY = b"distinctive key!"

BAD_OPERATIONS: dict[str, tuple[Callable[[int], Request], set[int]]] = {
    # CVE-2023-3180: lengths that do not agree.
    "result longer than source": (lambda s: run_cipher(s, bytes(16), dst_len=32), {ERR}),
    "room for the longer result": (
        lambda s: run_cipher(s, bytes(16), dst_len=32, room=(32, 1)),
        {ERR},
    ),
    "result shorter than source": (
        lambda s: run_cipher(s, bytes(32), dst_len=16, room=(16, 1)),
        {ERR},
    ),
    "source longer than what is there": (lambda s: run_cipher(s, bytes(16), src_len=32), {ERR}),
    "source shorter than what is there": (lambda s: run_cipher(s, bytes(32), src_len=16), {ERR}),
    "source of 4 GiB": (lambda s: run_cipher(s, bytes(16), src_len=BIG), {ERR}),
    "all lengths of 4 GiB": (
        lambda s: run_cipher(s, bytes(16), src_len=BIG, dst_len=BIG, iv_len=BIG),
        {ERR},
    ),
    "a sum that wraps 32 bits": (
        lambda s: run_cipher(s, bytes(16), iv_len=0x20, src_len=0xFFFFFFF0, dst_len=16),
        {ERR},
    ),
    "IV longer than what is there": (lambda s: run_cipher(s, bytes(16), iv_len=48), {ERR}),
    "IV that takes of the source": (
        lambda s: run_cipher(s, bytes(32), iv_len=32, src_len=16, dst_len=16, room=(16, 1)),
        {ERR},
    ),
    "no IV": (lambda s: run_cipher(s, bytes(16), b""), {ERR}),
    "IV of 15 bytes": (lambda s: run_cipher(s, bytes(16), bytes(15)), {ERR}),
    "IV of 17 bytes": (lambda s: run_cipher(s, bytes(16), bytes(17)), {ERR}),
    "no whole blocks": (lambda s: run_cipher(s, bytes(17)), {ERR}),
    "room for more than the result": (lambda s: run_cipher(s, bytes(16), room=(40, 1)), {ERR}),
    "room for the status alone": (lambda s: run_cipher(s, bytes(16), room=(1,)), {ERR}),
    "the other direction": (lambda s: run_cipher(s, bytes(16), op=DECRYPT), {ERR}),
    "another service's operation": (lambda s: run_hash(s, bytes(16)), {INVSESS}),
    "another service's, with a key": (lambda s: run_hash(s, b"", service=MAC), {INVSESS}),
    "an AEAD operation": (lambda s: run_aead(s, b"", bytes(12), b"", 16), {INVSESS}),
    "an RSA operation": (lambda s: run_rsa(s, 0, b"x", 128), {INVSESS}),
    "a session that never was": (lambda s: run_cipher(s + 1000, bytes(16)), {INVSESS}),
    "session 0": (lambda _s: run_cipher(0, bytes(16)), {INVSESS}),
    "session 2^64-1": (lambda _s: run_cipher((1 << 64) - 1, bytes(16)), {INVSESS}),
    "chaining": (
        lambda s: operation(
            0, s, struct.pack("<III28xII", 16, 16, 16, 2, 0), (bytes(16), bytes(16)), 16
        ),
        {NOTSUPP},
    ),
    "no operation type": (
        lambda s: operation(
            0, s, struct.pack("<III28xII", 16, 16, 16, 0, 0), (bytes(16), bytes(16)), 16
        ),
        {NOTSUPP},
    ),
    "an opcode of no service": (lambda s: operation(0x500, s, b"", (), 16), {NOTSUPP}),
    "an opcode of no operation": (lambda s: operation(0x0FF, s, b"", (), 16), {NOTSUPP}),
    "all bits of the opcode": (lambda s: operation(BIG, s, b"", (), 16), {NOTSUPP}),
    "a header cut short": (lambda s: Request((data_header(0, s)[:-1],), (16, 1)), {ERR}),
    "an opcode cut short": (lambda _s: Request((b"\0",), (16, 1)), {ERR}),
    "no fixed part": (lambda s: Request((data_header(0, s),), (16, 1)), {ERR}),
    "a fixed part cut short": (
        lambda s: Request((data_header(0, s) + bytes(47),), (16, 1)),
        {ERR},
    ),
    "nothing readable": (lambda _s: Request((), (16, 1)), {ERR}),
    "more than max_size": (lambda s: run_cipher(s, bytes(MIB // 2)), {ERR}),
    # Where it does not belong.
    "a session to be made": (lambda _s: create_cipher(), {NOTSUPP}),
    "an RSA session to be made": (lambda _s: create_rsa(rsa_key(1024)[0], 2), {NOTSUPP}),
    "a session to be destroyed": (lambda s: destroy(CIPHER, s), {NOTSUPP}),
}


@pytest.mark.parametrize("bad", BAD_OPERATIONS.values(), ids=BAD_OPERATIONS)
def test_bad_operations(peer: CryptoPeer, bad: tuple[Callable[[int], Request], set[int]]) -> None:
    request, expected = bad
    session = peer.session(create_cipher(key=KEY))
    status, result = peer.run(request(session))
    assert status in expected
    assert not any(result) or struct.unpack_from("<I", result, 8)[0] in expected
    # The session is as it was.
    assert peer.run(run_cipher(session, bytes(16)))[0] == OK
    assert peer.destroy(CIPHER, session) == OK


OTHER_BAD_OPERATIONS: dict[str, tuple[Request, Callable[[int], Request], int]] = {
    "a digest longer than its session's": (
        create_hash(),
        lambda s: run_hash(s, b"x", 33),
        ERR,
    ),
    "a digest shorter than its session's": (create_hash(), lambda s: run_hash(s, b"x", 31), ERR),
    "no digest": (create_hash(), lambda s: run_hash(s, b"x", 0), ERR),
    "a code longer than its session's": (
        create_mac(size=16),
        lambda s: run_hash(s, b"x", 32, service=MAC),
        ERR,
    ),
    "sealing without room for the tag": (
        create_aead(),
        lambda s: run_aead(s, bytes(20), bytes(12), b"", 20),
        ERR,
    ),
    "sealing with another length of tag": (
        create_aead(),
        lambda s: run_aead(s, bytes(20), bytes(12), b"", 28, tag=8),
        ERR,
    ),
    "opening less than a tag": (
        create_aead(op=DECRYPT),
        lambda s: run_aead(s, bytes(15), bytes(12), b"", 1, op=DECRYPT),
        ERR,
    ),
    "opening into too little": (
        create_aead(op=DECRYPT),
        lambda s: run_aead(s, bytes(36), bytes(12), b"", 19, op=DECRYPT),
        ERR,
    ),
    "a nonce of 7 bytes": (
        create_aead(),
        lambda s: run_aead(s, b"", bytes(7), b"", 16),
        ERR,
    ),
    "no nonce": (create_aead(), lambda s: run_aead(s, b"", b"", b"", 16), ERR),
    "additional data of another length than said": (
        create_aead(aad=5),
        lambda s: run_aead(s, b"", bytes(12), b"1234", 16),
        ERR,
    ),
    "a tweak alone": (
        create_cipher(AES_XTS, key=bytes(range(32))),
        lambda s: run_cipher(s, b""),
        ERR,
    ),
    "less than a block of XTS": (
        create_cipher(AES_XTS, key=bytes(range(32))),
        lambda s: run_cipher(s, bytes(15)),
        ERR,
    ),
    "raw RSA of a number too large": (
        create_rsa(rsa_key(1024)[1], 1),
        lambda s: run_rsa(s, 0, b"\xff" * 128, 128),
        ERR,
    ),
    "raw RSA to sign": (
        create_rsa(rsa_key(1024)[0], 2),
        lambda s: run_rsa(s, 2, b"x", 128),
        NOTSUPP,
    ),
    "raw RSA to verify": (
        create_rsa(rsa_key(1024)[1], 1),
        lambda s: verify_rsa(s, bytes(128), b"x"),
        NOTSUPP,
    ),
    "decryption with a public key": (
        create_rsa(rsa_key(1024)[1], 1, padding=1),
        lambda s: run_rsa(s, 1, bytes(128), 128),
        ERR,
    ),
    "too long for PKCS#1": (
        create_rsa(rsa_key(1024)[1], 1, padding=1),
        lambda s: run_rsa(s, 0, bytes(118), 128),
        ERR,
    ),
    "no room for the result": (
        create_rsa(rsa_key(1024)[1], 1, padding=1),
        lambda s: run_rsa(s, 0, b"x", 127),
        ERR,
    ),
}


@pytest.mark.parametrize("bad", OTHER_BAD_OPERATIONS.values(), ids=OTHER_BAD_OPERATIONS)
def test_other_bad_operations(
    peer: CryptoPeer, bad: tuple[Request, Callable[[int], Request], int]
) -> None:
    made, request, expected = bad
    status, result = peer.run(request(peer.session(made)))
    assert status == expected
    assert not any(result)


def test_a_reserved_session_id_and_one_used_again(peer: CryptoPeer) -> None:
    """Ids that were given are not given again, in this association or another."""
    seen = set()
    for _ in range(50):
        session = peer.session(create_cipher())
        assert session not in seen
        seen.add(session)
        assert peer.destroy(CIPHER, session) == OK
        assert peer.run(run_cipher(session, bytes(16))) == (INVSESS, bytes(16))


# What cannot be answered.


@pytest.mark.parametrize("on_control", [False, True])
def test_no_room_for_a_status(address: Address, log: Log, on_control: bool) -> None:
    with CryptoPeer(address, queues=2) as peer:
        queue = peer.control if on_control else peer.data
        queue.send(vring_bytes([(72, 0, 0)], bytes(72)))
        assert peer.association.is_closed()
    (line,) = log.lines("violation")
    assert "has no room for its status" in line


@pytest.mark.parametrize(
    "data",
    [
        vring_bytes([(72, 0, 0), (2 * MIB, 1, 2)], bytes(72)),
        vring_bytes([(1, ident, 2) for ident in range(257)]),
    ],
    ids=["too large", "too many descriptors"],
)
def test_requests_beyond_every_limit(address: Address, log: Log, data: bytes) -> None:
    with CryptoPeer(address, queues=2) as peer:
        peer.data.send(data)
        assert peer.association.is_closed()
    assert len(log.lines("violation")) == 1


@pytest.mark.parametrize("features", [1 << 32, EVERY_MODE])
@pytest.mark.parametrize("seed", range(8))
def test_random_bytes(
    peer: CryptoPeer, address: Address, log: Log, seed: int, features: int
) -> None:
    """Good requests with a few bytes spoilt: each is answered in full."""
    chance = random.Random(seed)
    private, public = rsa_key(1024)
    with CryptoPeer(address, queues=2, features=features) as offender:
        controls = [
            create_cipher(),
            create_hash(),
            create_mac(),
            create_aead(),
            create_rsa(private, 2),
            create_rsa(public, 1, padding=1, digest=6),
            destroy(CIPHER, 3),
        ]
        operations = [
            run_cipher(1, bytes(32)),
            run_hash(2, b"x"),
            run_aead(3, bytes(16), bytes(12), b"a", 32),
            run_rsa(4, 0, bytes(100), 128),
            verify_rsa(5, bytes(128), bytes(32)),
        ]
        for queue, requests in ((offender.control, controls), (offender.data, operations)):
            for _ in range(60):
                request = chance.choice(requests)
                raw = bytearray(b"".join(request.readable))
                for _ in range(chance.randint(1, 4)):
                    raw[chance.randrange(min(80, len(raw)))] = chance.choice((0, 1, 2, 16, 255))
                room = tuple(chance.randint(1, 40) for _ in range(chance.randint(1, 3)))
                room = chance.choice((request.room, room))
                spoilt = Request((bytes(raw),), room)
                answered_any(offender, queue, spoilt)
    assert not log.lines("internal-error")
    assert not log.lines("violation")


def answered_any(offender: CryptoPeer, queue: object, request: Request) -> None:
    peer = offender.control if queue is offender.control else offender.data
    peer.send(request.encode())
    done = peer.completion()
    assert (done.status, done.ndesc) == (0, len(request.room))
    assert done.value <= sum(request.room)
    peer.receive(24 * done.ndesc + done.value)


def test_keys_are_never_logged(address: Address, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    with CryptoPeer(address, queues=2) as peer:
        for key in (KEY, KEY + b"!"):
            peer.try_session(create_cipher(key=key))
            peer.try_session(create_mac(key=key, size=99))
            peer.try_session(create_rsa(KEY * 8, 2))
        peer.data.send(vring_bytes([(16, 0, 0)], KEY))
        assert peer.association.is_closed()
    text = caplog.text
    assert "violation" in text
    assert "distinctive" not in text
    assert KEY.hex() not in text
    assert "100, 105, 115, 116" not in text
