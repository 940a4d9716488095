# SPDX-License-Identifier: BSD-3-Clause
"""Every algorithm of crypto-openssl beside someone else's answer: the ``openssl`` program, Python's
hashlib and hmac, or a published test vector; and every length that is not the algorithm's.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.target.openssl_program import openssl
from vof.target.backends.crypto_openssl import OpensslBackend
from vof.wire.crypto import (
    AeadAlgorithm,
    BadRequest,
    CipherAlgorithm,
    DataOpcode,
    Direction,
    HashAlgorithm,
    MacAlgorithm,
    Service,
    Status,
)
from vof.wire.crypto_operations import DataRequest
from vof.wire.crypto_parameters import (
    AeadParameters,
    CipherParameters,
    HashParameters,
    MacParameters,
)

BACKEND = OpensslBackend()
ENCRYPT, DECRYPT = Direction.ENCRYPT, Direction.DECRYPT
CA, AA = CipherAlgorithm, AeadAlgorithm

CIPHERS = [
    (CA.AES_ECB, 16, 0, 16, "aes-128-ecb"),
    (CA.AES_ECB, 24, 0, 16, "aes-192-ecb"),
    (CA.AES_ECB, 32, 0, 16, "aes-256-ecb"),
    (CA.AES_CBC, 16, 16, 16, "aes-128-cbc"),
    (CA.AES_CBC, 24, 16, 16, "aes-192-cbc"),
    (CA.AES_CBC, 32, 16, 16, "aes-256-cbc"),
    (CA.AES_CTR, 16, 16, 1, "aes-128-ctr"),
    (CA.AES_CTR, 24, 16, 1, "aes-192-ctr"),
    (CA.AES_CTR, 32, 16, 1, "aes-256-ctr"),
    (CA.TRIPLE_DES_ECB, 24, 0, 8, "des-ede3-ecb"),
    (CA.TRIPLE_DES_CBC, 24, 8, 8, "des-ede3-cbc"),
]
"""Algorithm, key, IV, unit of data, and OpenSSL's name."""


def cipher(
    algo: CipherAlgorithm, direction: Direction, key: bytes, iv: bytes, data: bytes
) -> bytes:
    opcode = DataOpcode.CIPHER_ENCRYPT if direction == ENCRYPT else DataOpcode.CIPHER_DECRYPT
    context = BACKEND.prepare(CipherParameters(algo, direction, bytearray(key)))
    return context.execute(
        DataRequest(opcode, src=memoryview(data), result_len=len(data), iv=memoryview(iv))
    )


def aead(
    algo: AeadAlgorithm,
    direction: Direction,
    key: bytes,
    nonce: bytes,
    data: bytes,
    aad: bytes = b"",
    *,
    tag: int = 16,
) -> bytes:
    opcode = DataOpcode.AEAD_ENCRYPT if direction == ENCRYPT else DataOpcode.AEAD_DECRYPT
    context = BACKEND.prepare(AeadParameters(algo, direction, bytearray(key), tag))
    return context.execute(
        DataRequest(
            opcode,
            src=memoryview(data),
            result_len=len(data) + tag,
            iv=memoryview(nonce),
            aad=memoryview(aad),
        )
    )


def digest(algo: HashAlgorithm, data: bytes, size: int) -> bytes:
    request = DataRequest(DataOpcode.HASH, src=data, result_len=size)
    return BACKEND.prepare(HashParameters(algo, size)).execute(request)


def mac(algo: MacAlgorithm, key: bytes, data: bytes, size: int) -> bytes:
    request = DataRequest(DataOpcode.MAC, src=data, result_len=size)
    return BACKEND.prepare(MacParameters(algo, size, bytearray(key))).execute(request)


def outcome(execute: Callable[[], bytes]) -> bytes | Status:
    """Return the result, or the status where there is none."""
    try:
        return execute()
    except BadRequest as error:
        return error.status


