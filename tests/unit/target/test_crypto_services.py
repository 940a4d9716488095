# SPDX-License-Identifier: BSD-3-Clause
"""A crypto device that offers some of its services, as ``services=`` says."""

from __future__ import annotations

import pytest

from tests.unit.target.asking import ask
from tests.unit.target.openssl_program import rsa_key
from vof.errors import ConfigError
from vof.target.backends.crypto_openssl import OpensslBackend
from vof.target.devices.crypto import CryptoDevice, CryptoDeviceOptions
from vof.target.values import Values
from vof.wire.crypto import (
    CipherAlgorithm,
    Config,
    DataOpcode,
    Direction,
    HashAlgorithm,
    KeyType,
    RsaPadding,
    Service,
    Status,
)
from vof.wire.crypto_operations import DataRequest
from vof.wire.crypto_parameters import (
    AkcipherParameters,
    CipherParameters,
    HashParameters,
    Parameters,
    RsaScheme,
)
from vof.wire.crypto_requests import data_request
from vof.wire.crypto_sessions import (
    WireRequest,
    create_session_request,
    destroy_session_request,
    read_session_answer,
)
from vof.wire.structs import unpack

EVERY_FEATURE = 0b111111
DATA_QUEUE, CONTROL_QUEUE = 0, 1

CIPHER = CipherParameters(CipherAlgorithm.AES_CBC, Direction.ENCRYPT, bytes(16))
HASH = HashParameters(HashAlgorithm.SHA_256, 32)


def device(text: str | None) -> CryptoDevice:
    values = Values({} if text is None else {"services": text}, str)
    return CryptoDevice("a/b", 0, CryptoDeviceOptions.take(values), OpensslBackend())


def answer(device: CryptoDevice, queue: int, request: WireRequest) -> bytes:
    instance = device.new_instance()
    instance.choose_features(EVERY_FEATURE)
    area = bytearray(sum(request.writable))
    readable = memoryview(bytearray(b"".join(request.readable)))
    ask(instance, readable, memoryview(area), queue)
    instance.close()
    return bytes(area)


def status_of_session(device: CryptoDevice, parameters: Parameters) -> int:
    request = create_session_request(parameters, EVERY_FEATURE)
    return read_session_answer(answer(device, CONTROL_QUEUE, request)).status


def status_of_digest(device: CryptoDevice) -> int:
    request = DataRequest(DataOpcode.HASH, parameters=HASH, src=b"x", result_len=32)
    return answer(device, DATA_QUEUE, data_request(request, EVERY_FEATURE))[-1]


def test_what_is_left_out_is_not_there() -> None:
    found = device("akcipher")
    config = unpack(Config, found.new_instance().read_config())
    assert config.crypto_services == 1 << Service.AKCIPHER
    assert config.akcipher_algo
    others = (config.cipher_algo_l, config.cipher_algo_h, config.hash_algo)
    assert not any((*others, config.mac_algo_l, config.mac_algo_h, config.aead_algo))
    assert found.features == 1 << 32 | 1 << 5 | 1  # VERSION_1, AKCIPHER_STATELESS, REVISION_1
    assert status_of_session(found, CIPHER) == Status.NOTSUPP
    assert status_of_digest(found) == Status.NOTSUPP
    destroy = destroy_session_request(Service.CIPHER, 1, EVERY_FEATURE)
    assert answer(found, CONTROL_QUEUE, destroy) == bytes([Status.NOTSUPP])


def test_what_is_named_is_served() -> None:
    rsa = AkcipherParameters(RsaScheme(RsaPadding.RAW), KeyType.PRIVATE, rsa_key(1024)[0])
    assert status_of_session(device("akcipher"), rsa) == Status.OK
    both = device("hash+cipher")
    assert (status_of_session(both, CIPHER), status_of_digest(both)) == (Status.OK, Status.OK)
    assert status_of_session(both, rsa) == Status.NOTSUPP


def test_all_by_default() -> None:
    assert device(None).config == device("cipher+hash+mac+aead+akcipher").config
    assert device(None).config.crypto_services == 0b11111


@pytest.mark.parametrize("text", ["", "rsa", "hash+", "AKCIPHER", "hash cipher"])
def test_no_services(text: str) -> None:
    with pytest.raises(
        ConfigError, match="join some of these by \\+: cipher, hash, mac, aead, akc"
    ):
        device(text)
