# SPDX-License-Identifier: BSD-3-Clause
"""RSA and ECDSA of crypto-openssl beside the ``openssl`` program, and keys that are none."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.target.openssl_program import ec_key, fails, openssl, rsa_key
from vof.target.backends import crypto_der
from vof.target.backends.crypto_interface import CryptoContext
from vof.target.backends.crypto_openssl import OpensslBackend
from vof.target.backends.crypto_rsa import RsaContext
from vof.wire.crypto import (
    BadRequest,
    Curve,
    DataOpcode,
    KeyType,
    RsaHash,
    RsaPadding,
    Status,
)
from vof.wire.crypto_operations import DataRequest
from vof.wire.crypto_parameters import AkcipherParameters, EcdsaScheme, RsaScheme

BACKEND = OpensslBackend()
PUBLIC, PRIVATE = KeyType.PUBLIC, KeyType.PRIVATE
RAW = RsaScheme(RsaPadding.RAW)
ENCRYPTING, DECRYPTING = DataOpcode.AKCIPHER_ENCRYPT, DataOpcode.AKCIPHER_DECRYPT
SIGNING, VERIFYING = DataOpcode.AKCIPHER_SIGN, DataOpcode.AKCIPHER_VERIFY
FORM = ("-keyform", "DER")


def pkcs1(digest: RsaHash = RsaHash.NONE) -> RsaScheme:
    return RsaScheme(RsaPadding.PKCS1, digest)


def context(scheme: RsaScheme | EcdsaScheme, kind: KeyType, key: bytes) -> CryptoContext:
    return BACKEND.prepare(AkcipherParameters(scheme, kind, memoryview(bytearray(key))))


def run(made: CryptoContext, opcode: DataOpcode, src: bytes, signed: bytes = b"") -> bytes:
    return made.execute(
        DataRequest(opcode, src=memoryview(src), result_len=1024, signed=memoryview(signed))
    )


def refused(scheme: RsaScheme | EcdsaScheme, kind: KeyType, key: bytes) -> Status:
    with pytest.raises(BadRequest) as caught:
        context(scheme, kind, key)
    # Nothing of the library's words, which might be about the key.
    error = caught.value
    assert error.__context__ is None or error.__suppress_context__
    return caught.value.status


def status_of(made: CryptoContext, opcode: DataOpcode, src: bytes, signed: bytes = b"") -> Status:
    with pytest.raises(BadRequest) as caught:
        run(made, opcode, src, signed)
    return caught.value.status


@pytest.fixture(params=[512, 1024, 2048])
def bits(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def key_files(folder: Path, keys: tuple[bytes, bytes]) -> tuple[Path, Path]:
    private = folder / "private.der"
    private.write_bytes(keys[0])
    public = folder / "public.der"
    public.write_bytes(
        openssl("pkey", *("-inform", "DER", "-pubout", "-outform", "DER"), data=keys[0])
    )
    return private, public


def test_raw_rsa(tmp_path: Path, bits: int) -> None:
    private, public = rsa_key(bits)
    file, _public_file = key_files(tmp_path, (private, public))
    size = bits // 8
    text = bytes([0]) + bytes(range(1, 1 + size - 1))[: size - 1].ljust(size - 1, b"\x07")
    told = openssl(
        *("pkeyutl", "-encrypt", "-inkey", file, *FORM, "-pkeyopt", "rsa_padding_mode:none"),
        data=text,
    )
    for kind, key in ((PUBLIC, public), (PRIVATE, private)):
        assert run(context(RAW, kind, key), ENCRYPTING, text) == told
    made = context(RAW, PRIVATE, private)
    assert run(made, DECRYPTING, told) == text
    # A number is a number: what is shorter has zeros before it.
    assert run(made, DECRYPTING, run(made, ENCRYPTING, b"\x05")) == b"\x05".rjust(size, b"\0")
    assert run(made, DECRYPTING, b"") == bytes(size)
    assert status_of(made, ENCRYPTING, b"\xff" * size) == Status.ERR
    assert status_of(made, DECRYPTING, b"\xff" * (size + 1)) == Status.ERR


@settings(max_examples=30)
@given(st.binary(max_size=117))
def test_pkcs1_encryption(text: bytes) -> None:
    private, public = rsa_key(1024)
    secret = run(context(pkcs1(), PUBLIC, public), ENCRYPTING, text)
    assert len(secret) == 128
    assert run(context(pkcs1(RsaHash.SHA256), PRIVATE, private), DECRYPTING, secret) == text


def test_pkcs1_encryption_with_the_program(tmp_path: Path, bits: int) -> None:
    private, public = rsa_key(bits)
    file, public_file = key_files(tmp_path, (private, public))
    made = context(pkcs1(), PRIVATE, private)
    told = openssl("pkeyutl", "-encrypt", "-pubin", "-inkey", public_file, *FORM, data=b"abc")
    assert run(made, DECRYPTING, told) == b"abc"
    secret = run(made, ENCRYPTING, b"xyz")
    assert openssl("pkeyutl", "-decrypt", "-inkey", file, *FORM, data=secret) == b"xyz"
    assert status_of(made, ENCRYPTING, bytes(bits // 8 - 10)) == Status.ERR
    assert status_of(made, DECRYPTING, bytes(bits // 8 + 1)) == Status.ERR


@pytest.mark.parametrize(
    "digest",
    [
        RsaHash.MD5,
        RsaHash.SHA1,
        RsaHash.SHA224,
        RsaHash.SHA256,
        RsaHash.SHA384,
        RsaHash.SHA512,
    ],
)
def test_rsa_signatures(tmp_path: Path, digest: RsaHash) -> None:
    private, public = rsa_key(2048)
    file, _public = key_files(tmp_path, (private, public))
    name = digest.name.lower()
    hashed = hashlib.new(name, b"some text").digest()
    signer = context(pkcs1(digest), PRIVATE, private)
    checker = context(pkcs1(digest), PUBLIC, public)
    signature = run(signer, SIGNING, hashed)
    told = openssl(
        *("pkeyutl", "-sign", "-inkey", file, *FORM, "-pkeyopt", f"digest:{name}"), data=hashed
    )
    assert signature == told
    for made in (signer, checker):
        assert run(made, VERIFYING, signature, hashed) == b""
        assert status_of(made, VERIFYING, signature, bytes(len(hashed))) == Status.KEY_REJECTED
        assert status_of(made, VERIFYING, bytes(256), hashed) == Status.KEY_REJECTED
        assert status_of(made, VERIFYING, b"", hashed) == Status.KEY_REJECTED
    assert status_of(signer, SIGNING, hashed[:-1]) == Status.ERR
    assert status_of(checker, VERIFYING, signature, hashed + b"\0") == Status.ERR


def test_rsa_signatures_without_a_hash(tmp_path: Path) -> None:
    private, public = rsa_key(1024)
    file, _public = key_files(tmp_path, (private, public))
    signer, checker = context(pkcs1(), PRIVATE, private), context(pkcs1(), PUBLIC, public)
    for text in (b"", b"any bytes", bytes(117)):
        signature = run(signer, SIGNING, text)
        if 0 < len(text) <= 64:  # the program takes no others
            assert signature == openssl("pkeyutl", "-sign", "-inkey", file, *FORM, data=text)
        assert run(checker, VERIFYING, signature, text) == b""
        assert status_of(checker, VERIFYING, signature, text + b"x") == Status.KEY_REJECTED
    assert status_of(signer, SIGNING, bytes(118)) == Status.ERR
    assert status_of(checker, VERIFYING, bytes(5), b"") == Status.KEY_REJECTED


@pytest.mark.parametrize("digest", [RsaHash.MD2, RsaHash.MD3, RsaHash.MD4])
def test_hashes_nobody_has(digest: RsaHash) -> None:
    assert refused(pkcs1(digest), PRIVATE, rsa_key(1024)[0]) == Status.NOTSUPP


def der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    if size < 0x100:
        return bytes((tag, 0x81, size)) + content
    return bytes((tag, 0x82)) + size.to_bytes(2, "big") + content


def number(value: int) -> bytes:
    return der(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def private_key(**changes: int) -> bytes:
    key = crypto_der.rsa_private(memoryview(rsa_key(1024)[0]))._replace(**changes)
    return der(0x30, number(0) + b"".join(map(number, key)))


def test_the_tests_own_keys_are_good() -> None:
    assert private_key() == rsa_key(1024)[0]
    context(RAW, PRIVATE, private_key())


@pytest.mark.parametrize("scheme", [RAW, pkcs1()], ids=["raw", "pkcs1"])
@pytest.mark.parametrize("field", crypto_der.RsaPrivate._fields)
def test_a_key_with_another_number(field: str, scheme: RsaScheme) -> None:
    key = crypto_der.rsa_private(memoryview(rsa_key(1024)[0]))
    before: int = getattr(key, field)
    for value in (0, 1, before - 2, before + 2, before << 1, key.n):
        if value != before:
            assert refused(scheme, PRIVATE, private_key(**{field: value})) == Status.ERR


BAD_PUBLIC = {
    "n of 511 bits": ((1 << 511) - 1, 65537),
    "n of 4097 bits": ((1 << 4097) - 1, 65537),
    "n even": (1 << 1023, 65537),
    "e 0": ((1 << 1024) - 1, 0),
    "e 1": ((1 << 1024) - 1, 1),
    "e even": ((1 << 1024) - 1, 65536),
    "e of 257 bits": ((1 << 1024) - 1, (1 << 257) - 1),
}


@pytest.mark.parametrize("numbers", BAD_PUBLIC.values(), ids=BAD_PUBLIC)
def test_public_keys_that_cannot_be(numbers: tuple[int, int]) -> None:
    key = der(0x30, b"".join(map(number, numbers)))
    assert refused(RAW, PUBLIC, key) == Status.ERR
    assert refused(pkcs1(), PUBLIC, key) == Status.ERR


def test_factors_that_are_not_prime_harm_nobody() -> None:
    p, q, e = (1 << 255) + 15, (1 << 257) + 21, 65537
    d = pow(e, -1, (p - 1) * (q - 1))
    key = private_key(
        n=p * q, e=e, d=d, p=p, q=q, dp=d % (p - 1), dq=d % (q - 1), qinv=pow(q, -1, p)
    )
    raw = context(RAW, PRIVATE, key)
    # The result would be wrong; it is found out before it leaves.
    assert status_of(raw, DECRYPTING, b"\x07" * 60) == Status.ERR
    padded = context(pkcs1(), PRIVATE, key)
    try:
        run(padded, DECRYPTING, b"\x07" * 64)
        run(padded, SIGNING, b"abc")
    except BadRequest:
        pass


KINDS = [(RAW, PRIVATE), (RAW, PUBLIC), (EcdsaScheme(Curve.NIST_P256), PRIVATE)]


@given(st.sampled_from(KINDS), st.binary(max_size=300))
def test_bytes_that_are_no_key(kind: tuple[RsaScheme | EcdsaScheme, KeyType], key: bytes) -> None:
    assert refused(*kind, key) == Status.ERR


@given(st.integers(0, 606), st.integers(1, 255), st.integers(0, 606))
def test_keys_that_were_spoilt(place: int, change: int, cut: int) -> None:
    key = bytearray(rsa_key(1024)[0])
    key[place % len(key)] ^= change
    assert refused(RAW, PRIVATE, bytes(key)) == Status.ERR
    assert refused(RAW, PRIVATE, bytes(rsa_key(1024)[0][:cut])) == Status.ERR
    assert refused(RAW, PUBLIC, bytes(rsa_key(1024)[1][: cut % 140])) == Status.ERR


@pytest.mark.parametrize("bits", [1024, 2048])
def test_the_blinded_operation_is_the_plain_one(bits: int) -> None:
    private, _public = rsa_key(bits)
    key = crypto_der.rsa_private(memoryview(private))
    made = RsaContext(AkcipherParameters(RAW, PRIVATE, private))
    for message in (0, 1, 2, key.n - 1, key.p, key.n // 3):
        assert made._raw_private(message) == pow(message, key.d, key.n)


CURVES = {
    Curve.NIST_P192: "prime192v1",
    Curve.NIST_P224: "secp224r1",
    Curve.NIST_P256: "prime256v1",
    Curve.NIST_P384: "secp384r1",
    Curve.NIST_P521: "secp521r1",
}


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("size", [20, 28, 32, 48, 64])
def test_ecdsa(tmp_path: Path, curve: Curve, size: int) -> None:
    private, point = ec_key(CURVES[curve])
    file, public_file = key_files(tmp_path, (private, b""))
    scheme = EcdsaScheme(curve)
    signer, checker = context(scheme, PRIVATE, private), context(scheme, PUBLIC, point)
    hashed = bytes(range(9, 9 + size))
    signature = run(signer, SIGNING, hashed)
    (tmp_path / "signature").write_bytes(signature)
    verify = ("pkeyutl", "-verify", "-pubin", "-inkey", public_file, *FORM)
    openssl(*verify, "-sigfile", tmp_path / "signature", data=hashed)
    assert fails(*verify, "-sigfile", tmp_path / "signature", data=bytes(size))
    told = openssl("pkeyutl", "-sign", "-inkey", file, *FORM, data=hashed)
    for made in (signer, checker):
        assert run(made, VERIFYING, signature, hashed) == b""
        assert run(made, VERIFYING, told, hashed) == b""
        assert status_of(made, VERIFYING, signature, bytes(size)) == Status.KEY_REJECTED
        for wrong in (b"", bytes(70), signature[:-1], signature + b"\0"):
            assert status_of(made, VERIFYING, wrong, hashed) == Status.KEY_REJECTED
    for wrong in (b"", bytes(size - 1), bytes(65)):
        assert status_of(signer, SIGNING, wrong) == Status.ERR
        assert status_of(checker, VERIFYING, signature, wrong) == Status.ERR


def test_an_ec_key_without_its_curve() -> None:
    private, point = ec_key("prime256v1", named=False)
    scheme = EcdsaScheme(Curve.NIST_P256)
    signature = run(context(scheme, PRIVATE, private), SIGNING, bytes(32))
    assert run(context(scheme, PUBLIC, point), VERIFYING, signature, bytes(32)) == b""


def test_ec_keys_that_cannot_be() -> None:
    private, point = ec_key("prime256v1")
    p256, p384 = EcdsaScheme(Curve.NIST_P256), EcdsaScheme(Curve.NIST_P384)
    assert refused(p384, PRIVATE, private) == Status.ERR
    assert refused(p384, PUBLIC, point) == Status.ERR
    for wrong in (b"", b"\0", point[:-1], point + b"\0", point[:-1] + bytes((point[-1] ^ 1,))):
        assert refused(p256, PUBLIC, wrong) == Status.ERR
    for secret in (0, (1 << 256) - 1):
        inner = b"\2\1\1" + der(4, secret.to_bytes(32, "big"))
        assert refused(p256, PRIVATE, der(0x30, inner)) == Status.ERR
    explicit = der(0x30, b"\2\1\1" + der(4, bytes(31) + b"\1") + der(0xA0, der(0x30, b"\2\1\1")))
    assert refused(p256, PRIVATE, explicit) == Status.ERR


def test_an_unknown_curve_of_this_library() -> None:
    backend = OpensslBackend()
    backend._curves = {Curve.NIST_P256}
    with pytest.raises(BadRequest) as caught:
        backend.prepare(AkcipherParameters(EcdsaScheme(Curve.NIST_P192), PUBLIC, b""))
    assert caught.value.status == Status.NOTSUPP