def test_what_this_library_has() -> None:
    offer = BACKEND.offer
    assert {row[0] for row in CIPHERS} | {CA.AES_XTS} <= set(offer[Service.CIPHER])
    assert {f"{algo.name}" for algo in offer[Service.HASH]} >= {"SHA1", "SHA_512", "SHA3_512"}
    assert set(offer[Service.AEAD]) == {AA.GCM, AA.CCM, AA.CHACHA20_POLY1305}
    assert len(offer[Service.AKCIPHER]) == 2


@pytest.mark.parametrize(
    ("algo", "key_size", "iv_size", "unit", "name"), CIPHERS, ids=[row[4] for row in CIPHERS]
)
def test_ciphers(algo: CipherAlgorithm, key_size: int, iv_size: int, unit: int, name: str) -> None:
    key, iv = bytes(range(7, 7 + key_size)), bytes(range(200, 200 + iv_size))
    vector = ["-iv", iv.hex()] if iv else []
    for units in (1, 2, 33):
        data = hashlib.shake_128(name.encode()).digest(units * unit)
        enc = ["enc", f"-{name}", "-K", key.hex(), *vector, "-nopad"]
        secret = cipher(algo, ENCRYPT, key, iv, data)
        assert secret == openssl(*enc, data=data)
        assert cipher(algo, DECRYPT, key, iv, secret) == data
    assert cipher(algo, ENCRYPT, key, iv, b"") == b""


def test_xts() -> None:
    """IEEE 1619 vectors 2 and 15, which steals ciphertext."""
    key = bytes.fromhex("11" * 16 + "22" * 16)
    tweak = bytes.fromhex("33" * 5).ljust(16, b"\0")
    secret = bytes.fromhex("c454185e6a16936e39334038acef838bfb186fff7480adc4289382ecd6d394f0")
    assert cipher(CA.AES_XTS, ENCRYPT, key, tweak, b"\x44" * 32) == secret
    assert cipher(CA.AES_XTS, DECRYPT, key, tweak, secret) == b"\x44" * 32
    key = bytes.fromhex("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0bfbebdbcbbbab9b8b7b6b5b4b3b2b1b0")
    tweak = bytes.fromhex("9a78563412").ljust(16, b"\0")
    secret = bytes.fromhex("6c1625db4671522d3d7599601de7ca09ed")
    assert cipher(CA.AES_XTS, ENCRYPT, key, tweak, bytes(range(17))) == secret
    wide = bytes(range(64))
    for size in (16, 17, 31, 512, 4096):
        data = bytes(size)
        secret = cipher(CA.AES_XTS, ENCRYPT, wide, tweak, data)
        assert cipher(CA.AES_XTS, DECRYPT, wide, tweak, secret) == data != secret


@given(st.sampled_from(CIPHERS), st.integers(0, 80), st.integers(0, 24), st.integers(0, 80))
def test_lengths_of_ciphers(
    row: tuple[CipherAlgorithm, int, int, int, str], key: int, iv: int, size: int
) -> None:
    algo, _key, iv_size, unit, _name = row
    keys = {row[1] for row in CIPHERS if row[0] == algo}
    good = key in keys and iv == iv_size and not size % unit
    result = outcome(lambda: cipher(algo, ENCRYPT, bytes(range(key)), bytes(iv), bytes(size)))
    if good:
        assert isinstance(result, bytes)
        assert len(result) == size
    else:
        assert result == Status.ERR


@given(st.integers(0, 80), st.integers(0, 24), st.integers(0, 80))
def test_lengths_of_xts(key: int, iv: int, size: int) -> None:
    good = key in {32, 64} and iv == 16 and (size >= 16)
    result = outcome(lambda: cipher(CA.AES_XTS, DECRYPT, bytes(range(key)), bytes(iv), bytes(size)))
    if good:
        assert isinstance(result, bytes)
        assert len(result) == size
    else:
        assert result == Status.ERR


