# SPDX-License-Identifier: BSD-3-Clause
"""Bad requests on a crypto device's control queue, and floods of good ones."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.target.all_devices import Everyone, all_devices
from tests.target.conftest import Log
from tests.target.crypto_peer import (
    AEAD,
    AES_CBC,
    AES_CTR,
    AES_XTS,
    AKCIPHER,
    CIPHER,
    CRYPTO0,
    ERR,
    HASH,
    NOSPC,
    NOTSUPP,
    OK,
    CryptoPeer,
    Request,
    answered,
    create,
    create_aead,
    create_cipher,
    create_hash,
    create_mac,
    create_rsa,
    destroy,
    run_cipher,
    verify_rsa,
)
from tests.target.process import TargetProcess
from tests.unit.target.openssl_program import rsa_key

Address = tuple[str, int]
BIG = 0xFFFFFFFF
MIB = 1 << 20


def key_length(request: Request, value: int, place: int = 20) -> Request:
    """The same request with a lie about its key."""
    head = request.readable[0]
    head = head[:place] + struct.pack("<I", value) + head[place + 4 :]
    return Request((head, *request.readable[1:]), request.room)


BAD_SESSIONS: dict[str, tuple[Request, int]] = {
    "no algorithm": (create_cipher(0), NOTSUPP),
    "ARC4": (create_cipher(1), NOTSUPP),
    "DES": (create_cipher(6, key=bytes(8)), NOTSUPP),
    "an algorithm of no number": (create_cipher(BIG), NOTSUPP),
    "MD5": (create_hash(1, 16), NOTSUPP),
    "SHAKE128": (create_hash(11, 16), NOTSUPP),
    "HMAC of MD5": (create_mac(1, 16), NOTSUPP),
    "an AEAD of no number": (create_aead(4), NOTSUPP),
    "DSA": (create(AKCIPHER, struct.pack("<5I", 9, 1, 1, 0, 0), b"k"), NOTSUPP),
    "a curve of no number": (create(AKCIPHER, struct.pack("<5I", 2, 1, 1, 6, 0), b"k"), NOTSUPP),
    "RSA-PSS": (create_rsa(rsa_key(1024)[0], 2, padding=2), NOTSUPP),
    "a direction of no number": (create_cipher(op=3), NOTSUPP),
    "a kind of key of no number": (create_rsa(rsa_key(1024)[0], 3), ERR),
    "no key": (create_cipher(key=b""), ERR),
    "a key of 15 bytes": (create_cipher(key=bytes(15)), ERR),
    "a key of 17 bytes": (create_cipher(key=bytes(17)), ERR),
    "a key of 65 bytes": (create_cipher(key=bytes(65)), ERR),
    "an XTS key of 48 bytes": (create_cipher(AES_XTS, key=bytes(range(48))), ERR),
    "XTS keys that are the same": (create_cipher(AES_XTS, key=bytes(32)), ERR),
    "a MAC key of 513 bytes": (create_mac(key=bytes(513)), ERR),
    "an AEAD key of 20 bytes": (create_aead(key=bytes(20)), ERR),
    "a key longer than what is there": (key_length(create_cipher(), 32), ERR),
    "a key shorter than what is there": (key_length(create_cipher(), 15), ERR),
    "a key of 4 GiB": (key_length(create_cipher(), BIG), ERR),
    "a private key that is a public one": (create_rsa(rsa_key(1024)[1], 2), ERR),
    "a public key that is a private one": (create_rsa(rsa_key(1024)[0], 1), ERR),
    "an RSA key of zeros": (create_rsa(bytes(600), 2), ERR),
    "an RSA key of 1 MiB": (create_rsa(b"\x30" * MIB, 2), ERR),
    "no digest": (create_hash(size=0), ERR),
    "a digest of 33 bytes": (create_hash(size=33), ERR),
    "a digest of 4 GiB": (create_hash(size=BIG), ERR),
    "no code": (create_mac(size=0), ERR),
    "a code of 33 bytes": (create_mac(size=33), ERR),
    "no tag": (create_aead(tag=0), ERR),
    "a tag of 3 bytes": (create_aead(tag=3), ERR),
    "a tag of 17 bytes": (create_aead(tag=17), ERR),
    "a tag of 4 GiB": (create_aead(tag=BIG), ERR),
    "chaining": (
        create(CIPHER, struct.pack("<IIII32xII", AES_CBC, 16, 1, 0, 2, 0), bytes(16)),
        NOTSUPP,
    ),
    "a header cut short": (Request((create_cipher().readable[0][:15],), (16,)), ERR),
    "a fixed part cut short": (Request((create_cipher().readable[0][:71],), (16,)), ERR),
    "nothing readable": (Request((), (16,)), ERR),
    "the layout of REVISION_1": (
        create(HASH, struct.pack("<II", 4, 32), padded=False),
        ERR,
    ),
    "room for 17 bytes of answer": (Request(create_hash().readable, (17,)), ERR),
    "room for two answers": (Request(create_hash().readable, (16, 16)), ERR),
    "an opcode of no service": (Request((struct.pack("<IIII", 0x502, 0, 0, 0),), (16,)), NOTSUPP),
}


@pytest.mark.parametrize("bad", BAD_SESSIONS.values(), ids=BAD_SESSIONS)
def test_bad_sessions(peer: CryptoPeer, log: Log, bad: tuple[Request, int]) -> None:
    request, expected = bad
    answer = answered(peer.control.send(request.encode()), request)
    session, status = struct.unpack_from("<QI", answer)
    assert (session, status) == (0, expected)
    assert not log.lines("violation")
    assert not log.lines("internal-error")


def test_too_little_room_for_an_answer(peer: CryptoPeer) -> None:
    for room in range(1, 16):
        request = Request(create_hash().readable, (room,))
        answer = answered(peer.control.send(request.encode()), request)
        assert answer[-1] == ERR
        assert not any(answer[:-1])


BAD_DESTRUCTIONS: dict[str, Callable[[int], Request]] = {
    "of another service": lambda s: destroy(HASH, s),
    "of AEAD": lambda s: destroy(AEAD, s),
    "of what never was": lambda s: destroy(CIPHER, s + 1000),
    "of session 0": lambda _s: destroy(CIPHER, 0),
    "cut short": lambda s: Request((destroy(CIPHER, s).readable[0][:20],), (1,)),
    "with more than there is to say": lambda s: Request(
        (destroy(CIPHER, s).readable[0] + b"x",), (1,)
    ),
    "with room for 2 bytes": lambda s: Request(destroy(CIPHER, s).readable, (2,)),
    "with room for 16 bytes": lambda s: Request(destroy(CIPHER, s).readable, (16,)),
}


@pytest.mark.parametrize("bad", BAD_DESTRUCTIONS.values(), ids=BAD_DESTRUCTIONS)
def test_bad_destructions(peer: CryptoPeer, bad: Callable[[int], Request]) -> None:
    session = peer.session(create_cipher())
    request = bad(session)
    assert answered(peer.control.send(request.encode()), request)[-1] == ERR
    assert peer.run(run_cipher(session, bytes(16)))[0] == OK


def test_operations_on_the_control_queue(peer: CryptoPeer) -> None:
    session = peer.session(create_cipher(AES_CTR))
    for size in (1, 7, 15, 16, 100):
        request = run_cipher(session, bytes(size))
        answer = answered(peer.control.send(request.encode()), request)
        assert answer[-1] == NOTSUPP
    request = verify_rsa(session, b"x", b"x")
    assert answered(peer.control.send(request.encode()), request) == bytes((NOTSUPP,))


def test_a_hundred_thousand_sessions(tmp_path: Path) -> None:
    """There is room for as many as the limit says, the rest is refused, and nothing grows."""
    folder = tmp_path / "other"
    folder.mkdir()
    config = folder / "vtgt.conf"
    config.write_text(all_devices(folder), encoding="utf-8")
    count, batch = 100_000, 500
    with TargetProcess(config) as process, CryptoPeer(process.address, queues=2) as peer:
        requests = b"".join(create_cipher().encode(ident) for ident in range(batch))
        answer = struct.Struct("<HHH10x24xQII")
        made: list[int] = []
        refused = 0
        memory = process.resident()
        for _ in range(count // batch):
            peer.control.send(requests)
            answers = peer.control.receive(batch * answer.size)
            for place, found in enumerate(answer.iter_unpack(answers)):
                status, command_id, ndesc, session, result, _pad = found
                assert (status, command_id, ndesc) == (0, place, 1)
                if result == OK:
                    made.append(session)
                else:
                    assert (result, session) == (NOSPC, 0)
                    refused += 1
        assert (len(set(made)), refused) == (256, count - 256)
        assert process.resident() - memory < 16 * MIB
        assert peer.run(run_cipher(made[0], bytes(16)))[0] == OK
        assert peer.destroy(CIPHER, made[0]) == OK
        assert peer.session(create_cipher()) not in made
        with Everyone(process.address), CryptoPeer(process.address, CRYPTO0, queues=2) as other:
            assert other.session(create_hash()) not in made
        assert process.stop() == 0


def test_session_floods_of_many_associations(address: Address) -> None:
    peers = [CryptoPeer(address, CRYPTO0, queues=2) for _ in range(4)]
    try:
        ids = [peer.session(create_hash()) for peer in peers for _ in range(64)]
        assert len(set(ids)) == len(ids)
    finally:
        for peer in peers:
            peer.close()
