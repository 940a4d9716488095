# SPDX-License-Identifier: BSD-3-Clause
"""The crypto device over TCP, in hand-made bytes: its config space, sessions, stateless mode."""

from __future__ import annotations

import hashlib
import hmac
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.target.all_devices import FEW, served
from tests.target.crypto_peer import (
    AES_CBC,
    AES_CTR,
    BADMSG,
    DECRYPT,
    ENCRYPT,
    ERR,
    EVERY_MODE,
    GCM,
    HASH,
    HMAC_SHA_256,
    INVSESS,
    KEY_REJECTED,
    MAC,
    NOSPC,
    NOTSUPP,
    OK,
    RSA,
    SHA_256,
    CryptoPeer,
    Request,
    answered_short,
    create_aead,
    create_cipher,
    create_hash,
    create_mac,
    create_rsa,
    data_header,
    run_aead,
    run_cipher,
    run_hash,
    run_rsa,
    verify_rsa,
)
from tests.unit.target.openssl_program import openssl, rsa_key
from vof.target.clock import Clock
from vof.target.config import parse
from vof.target.devices import crypto_sessions

Address = tuple[str, int]


@pytest.fixture
def address(tmp_path: Path) -> Iterator[Address]:
    with served(tmp_path) as where:
        yield where


@pytest.fixture
def peer(address: Address) -> Iterator[CryptoPeer]:
    """A driver as Linux has it: VERSION_1 and nothing else."""
    with CryptoPeer(address, queues=2) as made:
        yield made


def test_what_the_device_says_of_itself(address: Address) -> None:
    with CryptoPeer(address, queues=2) as peer:
        control = peer.association.control
        assert control.control(0x1001) == 20
        assert control.control(0x1005) == EVERY_MODE
        assert control.control(0x1007) == 3
        fields = [control.config(offset, 4) for offset in range(0, 48, 4)]
        status, queues, services, ciphers, _high, hashes, macs, _high2, aeads = fields[:9]
        assert (status, queues, services) == (1, 2, 0b11111)
        assert ciphers & 0b0010_0001_1001_1100 == 0b0010_0001_1001_1100
        assert hashes == 0b111_1111_1100
        assert macs & 0xFF == 0b1111100
        assert control.config(24, 8) >> 26 & 1
        assert aeads == 0b1110
        assert fields[9:] == [64, 512, 0b110]
        assert control.config(48, 8) == 1 << 20
        assert control.try_control(0x100A, 56 | 1 << 16) == (22, 0)
        assert control.try_control(0x100B, 0 | 1 << 16, 0) == (22, 0)


def test_masked_features() -> None:
    text = "[c]\ntvqn = c\nmodel = crypto\nfeatures = {}\nbackend = driver=crypto-openssl\n"
    for mask, offered in ((0x100000002, 1 << 32), (0x3, 3), (0x1_0000_003F, EVERY_MODE), (4, 0)):
        (config,) = parse(text.format(hex(mask)), "x").devices
        device = config.open(Clock())
        assert device.features == offered
        device.close()


def test_a_cipher_session(peer: CryptoPeer) -> None:
    key, iv, data = bytes(range(32)), bytes(range(16)), b"0123456789abcdef" * 40
    session = peer.session(create_cipher(key=key))
    status, secret = peer.run(run_cipher(session, data, iv))
    assert status == OK
    assert secret == openssl(
        *("enc", "-aes-256-cbc", "-K", key.hex(), "-iv", iv.hex(), "-nopad"), data=data
    )
    backwards = peer.session(create_cipher(key=key, op=DECRYPT))
    assert peer.run(run_cipher(backwards, secret, iv, op=DECRYPT)) == (OK, data)
    assert peer.destroy(0, session) == OK
    assert peer.run(run_cipher(session, data, iv)) == (INVSESS, bytes(len(data)))
    assert peer.destroy(0, session) == ERR
    assert peer.run(run_cipher(backwards, secret, iv, op=DECRYPT)) == (OK, data)


def test_a_result_in_many_descriptors(peer: CryptoPeer) -> None:
    session = peer.session(create_cipher(AES_CTR))
    whole = peer.run(run_cipher(session, b"abc" * 11))
    rooms = {(33, 1), (1, 31, 1, 1), (34,), (32, 2), tuple([1] * 34)}
    for room in rooms:
        assert peer.run(run_cipher(session, b"abc" * 11, room=room)) == whole


def test_other_services(peer: CryptoPeer) -> None:
    data = b"some data " * 50
    assert peer.run(run_hash(peer.session(create_hash()), data)) == (
        OK,
        hashlib.sha256(data).digest(),
    )
    session = peer.session(create_mac(key=b"a longer key"))
    expected = hmac.digest(b"a longer key", data, "sha256")
    assert peer.run(run_hash(session, data, service=MAC)) == (OK, expected)
    sealing, opening = peer.session(create_aead()), peer.session(create_aead(op=DECRYPT))
    nonce, aad = bytes(12), b"header"
    status, sealed = peer.run(run_aead(sealing, data, nonce, aad, len(data) + 16))
    assert status == OK
    size = len(data)
    assert peer.run(run_aead(opening, sealed, nonce, aad, size, op=DECRYPT)) == (OK, data)
    # There may be more room than there is text (virtio 1.2 §5.9.7.7); it comes back in full.
    roomy = run_aead(opening, sealed, nonce, aad, size + 20, op=DECRYPT, tag=16)
    assert peer.run(roomy) == (OK, data + bytes(20))
    bad = run_aead(opening, sealed, nonce, aad + b"!", size, op=DECRYPT)
    assert peer.run(bad) == (BADMSG, bytes(size))