def test_a_tweak_key_that_is_the_data_key() -> None:
    with pytest.raises(BadRequest) as caught:
        cipher(CA.AES_XTS, ENCRYPT, bytes(64), bytes(16), bytes(16))
    assert caught.value.status == Status.ERR
    assert caught.value.__suppress_context__


GCM_KEY = bytes.fromhex("feffe9928665731c6d6a8f9467308308")
GCM_NONCE = bytes.fromhex("cafebabefacedbaddecaf888")
GCM_TEXT = bytes.fromhex(
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e24"
    "49a6b525b16aedf5aa0de657ba637b39"
)
GCM_AAD = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
GCM_RESULT = bytes.fromhex(
    "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5a"
    "ac84aa051ba30b396a0aac973d58e091"
    "5bc94fbc3221a5db94fae95ae7121a47"
)
CCM_KEY = bytes(range(0xC0, 0xD0))
CCM_NONCE = bytes.fromhex("00000003020100a0a1a2a3a4a5")
CCM_RESULT = bytes.fromhex("588c979a61c663d2f066d0c2c0f989806d5f6b61dac38417e8d12cfdf926e0")
CHACHA_RESULT = bytes.fromhex(
    "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69"
    "da92728b1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad67594"
    "5585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691"
)
CHACHA_TEXT = (
    b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
    b"sunscreen would be it."
)

AEADS = {
    "gcm, McGrew and Viega 4, with the last block": (
        AA.GCM,
        GCM_KEY,
        GCM_NONCE,
        GCM_TEXT,
        b"",
        None,
        16,
    ),
    "gcm, McGrew and Viega 4": (
        AA.GCM,
        GCM_KEY,
        GCM_NONCE,
        GCM_TEXT[:60],
        GCM_AAD,
        GCM_RESULT,
        16,
    ),
    "ccm, RFC 3610 packet 1": (
        AA.CCM,
        CCM_KEY,
        CCM_NONCE,
        bytes(range(8, 31)),
        bytes(range(8)),
        CCM_RESULT,
        8,
    ),
    "chacha20-poly1305, RFC 8439 2.8.2": (
        AA.CHACHA20_POLY1305,
        bytes(range(0x80, 0xA0)),
        bytes.fromhex("070000004041424344454647"),
        CHACHA_TEXT,
        bytes.fromhex("50515253c0c1c2c3c4c5c6c7"),
        CHACHA_RESULT,
        16,
    ),
}


@pytest.mark.parametrize("row", AEADS.values(), ids=AEADS)
def test_aeads(
    row: tuple[AeadAlgorithm, bytes, bytes, bytes, bytes, bytes | None, int],
) -> None:
    algo, key, nonce, text, aad, expected, tag = row
    secret = aead(algo, ENCRYPT, key, nonce, text, aad, tag=tag)
    if expected is not None:
        assert secret == expected
    assert len(secret) == len(text) + tag
    assert aead(algo, DECRYPT, key, nonce, secret, aad, tag=tag) == text
    for place in (0, len(secret) - 1):
        spoilt = bytearray(secret)
        spoilt[place] ^= 1
        with pytest.raises(BadRequest) as caught:
            aead(algo, DECRYPT, key, nonce, bytes(spoilt), aad, tag=tag)
        assert caught.value.status == Status.BADMSG
    with pytest.raises(BadRequest) as caught:
        aead(algo, DECRYPT, key, nonce, secret, aad + b"x", tag=tag)
    assert caught.value.status == Status.BADMSG


@pytest.mark.parametrize("tag", [4, 8, 12, 13, 14, 15])
def test_a_short_gcm_tag_is_the_beginning_of_the_whole(tag: int) -> None:
    secret = aead(AA.GCM, ENCRYPT, GCM_KEY, GCM_NONCE, GCM_TEXT[:60], GCM_AAD, tag=tag)
    assert secret == GCM_RESULT[: 60 + tag]
    assert aead(AA.GCM, DECRYPT, GCM_KEY, GCM_NONCE, secret, GCM_AAD, tag=tag) == GCM_TEXT[:60]


