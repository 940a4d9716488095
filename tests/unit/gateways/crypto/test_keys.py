# SPDX-License-Identifier: BSD-3-Clause
"""Keys in every form that OpenSSL writes, and what is refused."""

from __future__ import annotations

import subprocess

import pytest

from vof.errors import ConfigError
from vof.gateways.crypto.algorithms import ALGORITHMS
from vof.gateways.crypto.keys import Key, read_key
from vof.wire.crypto import KeyType


def openssl(*arguments: str, data: bytes = b"") -> bytes:
    return subprocess.run(
        ["openssl", *arguments], input=data, capture_output=True, check=True
    ).stdout


@pytest.fixture(scope="module")
def rsa() -> bytes:
    return openssl("genrsa", "1024")


@pytest.fixture(scope="module")
def ecdsa() -> bytes:
    return openssl("ecparam", "-name", "prime256v1", "-genkey")


RSA, ECDSA = ALGORITHMS["rsa-sha256"], ALGORITHMS["ecdsa-p256-sha256"]

PRIVATE_FORMS: list[tuple[str, ...]] = [
    ("pkey",),
    ("pkey", "-traditional"),
    ("pkey", "-outform", "DER"),
    ("pkey", "-traditional", "-outform", "DER"),
]


@pytest.mark.parametrize("form", PRIVATE_FORMS, ids=" ".join)
def test_private_keys(rsa: bytes, ecdsa: bytes, form: tuple[str, ...]) -> None:
    key = read_key(RSA, openssl(*form, data=rsa))
    assert key.material == openssl("rsa", "-traditional", "-outform", "DER", data=rsa)
    assert (key.type, key.size, key.signature_size) == (KeyType.PRIVATE, 128, 128)
    key = read_key(ECDSA, openssl(*form, data=ecdsa))
    assert key.material == openssl("ec", "-outform", "DER", data=ecdsa)
    assert (key.type, key.size, key.signature_size) == (KeyType.PRIVATE, 32, 73)


@pytest.mark.parametrize("form", [(), ("-outform", "DER")], ids=["PEM", "DER"])
def test_public_keys(rsa: bytes, ecdsa: bytes, form: tuple[str, ...]) -> None:
    expected = openssl("rsa", "-RSAPublicKey_out", "-outform", "DER", data=rsa)
    for content in (
        openssl("pkey", "-pubout", *form, data=rsa),
        openssl("rsa", "-RSAPublicKey_out", *form, data=rsa),
    ):
        key = read_key(RSA, content)
        assert key.material == expected
        assert key.type is KeyType.PUBLIC
    key = read_key(ECDSA, openssl("pkey", "-pubout", *form, data=ecdsa))
    assert key.type is KeyType.PUBLIC
    assert (key.material[0], len(key.material)) == (4, 65)


def test_parameters_before_the_key(ecdsa: bytes) -> None:
    """What `openssl ecparam -genkey` writes."""
    assert ecdsa.startswith(b"-----BEGIN EC PARAMETERS")
    assert read_key(ECDSA, ecdsa).type is KeyType.PRIVATE


@pytest.mark.parametrize(
    ("name", "size"), [("p192", 192), ("p224", 224), ("p256", 256), ("p384", 384), ("p521", 521)]
)
def test_a_key_of_another_curve(ecdsa: bytes, name: str, size: int) -> None:
    algorithm = ALGORITHMS[f"ecdsa-{name}-sha256"]
    if size == 256:
        assert read_key(algorithm, ecdsa).type is KeyType.PRIVATE
        return
    with pytest.raises(ConfigError, match="takes no key on the curve secp256r1"):
        read_key(algorithm, ecdsa)


def test_keys_of_other_kinds(rsa: bytes, ecdsa: bytes) -> None:
    ed25519 = openssl("genpkey", "-algorithm", "ed25519")
    for algorithm, content in ((RSA, ecdsa), (ECDSA, rsa), (RSA, ed25519), (ECDSA, ed25519)):
        with pytest.raises(ConfigError, match="takes no key of that kind"):
            read_key(algorithm, content)


def test_an_encrypted_key(rsa: bytes) -> None:
    locked = openssl("pkey", "-aes128", "-passout", "pass:secret", data=rsa)
    with pytest.raises(ConfigError, match="the key is encrypted"):
        read_key(RSA, locked)


@pytest.mark.parametrize(
    "content", [b"", b"x", bytes(3000), b"-----BEGIN", b"-----BEGIN X-----\n-----END X-----\n"]
)
def test_no_key_at_all(content: bytes) -> None:
    for algorithm in (RSA, ECDSA):
        with pytest.raises(ConfigError, match=r"no private or public key in (PEM|DER) was found"):
            read_key(algorithm, content)


@pytest.mark.parametrize("cut", [10, 100, 500])
def test_a_key_that_was_cut(rsa: bytes, cut: int) -> None:
    der = openssl("pkey", "-outform", "DER", data=rsa)
    for content in (rsa[:cut], der[:cut]):
        with pytest.raises(ConfigError) as caught:
            read_key(RSA, content)
        assert content.hex() not in str(caught.value)
        assert caught.value.__cause__ is None


class TestSymmetric:
    def test_is_its_bytes(self) -> None:
        content = bytearray(range(16))
        key = read_key(ALGORITHMS["aes-128-cbc"], content)
        assert key.material == content
        assert key.material is not content

    @pytest.mark.parametrize(("name", "size"), [("aes-256-xts", 32), ("chacha20-poly1305", 16)])
    def test_of_wrong_length(self, name: str, size: int) -> None:
        with pytest.raises(ConfigError, match=f"a key of {size} bytes; {name} takes "):
            read_key(ALGORITHMS[name], bytes(size))

    def test_where_there_is_none(self) -> None:
        with pytest.raises(ConfigError, match="sha256 has no key"):
            read_key(ALGORITHMS["sha256"], b"")


def test_wiping() -> None:
    key = Key(bytearray(b"secret"))
    key.wipe()
    key.wipe()
    assert key.material == bytes(6)


def test_a_key_shows_nothing() -> None:
    key = Key(bytearray(b"secret"))
    assert "secret" not in repr(key) + str(key)
    assert not hasattr(key, "__dict__")