def test_rsa(peer: CryptoPeer) -> None:
    private, public = rsa_key(1024)
    signing = peer.session(create_rsa(private, 2, padding=1, digest=6))
    verifying = peer.session(create_rsa(public, 1, padding=1, digest=6))
    digest = hashlib.sha256(b"text").digest()
    status, signature = peer.run(run_rsa(signing, 2, digest, 128))
    assert status == OK
    assert peer.run(verify_rsa(verifying, signature, digest)) == (OK, b"")
    assert peer.run(verify_rsa(verifying, signature, bytes(32))) == (KEY_REJECTED, b"")
    # More room than the signature needs: what comes back is the signature, and says so.
    roomy = run_rsa(signing, 2, digest, 300)
    peer.data.send(roomy.encode())
    assert answered_short(peer.data, roomy.writable) == (signature, b"\0")
    # Less: nothing of it.
    assert peer.run(run_rsa(signing, 2, digest, 127)) == (ERR, bytes(127))
    # A public key neither signs nor decrypts.
    assert peer.run(run_rsa(verifying, 2, digest, 128))[0] == ERR
    assert peer.run(run_rsa(verifying, 1, bytes(128), 128))[0] == ERR


def test_an_empty_result(address: Address) -> None:
    """It would stop Linux, which is told of an error; who negotiated REVISION_1 gets it."""
    private, _public = rsa_key(1024)
    for features, expected in ((1 << 32, None), (EVERY_MODE, (b"", b"\0"))):
        with CryptoPeer(address, queues=2, features=features) as peer:
            request = create_rsa(private, 2, padding=1)
            session = peer.session(request)
            head = data_header(0x400, session, flag=1)
            layout = struct.pack("<II", 0, 128)
            padding = b"" if expected else bytes(40)
            encrypt = Request((head + layout + padding,), (128, 1))
            status, secret = peer.run(encrypt)
            assert status == OK
            head = data_header(0x401, session, flag=1)
            layout = struct.pack("<II", 128, 128)
            decrypt = Request((head + layout + padding, secret), (128, 1))
            peer.data.send(decrypt.encode())
            answer = answered_short(peer.data, decrypt.writable)
            assert answer == (expected or (bytes(128), bytes((ERR,))))


def stateless(opcode: int, fixed: bytes, parts: tuple[bytes, ...], result: int) -> Request:
    return Request((data_header(opcode, 0) + fixed, *parts), (result, 1) if result else (1,))


def cipher_request(algo: int, key: bytes, iv: bytes, data: bytes) -> Request:
    fixed = struct.pack("<6I48xI", algo, len(key), ENCRYPT, len(iv), len(data), len(data), 1)
    return stateless(0x000, fixed, (key, iv, data), len(data))


def test_stateless_mode(address: Address) -> None:
    data, key, iv = b"some data and more".ljust(48), bytes(range(16)), bytes(range(16, 32))
    private, _public = rsa_key(1024)
    with CryptoPeer(address, queues=2, features=EVERY_MODE) as peer:
        hashing = struct.pack("<IIII", SHA_256, len(data), 32, 0)
        assert peer.run(stateless(0x100, hashing, (data,), 32)) == (
            OK,
            hashlib.sha256(data).digest(),
        )
        mac = struct.pack("<IIII", HMAC_SHA_256, len(key), len(data), 32)
        assert peer.run(stateless(0x200, mac, (key, data), 32)) == (
            OK,
            hmac.digest(key, data, "sha256"),
        )
        assert peer.run(cipher_request(AES_CBC, key, iv, data)) == (
            OK,
            openssl(
                *("enc", "-aes-128-cbc", "-K", key.hex(), "-iv", iv.hex(), "-nopad"), data=data
            ),
        )
        sealing = struct.pack("<8I", GCM, 16, ENCRYPT, 12, 16, 3, len(data), len(data) + 16)
        request = stateless(0x300, sealing, (key, iv[:12], data, b"aad"), len(data) + 16)
        status, sealed = peer.run(request)
        assert status == OK
        opening = struct.pack("<8I", GCM, 16, DECRYPT, 12, 16, 3, len(sealed), len(data))
        request = stateless(0x301, opening, (key, iv[:12], sealed, b"aad"), len(data))
        assert peer.run(request) == (OK, data)
        for digest, expected in ((hashlib.sha256(data).digest(), OK), (bytes(31), ERR)):
            signing = struct.pack("<7I", RSA, 2, len(private), 1, 6, len(digest), 128)
            request = stateless(0x402, signing, (private, digest), 128)
            assert peer.run(request)[0] == expected
        # A bad key is the request's own fault, and the next one is served.
        assert peer.run(cipher_request(AES_CBC, key[:-1], iv, data)) == (ERR, bytes(48))
        assert peer.run(cipher_request(AES_CBC, key, iv, data))[0] == OK