AEAD_LENGTHS = {
    AA.GCM: ({16, 24, 32}, range(8, 129), {4, 8, 12, 13, 14, 15, 16}),
    AA.CCM: ({16, 24, 32}, range(7, 14), {4, 6, 8, 10, 12, 14, 16}),
    AA.CHACHA20_POLY1305: ({32}, range(12, 13), {16}),
}


@given(
    st.sampled_from(sorted(AEAD_LENGTHS)),
    st.sampled_from([0, 1, 15, 16, 17, 24, 31, 32, 33, 64]),
    st.integers(0, 130),
    st.integers(1, 16),
    st.integers(0, 300),
    st.integers(0, 40),
)
def test_lengths_of_aeads(
    algo: AeadAlgorithm, key: int, nonce: int, tag: int, size: int, aad: int
) -> None:
    algo = AeadAlgorithm(algo)
    keys, nonces, tags = AEAD_LENGTHS[algo]
    good = key in keys and nonce in nonces and tag in tags
    sizes = bytes(key), bytes(nonce), bytes(size), bytes(aad)
    secret = outcome(lambda: aead(algo, ENCRYPT, *sizes, tag=tag))
    if not good:
        assert secret == Status.ERR
        return
    assert isinstance(secret, bytes)
    assert len(secret) == size + tag
    assert aead(algo, DECRYPT, bytes(key), bytes(nonce), secret, bytes(aad), tag=tag) == bytes(size)


def test_a_message_too_long_for_its_ccm_nonce() -> None:
    with pytest.raises(BadRequest) as caught:
        aead(AA.CCM, ENCRYPT, bytes(16), bytes(13), bytes(1 << 16))
    assert caught.value.status == Status.ERR


def python_name(algo: HashAlgorithm | MacAlgorithm) -> str:
    name = algo.name.removeprefix("HMAC_").lower()
    return name if name.startswith("sha3") else name.replace("_", "")


@given(st.sampled_from([algo.name for algo in HashAlgorithm]), st.binary(max_size=300), st.data())
def test_hashes(name: str, data: bytes, more: st.DataObject) -> None:
    algo = HashAlgorithm[name]
    if algo not in BACKEND.offer[Service.HASH]:
        return
    whole = hashlib.new(python_name(algo), data).digest()
    size = more.draw(st.integers(1, len(whole)))
    assert digest(algo, data, len(whole)) == whole
    assert digest(algo, data, size) == whole[:size]


HMACS = [algo for algo in MacAlgorithm if algo.name.startswith("HMAC_SHA")]


@given(st.sampled_from(HMACS), st.binary(max_size=200), st.binary(max_size=300), st.data())
def test_hmacs(algo: MacAlgorithm, key: bytes, data: bytes, more: st.DataObject) -> None:
    whole = hmac.digest(key, data, python_name(algo))
    size = more.draw(st.integers(1, len(whole)))
    assert mac(algo, key, data, size) == whole[:size]


@pytest.mark.parametrize("size", [16, 24, 32])
def test_cmac(size: int) -> None:
    key = bytes(range(size))
    for data in (b"", b"abc", bytes(1000)):
        said = openssl(
            *("mac", "-cipher", f"aes-{size * 8}-cbc", "-macopt", f"hexkey:{key.hex()}", "CMAC"),
            data=data,
        )
        assert mac(MacAlgorithm.CMAC_AES, key, data, 16).hex() == said.decode().strip().lower()


@pytest.mark.parametrize("size", [0, 8, 15, 33, 64])
def test_cmac_with_a_key_that_is_not_of_aes(size: int) -> None:
    with pytest.raises(BadRequest) as caught:
        mac(MacAlgorithm.CMAC_AES, bytes(size), b"", 16)
    assert caught.value.status == Status.ERR
