# SPDX-License-Identifier: BSD-3-Clause
"""What is asked of the driver for each operation, and what is found wrong before."""

from __future__ import annotations

import hashlib

import pytest

from tests.support.target_fixtures import Serve
from tests.unit.drivers.crypto_device import device, open_driver
from vof.errors import ConfigError
from vof.gateways.crypto.algorithms import ALGORITHMS, Operation
from vof.gateways.crypto.jobs import (
    MAX_HASHED,
    Setup,
    check_aad,
    check_iv,
    check_tag_length,
    make_job,
    max_input,
)
from vof.gateways.crypto.keys import Key
from vof.wire.crypto import DataOpcode, Direction, KeyType, RsaHash, RsaPadding
from vof.wire.crypto_parameters import (
    AeadParameters,
    AkcipherParameters,
    CipherParameters,
    HashParameters,
    MacParameters,
    RsaScheme,
)

KEY = Key(bytearray(16))
IV = bytes(16)
RSA_KEY = Key(bytearray(b"der"), KeyType.PRIVATE, 128, 128)
EC_KEY = Key(bytearray(b"der"), KeyType.PRIVATE, 32, 73)

ENCRYPT, DECRYPT, SIGN, VERIFY, DIGEST = Operation


def setup(name: str, **changes: object) -> Setup:
    return Setup(ALGORITHMS[name], **changes)  # type: ignore[arg-type]


def test_cipher() -> None:
    job = make_job(setup("aes-128-cbc", key=KEY, iv=IV), DECRYPT, bytes(32))
    assert isinstance(job.parameters, CipherParameters)
    assert job.parameters.direction is Direction.DECRYPT
    request = job.in_session(7)
    assert (request.opcode, request.session_id) == (DataOpcode.CIPHER_DECRYPT, 7)
    assert (request.src, request.result_len, request.iv) == (bytes(32), 32, IV)
    assert request.parameters is None
    assert job.without_session().parameters is job.parameters


@pytest.mark.parametrize(
    ("operation", "size", "result"), [(ENCRYPT, 5, 13), (DECRYPT, 13, 5), (DECRYPT, 8, 0)]
)
def test_aead(operation: Operation, size: int, result: int) -> None:
    given = setup("aes-128-gcm", key=KEY, iv=bytes(12), aad=b"more", tag_length=8)
    job = make_job(given, operation, bytes(size))
    assert isinstance(job.parameters, AeadParameters)
    assert job.parameters.tag_len == job.request.tag_len == 8
    assert job.request.result_len == result
    assert job.request.aad == b"more"


def test_hash_and_mac() -> None:
    job = make_job(setup("sha256"), DIGEST, b"x")
    assert job.parameters == HashParameters(ALGORITHMS["sha256"].number, 32)  # type: ignore[arg-type]
    job = make_job(setup("hmac-sha256", key=KEY, tag_length=10), DIGEST, b"")
    assert isinstance(job.parameters, MacParameters)
    assert job.parameters.result_len == job.request.result_len == 10
    assert make_job(setup("shake128"), DIGEST, b"").request.result_len == 16


class TestSignatures:
    def test_the_digest_is_sent(self) -> None:
        digest = hashlib.sha256(b"message").digest()
        job = make_job(setup("rsa-sha256", key=RSA_KEY), SIGN, b"message")
        assert job.request.src == digest
        assert job.request.result_len == 128
        assert isinstance(job.parameters, AkcipherParameters)
        assert job.parameters.scheme == RsaScheme(RsaPadding.PKCS1, RsaHash.SHA256)
        assert job.output(b"signature") == b"signature"

    def test_a_signature_comes_first(self) -> None:
        job = make_job(setup("rsa-sha256", key=RSA_KEY), VERIFY, b"s" * 128 + b"message")
        assert job.request.src == b"s" * 128
        assert job.request.signed == hashlib.sha256(b"message").digest()
        assert job.output(b"") == b"ok\n"

    @pytest.mark.parametrize("size", [0, 1, 71])
    def test_an_ecdsa_signature_says_its_length(self, size: int) -> None:
        signature = bytes((0x30, size)) + b"s" * size
        job = make_job(setup("ecdsa-p256-sha256", key=EC_KEY), VERIFY, signature + b"message")
        assert job.request.src == signature
        assert job.request.signed == hashlib.sha256(b"message").digest()

    def test_a_long_ecdsa_signature(self) -> None:
        key = Key(bytearray(), KeyType.PUBLIC, 66, 141)
        signature = bytes((0x30, 0x81, 137)) + b"s" * 137
        job = make_job(setup("ecdsa-p521-sha512", key=key), VERIFY, signature + b"message")
        assert job.request.src == signature

    @pytest.mark.parametrize(
        ("data", "text"),
        [
            (b"", "does not begin with an ECDSA signature"),
            (b"\x30\x00", "does not begin with an ECDSA signature"),
            (b"\x31\x04abcd", "does not begin with an ECDSA signature"),
            (b"\x30\x48" + bytes(100), "too long an ECDSA signature"),
            (b"\x30\x81\xff" + bytes(300), "too long an ECDSA signature"),
            (b"\x30\x82\x01\x00" + bytes(300), "too long an ECDSA signature"),
            (b"\x30\x84\xff\xff\xff\xff", "too long an ECDSA signature"),
            (b"\x30\x80\x00\x00", "fewer than the signature of 3|signature"),
            (b"\x30\x40" + bytes(10), "12 bytes of input are fewer than the signature of 66"),
        ],
    )
    def test_what_is_no_ecdsa_signature(self, data: bytes, text: str) -> None:
        given = setup("ecdsa-p256-sha256", key=EC_KEY)
        if data[1:2] == b"\x80":
            # An indefinite length is not DER; the device finds that out.
            assert make_job(given, VERIFY, data).request.src == data[:3]
            return
        with pytest.raises(ConfigError, match=text):
            make_job(given, VERIFY, data)

    def test_a_signature_that_is_cut(self) -> None:
        with pytest.raises(ConfigError, match="127 bytes of input are fewer than the signature"):
            make_job(setup("rsa-sha256", key=RSA_KEY), VERIFY, bytes(127))

    def test_sign_and_encrypt_have_different_schemes(self) -> None:
        given = setup("rsa-pkcs1", key=RSA_KEY)
        schemes = [
            getattr(make_job(given, operation, bytes(20)).parameters, "scheme", None)
            for operation in (ENCRYPT, SIGN)
        ]
        assert schemes == [
            RsaScheme(RsaPadding.PKCS1, RsaHash.SHA1),
            RsaScheme(RsaPadding.PKCS1, RsaHash.NONE),
        ]

    def test_a_raw_result_is_as_long_as_the_key(self) -> None:
        job = make_job(setup("rsa", key=RSA_KEY), ENCRYPT, b"x")
        assert job.output(b"short") == b"short".rjust(128, b"\0")