@pytest.mark.parametrize("features", [None, 1 << 32, 1 << 32 | 1, 1 << 32 | 0x3D])
def test_stateless_mode_has_to_be_agreed_on(address: Address, features: int | None) -> None:
    request = cipher_request(AES_CBC, bytes(16), bytes(16), bytes(16))
    with CryptoPeer(address, queues=2, features=features) as peer:
        status, result = peer.run(request)
        assert status in {NOTSUPP, ERR, INVSESS}
        assert status == NOTSUPP or not (features or 0) & 1
        assert result == bytes(16)


def test_who_negotiates_nothing_has_the_padded_layouts(address: Address) -> None:
    with CryptoPeer(address, queues=2, features=None) as peer:
        session = peer.session(create_hash())
        assert peer.run(run_hash(session, b""))[1] == hashlib.sha256(b"").digest()


def test_a_reset_ends_every_session(peer: CryptoPeer) -> None:
    session = peer.session(create_hash())
    assert peer.run(run_hash(session, b"x"))[0] == OK
    peer.association.control.control(0x1004, select=0)
    assert peer.run(run_hash(session, b"x")) == (INVSESS, bytes(32))
    other = peer.session(create_hash())
    assert other != session
    assert peer.run(run_hash(other, b"x"))[0] == OK


def test_the_end_of_an_association_overwrites_its_keys(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[crypto_sessions.Session] = []
    wiped = threading.Semaphore(0)

    class Watched(crypto_sessions.Session):
        __slots__ = ()

        def wipe(self) -> None:
            super().wipe()
            made.append(self)
            wiped.release()

    monkeypatch.setattr(crypto_sessions, "Session", Watched)
    with CryptoPeer(address, queues=2) as peer:
        for _ in range(5):
            peer.session(create_cipher(key=b"secret key" + bytes(6)))
    for _ in range(5):
        assert wiped.acquire(timeout=20)
    assert [bytes(session._key) for session in made] == [bytes(16)] * 5


def test_the_number_of_sessions(address: Address) -> None:
    with CryptoPeer(address, FEW) as one, CryptoPeer(address, FEW) as other:
        made = [one.session(create_hash()) for _ in range(4)]
        assert one.try_session(create_hash()) == (NOSPC, 0)
        # Each association has its own number.
        foreign = other.session(create_hash())
        assert one.destroy(HASH, made[2]) == OK
        again = one.session(create_hash())
        assert again not in {*made, foreign}
        assert one.try_session(create_hash())[0] == NOSPC


def test_foreign_sessions(address: Address) -> None:
    with CryptoPeer(address, FEW) as one, CryptoPeer(address, FEW) as other:
        mine, foreign = one.session(create_hash()), other.session(create_hash())
        assert one.run(run_hash(foreign, b"x")) == (INVSESS, bytes(32))
        assert one.destroy(HASH, foreign) == ERR
        assert other.run(run_hash(foreign, b"x"))[0] == OK
        assert one.run(run_hash(mine, b"x"))[0] == OK


def test_sessions_are_good_on_every_data_queue(peer: CryptoPeer) -> None:
    session = peer.session(create_hash())
    first = peer.run(run_hash(session, b"x"))
    peer.data = peer.association.queues[1]
    assert peer.run(run_hash(session, b"x")) == first


def test_the_largest_operations(address: Address) -> None:
    with CryptoPeer(address, queues=2) as peer:
        session = peer.session(create_cipher(AES_CTR))
        most = ((1 << 20) - 16) // 2
        assert peer.run(run_cipher(session, bytes(most)))[0] == OK
        assert peer.run(run_cipher(session, bytes(most + 1))) == (ERR, bytes(most + 1))
        session = peer.session(create_hash())
        most = (1 << 20) - 32
        data = bytes(most)
        assert peer.run(run_hash(session, data)) == (OK, hashlib.sha256(data).digest())
        assert peer.run(run_hash(session, data + b"x"))[0] == ERR
    with CryptoPeer(address, FEW) as peer:
        session = peer.session(create_hash())
        assert peer.run(run_hash(session, bytes(8192 - 32)))[0] == OK
        assert peer.run(run_hash(session, bytes(8192 - 31)))[0] == ERR


def test_several_threads_on_one_queue(tmp_path: Path) -> None:
    with served(tmp_path, threads=4) as address, CryptoPeer(address, queues=2) as peer:
        session = peer.session(create_hash())
        request = run_hash(session, b"x" * 1000)
        peer.data.send(b"".join(request.encode(ident) for ident in range(100)))
        seen = set()
        for _ in range(100):
            done = peer.data.completion()
            seen.add(done.command_id)
            assert done.ndesc == 2
            assert peer.data.receive(48 + 33)[48:-1] == hashlib.sha256(b"x" * 1000).digest()
        assert seen == set(range(100))
