# SPDX-License-Identifier: BSD-3-Clause
"""Every algorithm the device offers, on a real mount, against OpenSSL; in both directions."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuse import crypto_oracle as oracle
from tests.fuse.crypto_files import CryptoFiles, crypto
from vof.gateways.crypto.algorithms import ALGORITHMS
from vof.wire.crypto import Service

__all__ = ["crypto"]

pytestmark = pytest.mark.fuse

bounded = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)

# What the target's library does not have, whatever it is linked to.
LACKING = {"des-ecb", "des-cbc", "rc4", "md5", "shake128", "shake256", "hmac-md5", "cmac-des-ede3"}


def named(service: Service) -> list[str]:
    return [
        algorithm.name
        for algorithm in ALGORITHMS.values()
        if algorithm.service is service and algorithm.name not in LACKING
    ]


def limit_of(crypto: CryptoFiles, name: str) -> int:
    return int(crypto.algorithms()[name]["max_size"])


@st.composite
def contents(draw: st.DrawFn, most: int, unit: int = 1, least: int = 0) -> bytes:
    """Data of any length that is allowed, short ones as often as long ones."""
    short = st.integers(-(-least // unit), 80 // unit)
    whole = st.integers(-(-least // unit), most // unit)
    size = unit * draw(short | whole | st.just(most // unit))
    return random.Random(draw(st.integers(0, 1 << 32))).randbytes(size)


def key_of(draw: st.DataObject, size: int) -> bytes:
    return random.Random(draw.draw(st.integers(0, 1 << 32))).randbytes(size)


def test_everything_that_was_meant_to_be_offered_is(crypto: CryptoFiles) -> None:
    assert set(crypto.algorithms()) >= set(ALGORITHMS) - LACKING


@pytest.mark.parametrize("name", named(Service.CIPHER))
@bounded
@given(draw=st.data())
def test_cipher(crypto: CryptoFiles, name: str, draw: st.DataObject) -> None:
    algorithm = ALGORITHMS[name]
    most = limit_of(crypto, name)
    data = draw.draw(contents(most, algorithm.block, max(algorithm.shortest, algorithm.block)))
    key = key_of(draw, algorithm.key_lengths[0])
    iv = key_of(draw, max(algorithm.iv_lengths, default=0))
    attributes = {"iv": iv} if iv else {}
    with crypto.session(name, key, **attributes) as session:
        encrypted = session.run("encrypt", data)
        assert encrypted == oracle.cipher(name, key, iv, data)
        assert session.run("decrypt", encrypted) == data
        assert session.run("decrypt", data) == oracle.cipher(name, key, iv, data, decrypt=True)


@pytest.mark.parametrize("name", named(Service.AEAD))
@bounded
@given(draw=st.data())
def test_aead(crypto: CryptoFiles, name: str, draw: st.DataObject) -> None:
    algorithm = ALGORITHMS[name]
    key = key_of(draw, algorithm.key_lengths[0])
    iv = key_of(draw, draw.draw(st.sampled_from(algorithm.iv_lengths)))
    aad = key_of(draw, draw.draw(st.integers(0, 300)))
    tag = draw.draw(st.sampled_from(algorithm.tag_lengths))
    most = limit_of(crypto, name) - 300
    if name.endswith("-ccm"):
        most = min(most, (1 << 8 * (15 - len(iv))) - 1)
    data = draw.draw(contents(most))
    with crypto.session(name, key, iv=iv, aad=aad, tag_length=tag) as session:
        sealed = session.run("encrypt", data)
        assert sealed == oracle.aead(name, key, iv, aad, tag, data)
        assert session.run("decrypt", sealed) == data


@pytest.mark.parametrize("name", named(Service.HASH))
@bounded
@given(draw=st.data())
def test_hash(crypto: CryptoFiles, name: str, draw: st.DataObject) -> None:
    data = draw.draw(contents(limit_of(crypto, name)))
    with crypto.session(name) as session:
        assert session.run("digest", data) == oracle.digest(name, data, ALGORITHMS[name].tag_length)


@pytest.mark.parametrize("name", named(Service.MAC))
@bounded
@given(draw=st.data())
def test_mac(crypto: CryptoFiles, name: str, draw: st.DataObject) -> None:
    algorithm = ALGORITHMS[name]
    sizes = algorithm.key_lengths
    if isinstance(sizes, range):
        sizes = range(1, 513)
    key = key_of(draw, draw.draw(st.sampled_from(sizes)))
    data = draw.draw(contents(limit_of(crypto, name)))
    whole = oracle.code(name, key, data)
    part = draw.draw(st.sampled_from(algorithm.tag_lengths))
    with crypto.session(name, key) as session:
        assert session.run("digest", data) == whole
        session.set("tag_length", str(part))
        assert session.run("digest", data) == whole[:part]


class Pair:
    """A private key and its public one, in files."""

    def __init__(self, folder: Path, name: str, *generate: str) -> None:
        self.private, self.public = folder / f"{name}.pem", folder / f"{name}.pub"
        oracle.openssl(*generate, "-out", self.private)
        oracle.openssl("pkey", "-in", self.private, "-pubout", "-out", self.public)
        self.folder = folder

    def signed(self, digest: str, data: bytes) -> bytes:
        return oracle.openssl("dgst", f"-{digest}", "-sign", self.private, data=data)

    def fits(self, digest: str, signature: bytes, data: bytes) -> bool:
        path = self.folder / "signature"
        path.write_bytes(signature)
        run = subprocess.run(
            ["openssl", "dgst", f"-{digest}", "-verify", self.public, "-signature", path],
            input=data,
            capture_output=True,
            check=False,
        )
        return run.returncode == 0


@pytest.fixture(scope="module")
def rsa(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("rsa")
    return Pair(folder, "rsa", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")


messages = st.binary(max_size=100) | contents(1 << 20)


@pytest.mark.parametrize("digest", ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"])
def test_rsa_signatures(crypto: CryptoFiles, rsa: Pair, digest: str) -> None:
    signs(crypto, rsa, f"rsa-{digest}", digest)


CURVES = {
    "p192": "prime192v1",
    "p224": "secp224r1",
    "p256": "prime256v1",
    "p384": "secp384r1",
    "p521": "secp521r1",
}


@pytest.fixture(scope="module")
def ecdsa(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    folder = tmp_path_factory.mktemp("ecdsa")
    return {
        name: Pair(folder, name, "ecparam", "-name", curve, "-genkey", "-noout")
        for name, curve in CURVES.items()
    }


@pytest.mark.parametrize("name", [n for n in named(Service.AKCIPHER) if n.startswith("ecdsa-")])
def test_ecdsa_signatures(crypto: CryptoFiles, ecdsa: dict[str, Pair], name: str) -> None:
    _ecdsa, curve, digest = name.split("-")
    signs(crypto, ecdsa[curve], name, digest)


def signs(crypto: CryptoFiles, pair: Pair, name: str, digest: str) -> None:
    """Both ways between us and OpenSSL, with the private key and with the public one."""
    with crypto.session(name, pair.private.read_bytes()) as private:
        with crypto.session(name, pair.public.read_bytes()) as public:

            @settings(bounded, max_examples=3)
            @given(messages)
            def check(data: bytes) -> None:
                ours = private.run("sign", data)
                assert pair.fits(digest, ours, data)
                theirs = pair.signed(digest, data)
                for session in (private, public):
                    assert session.run("verify", theirs, data) == b"ok\n"
                    assert session.run("verify", ours + data) == b"ok\n"

            check()


@pytest.mark.parametrize("form", ["PEM", "DER"])
def test_rsa_pkcs1(crypto: CryptoFiles, rsa: Pair, form: str) -> None:
    private = oracle.openssl("pkey", "-in", rsa.private, "-outform", form)
    public = oracle.openssl("pkey", "-in", rsa.private, "-pubout", "-outform", form)
    with crypto.session("rsa-pkcs1", private) as mine, crypto.session("rsa-pkcs1", public) as other:
        for size in (0, 1, 100, 256 - 11):
            data = random.Random(size).randbytes(size)
            encrypted = other.run("encrypt", data)
            assert len(encrypted) == 256
            assert mine.run("decrypt", encrypted) == data
            there = oracle.openssl("pkeyutl", "-decrypt", "-inkey", rsa.private, data=encrypted)
            assert there == data
            signature = mine.run("sign", data)
            assert other.run("verify", signature, data) == b"ok\n"
            if size <= 64:  # more than that the program does not take for a digest
                sign = ("pkeyutl", "-sign", "-inkey", rsa.private)
                assert signature == oracle.openssl(*sign, data=data)


def test_rsa_raw(crypto: CryptoFiles, rsa: Pair) -> None:
    raw = ("-pkeyopt", "rsa_padding_mode:none")
    with crypto.session("rsa", rsa.private.read_bytes()) as session:
        for number in range(8):
            data = b"\0" + random.Random(number).randbytes(255)
            encrypted = session.run("encrypt", data)
            there = oracle.openssl("pkeyutl", "-encrypt", "-inkey", rsa.private, *raw, data=data)
            assert encrypted == there
            assert session.run("decrypt", encrypted) == data
