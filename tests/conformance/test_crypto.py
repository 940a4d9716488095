# SPDX-License-Identifier: BSD-3-Clause
"""The crypto driver and the real target: each service in a session and without, and errors.

What the results have to be comes from published vectors, Python's own library, and the interfaces
of the ``cryptography`` package that the target does not use.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import random
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.conformance.conftest import Served
from tests.support.loopback import PATIENCE, Background
from tests.unit.target.openssl_program import rsa_key
from vof.drivers.crypto import CryptoDriver
from vof.errors import DeviceError, LocalProtocolError
from vof.wire.crypto import (
    AeadAlgorithm,
    CipherAlgorithm,
    DataOpcode,
    Direction,
    HashAlgorithm,
    KeyType,
    MacAlgorithm,
    RsaHash,
    RsaPadding,
    Service,
)
from vof.wire.crypto_operations import DataRequest
from vof.wire.crypto_parameters import (
    AeadParameters,
    AkcipherParameters,
    CipherParameters,
    HashParameters,
    MacParameters,
    Parameters,
    RsaScheme,
)

CRYPTO, FEW = "conformance/crypto", "conformance/few"

MAX_SIZE, FEW_SESSIONS = 1 << 20, 4


def devices(_folder: Path) -> str:
    return f"""
[crypto]
tvqn = {CRYPTO}
model = crypto
backend = driver=crypto-openssl,queues=2

[few]
tvqn = {FEW}
model = crypto
backend = driver=crypto-openssl,sessions={FEW_SESSIONS},max_size=8K
"""


@dataclass(frozen=True)
class Operation:
    """An operation, what it is done with, and what has to come of it."""

    opcode: DataOpcode
    parameters: Parameters
    src: bytes
    result: bytes
    iv: bytes = b""
    aad: bytes = b""
    signed: bytes = b""
    tag_len: int = 0

    def request(self, session_id: int = 0, result_len: int | None = None) -> DataRequest:
        """Return the request in a session, or without one."""
        return DataRequest(
            self.opcode,
            session_id,
            None if session_id else self.parameters,
            src=self.src,
            result_len=len(self.result) if result_len is None else result_len,
            iv=self.iv,
            aad=self.aad,
            signed=self.signed,
            tag_len=self.tag_len if session_id else 0,
        )


KEY, IV = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"), bytes(range(16))
PLAIN = bytes.fromhex("6bc1bee22e409f96e93d7e117393172a")
SECRET = bytes.fromhex("7649abac8119b246cee98e9b12e9197d")
"""SP 800-38A, F.2.1: the first block."""

TEXT = random.Random("text").randbytes(3000)


def cipher(direction: Direction) -> CipherParameters:
    return CipherParameters(CipherAlgorithm.AES_CBC, direction, KEY)


def aead(direction: Direction) -> AeadParameters:
    return AeadParameters(AeadAlgorithm.GCM, direction, KEY, 16)


def rsa(kind: KeyType) -> AkcipherParameters:
    private, public = rsa_key(1024)
    key = private if kind is KeyType.PRIVATE else public
    return AkcipherParameters(RsaScheme(RsaPadding.PKCS1, RsaHash.SHA256), kind, key)


SHA_256 = HashParameters(HashAlgorithm.SHA_256, 32)
SEALED = AESGCM(KEY).encrypt(IV[:12], TEXT, b"additional")

OPERATIONS = {
    "encrypt": Operation(
        DataOpcode.CIPHER_ENCRYPT, cipher(Direction.ENCRYPT), PLAIN, SECRET, iv=IV
    ),
    "decrypt": Operation(
        DataOpcode.CIPHER_DECRYPT, cipher(Direction.DECRYPT), SECRET, PLAIN, iv=IV
    ),
    "hash": Operation(DataOpcode.HASH, SHA_256, TEXT, hashlib.sha256(TEXT).digest()),
    "hash of nothing": Operation(DataOpcode.HASH, SHA_256, b"", hashlib.sha256().digest()),
    "mac": Operation(
        DataOpcode.MAC,
        MacParameters(MacAlgorithm.HMAC_SHA_256, 32, KEY),
        TEXT,
        hmac.digest(KEY, TEXT, "sha256"),
    ),
    "seal": Operation(
        DataOpcode.AEAD_ENCRYPT,
        aead(Direction.ENCRYPT),
        TEXT,
        SEALED,
        iv=IV[:12],
        aad=b"additional",
        tag_len=16,
    ),
    "open": Operation(
        DataOpcode.AEAD_DECRYPT,
        aead(Direction.DECRYPT),
        SEALED,
        TEXT,
        iv=IV[:12],
        aad=b"additional",
        tag_len=16,
    ),
}


@pytest.mark.rdma
def test_in_a_session(served: Served) -> None:
    driver = served.crypto(CRYPTO)
    for name, operation in OPERATIONS.items():
        session = driver.create_session(operation.parameters)
        for _ in range(2):
            assert driver.execute(operation.request(session)) == operation.result, name
        driver.destroy_session(operation.parameters.service, session)


def test_without_a_session(served: Served) -> None:
    driver = served.crypto(CRYPTO)
    for name, operation in OPERATIONS.items():
        assert driver.stateless(operation.parameters.service)
        assert driver.execute(operation.request()) == operation.result, name


class TestAkcipher:
    """Its results may be shorter than their room, and verifying has none."""

    @staticmethod
    def sign(driver: CryptoDriver, room: int) -> bytes:
        request = Operation(
            DataOpcode.AKCIPHER_SIGN, rsa(KeyType.PRIVATE), hashlib.sha256(TEXT).digest(), b""
        )
        return bytes(driver.execute(request.request(result_len=room)))

    @staticmethod
    def verify(driver: CryptoDriver, signature: bytes, digest: bytes) -> None:
        parameters = rsa(KeyType.PUBLIC)
        request = Operation(DataOpcode.AKCIPHER_VERIFY, parameters, signature, b"", signed=digest)
        assert not driver.execute(request.request())

    @pytest.mark.rdma
    @pytest.mark.rdma_once
    def test_a_signature(self, served: Served) -> None:
        driver = served.crypto(CRYPTO)
        exact = self.sign(driver, 128)
        assert len(exact) == 128
        assert self.sign(driver, 300) == exact  # PKCS#1 v1.5 leaves nothing to chance
        self.verify(driver, exact, hashlib.sha256(TEXT).digest())

    def test_that_does_not_fit(self, served: Served) -> None:
        driver = served.crypto(CRYPTO)
        exact = self.sign(driver, 128)
        with pytest.raises(DeviceError) as caught:
            self.verify(driver, exact, hashlib.sha256(b"another").digest())
        assert caught.value.errno == errno.EKEYREJECTED
        self.verify(driver, exact, hashlib.sha256(TEXT).digest())


@pytest.mark.rdma
@pytest.mark.rdma_once
def test_the_largest_operation(served: Served) -> None:
    """And one that is larger is not sent."""
    driver = served.crypto(CRYPTO)

    def run(opcode: DataOpcode, direction: Direction, src: bytes) -> bytes:
        return bytes(
            driver.execute(Operation(opcode, cipher(direction), src, src, iv=IV).request())
        )

    blocks = (MAX_SIZE - len(KEY) - len(IV)) // 2 // 16
    plain = random.Random("largest").randbytes(blocks * 16)
    secret = run(DataOpcode.CIPHER_ENCRYPT, Direction.ENCRYPT, plain)
    assert secret != plain
    assert run(DataOpcode.CIPHER_DECRYPT, Direction.DECRYPT, secret) == plain
    with pytest.raises(LocalProtocolError) as caught:
        run(DataOpcode.CIPHER_ENCRYPT, Direction.ENCRYPT, plain + bytes(16))
    assert caught.value.errno == errno.EFBIG


class TestErrors:
    """The device's answers, after which it goes on."""

    @staticmethod
    def check(driver: CryptoDriver) -> None:
        operation = OPERATIONS["hash"]
        assert driver.execute(operation.request()) == operation.result

    def test_a_tag_that_does_not_fit(self, served: Served) -> None:
        driver = served.crypto(CRYPTO)
        wrong = Operation(
            DataOpcode.AEAD_DECRYPT, aead(Direction.DECRYPT), bytes(116), bytes(100), iv=IV[:12]
        )
        with pytest.raises(DeviceError) as caught:
            driver.execute(wrong.request())
        assert caught.value.errno == errno.EBADMSG
        self.check(driver)

    def test_too_many_sessions(self, served: Served) -> None:
        driver = served.crypto(FEW)
        sessions = [driver.create_session(SHA_256) for _ in range(FEW_SESSIONS)]
        with pytest.raises(DeviceError) as caught:
            driver.create_session(SHA_256)
        assert caught.value.errno == errno.ENOSPC
        driver.destroy_session(Service.HASH, sessions[1])
        assert driver.create_session(SHA_256) not in sessions
        self.check(driver)
        # Another initiator has room of its own.
        assert served.crypto(FEW).create_session(SHA_256)

    def test_a_session_that_is_over(self, served: Served) -> None:
        driver = served.crypto(CRYPTO)
        session = driver.create_session(SHA_256)
        driver.destroy_session(Service.HASH, session)
        with pytest.raises(LocalProtocolError) as caught:
            driver.execute(OPERATIONS["hash"].request(session))
        assert caught.value.errno == errno.ESTALE
        self.check(driver)

    def test_a_key_of_no_length_there_is(self, served: Served) -> None:
        driver = served.crypto(CRYPTO)
        parameters = CipherParameters(CipherAlgorithm.AES_CBC, Direction.ENCRYPT, b"too short")
        with pytest.raises(DeviceError):
            driver.create_session(parameters)
        self.check(driver)