@pytest.mark.parametrize(
    ("name", "changes", "operation", "size", "text"),
    [
        ("aes-128-cbc", {}, ENCRYPT, 16, "aes-128-cbc wants a key"),
        ("aes-128-cbc", {"key": KEY}, ENCRYPT, 16, "aes-128-cbc wants an iv"),
        ("aes-128-cbc", {"key": KEY, "iv": IV}, SIGN, 16, "does not sign; it can encrypt, decrypt"),
        ("aes-128-cbc", {"key": KEY, "iv": IV}, ENCRYPT, 0, "wants at least 1"),
        ("aes-128-cbc", {"key": KEY, "iv": IV}, ENCRYPT, 17, "no multiple of 16"),
        ("aes-128-gcm", {"key": KEY, "iv": IV}, DECRYPT, 15, "fewer than the tag of 16"),
        ("sha256", {}, ENCRYPT, 1, "sha256 does not encrypt"),
        ("rsa", {"key": RSA_KEY}, ENCRYPT, 0, "takes 1 to 128 to encrypt"),
        ("rsa", {"key": RSA_KEY}, DECRYPT, 129, "takes 1 to 128 to decrypt"),
        ("rsa-pkcs1", {"key": RSA_KEY}, ENCRYPT, 118, "takes 0 to 117 to encrypt"),
        ("rsa-pkcs1", {"key": RSA_KEY}, DECRYPT, 0, "takes 1 to 128 to decrypt"),
    ],
)
def test_what_cannot_be_done(
    name: str, changes: dict[str, object], operation: Operation, size: int, text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        make_job(setup(name, **changes), operation, bytes(size))


@pytest.mark.parametrize("operation", [SIGN, DECRYPT])
def test_what_a_public_key_cannot_do(operation: Operation) -> None:
    public = Key(bytearray(b"der"), KeyType.PUBLIC, 128, 128)
    with pytest.raises(ConfigError, match=f"to {operation} takes a private key"):
        make_job(setup("rsa-pkcs1", key=public), operation, bytes(100))


def test_attributes() -> None:
    sha256 = ALGORITHMS["sha256"]
    with pytest.raises(ConfigError, match="sha256 has no iv"):
        check_iv(sha256, b"x")
    with pytest.raises(ConfigError, match="sha256 has no aad"):
        check_aad(sha256, b"x")
    with pytest.raises(ConfigError, match="sha256 has no tag_length"):
        check_tag_length(sha256, 1)
    assert check_iv(ALGORITHMS["aes-128-ccm"], bytes(7)) == bytes(7)
    with pytest.raises(ConfigError, match="a tag_length of 5; aes-128-ccm takes 4,6,8"):
        check_tag_length(ALGORITHMS["aes-128-ccm"], 5)


@pytest.mark.parametrize(
    ("name", "changes", "operation"),
    [
        ("aes-128-ctr", {"key": KEY, "iv": IV}, ENCRYPT),
        ("aes-128-gcm", {"key": KEY, "iv": bytes(12), "aad": bytes(7)}, ENCRYPT),
        ("aes-128-gcm", {"key": KEY, "iv": bytes(12), "tag_length": 4}, DECRYPT),
        ("sha256", {}, DIGEST),
        ("hmac-sha256", {"key": KEY, "tag_length": 1}, DIGEST),
    ],
)
def test_max_input_is_what_the_device_takes(
    serve: Serve, name: str, changes: dict[str, object], operation: Operation
) -> None:
    driver = open_driver(serve(device()))
    given = setup(name, **changes)
    most = max_input(driver, given, operation)
    assert make_job(given, operation, bytes(most)).request.variable_size <= 4096
    assert make_job(given, operation, bytes(most + 1)).request.variable_size > 4096
    driver.close()


def test_max_input_of_what_is_hashed_here(serve: Serve) -> None:
    driver = open_driver(serve(device(max_size=300)))
    assert max_input(driver, setup("rsa-sha256", key=RSA_KEY), SIGN) == MAX_HASHED
    assert max_input(driver, setup("rsa-pkcs1", key=RSA_KEY), ENCRYPT) == 300 - 128
    assert max_input(driver, setup("aes-128-gcm", aad=bytes(400)), ENCRYPT) == 0
    driver.close()


def test_nothing_shows_the_key() -> None:
    given = setup("aes-128-ecb", key=Key(bytearray(b"UNSPEAKABLE-KEY!")))
    assert "UNSPEAKABLE" not in repr(given) + repr(make_job(given, ENCRYPT, bytes(16)))