def digest(number: int) -> Operation:
    data = random.Random(number).randbytes(number * 97 % 20_000)
    return Operation(DataOpcode.HASH, SHA_256, data, hashlib.sha256(data).digest())


@pytest.mark.rdma
@pytest.mark.rdma_once
def test_many_threads(served: Served) -> None:
    driver = served.crypto(CRYPTO)

    def work(first: int) -> None:
        session = driver.create_session(SHA_256)
        for number in range(first, first + served.way.rounds(20)):
            operation = digest(number)
            assert driver.execute(operation.request(session)) == operation.result
        driver.destroy_session(Service.HASH, session)

    for worker in [Background(work, 20 * place) for place in range(12)]:
        worker.result()


def test_tasks(served: Served) -> None:
    driver = served.crypto(CRYPTO)

    async def work(first: int) -> None:
        for number in range(first, first + served.way.rounds(20)):
            operation = digest(number)
            assert await driver.execute_in_task(operation.request()) == operation.result

    async def main() -> None:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for place in range(12):
                    nursery.start_soon(work, 20 * place)

    trio.run(main)


@pytest.mark.one_dialect
def test_what_the_device_says_of_itself(served: Served) -> None:
    driver = served.crypto(CRYPTO)
    assert driver.session.device_id == 20
    assert len(driver.session.virtqueues) == driver.session.queue_sizes.count() == 3
    assert driver.max_size == driver.config.max_size == MAX_SIZE
    assert served.crypto(FEW).max_size == 8 << 10
