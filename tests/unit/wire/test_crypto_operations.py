# SPDX-License-Identifier: BSD-3-Clause
"""Operations of virtio-crypto against the sessions they name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire.crypto_samples import operations
from vof.wire.crypto import (
    AeadAlgorithm,
    BadRequest,
    CipherAlgorithm,
    Curve,
    DataOpcode,
    Direction,
    HashAlgorithm,
    KeyType,
    MacAlgorithm,
    RsaPadding,
    Service,
    Status,
)
from vof.wire.crypto_operations import DataRequest, check_cipher_lengths, check_request
from vof.wire.crypto_parameters import (
    AeadParameters,
    AkcipherParameters,
    CipherParameters,
    EcdsaScheme,
    HashParameters,
    MacParameters,
    Parameters,
    RsaScheme,
)

CIPHER = CipherParameters(CipherAlgorithm.AES_CBC, Direction.ENCRYPT, b"k")
HASH = HashParameters(HashAlgorithm.SHA1, 20)
MAC = MacParameters(MacAlgorithm.HMAC_SHA1, 12, b"k")
SEAL = AeadParameters(AeadAlgorithm.GCM, Direction.ENCRYPT, b"k", tag_len=16)
UNSEAL = AeadParameters(AeadAlgorithm.GCM, Direction.DECRYPT, b"k", tag_len=16)
RSA = AkcipherParameters(RsaScheme(RsaPadding.PKCS1), KeyType.PRIVATE, b"k")
PUBLIC_RSA = replace(RSA, key_type=KeyType.PUBLIC)
RAW_RSA = replace(RSA, scheme=RsaScheme(RsaPadding.RAW))
ECDSA = replace(RSA, scheme=EcdsaScheme(Curve.NIST_P256))


def refused(request: DataRequest, parameters: Parameters) -> Status:
    with pytest.raises(BadRequest) as caught:
        check_request(request, parameters)
    return caught.value.status


@given(st.sampled_from(Service).flatmap(operations))
def test_what_fits(operation: tuple[Parameters, DataRequest]) -> None:
    parameters, request = operation
    check_request(request, parameters)
    assert request.service == parameters.service


def test_sessions_of_another_service() -> None:
    every = (CIPHER, HASH, MAC, SEAL, RSA)
    for opcode in DataOpcode:
        request = DataRequest(opcode)
        for parameters in every:
            if parameters.service != request.service:
                assert refused(request, parameters) == Status.INVSESS


@pytest.mark.parametrize("size", [0, 15, 17, 0xFFFFFFFF])
def test_ciphers_keep_the_length(size: int) -> None:
    request = DataRequest(DataOpcode.CIPHER_ENCRYPT, src=bytes(16), result_len=size)
    assert refused(request, CIPHER) == Status.ERR
    with pytest.raises(BadRequest):
        check_cipher_lengths(request)


def test_sessions_of_the_other_direction() -> None:
    decrypt = DataRequest(DataOpcode.CIPHER_DECRYPT, src=bytes(16), result_len=16)
    assert refused(decrypt, CIPHER) == Status.ERR
    check_request(decrypt, replace(CIPHER, direction=Direction.DECRYPT))
    assert refused(DataRequest(DataOpcode.AEAD_DECRYPT, src=bytes(16)), SEAL) == Status.ERR
    encrypt = DataRequest(DataOpcode.AEAD_ENCRYPT, src=bytes(16), result_len=32)
    assert refused(encrypt, UNSEAL) == Status.ERR


@pytest.mark.parametrize(("opcode", "parameters"), [(DataOpcode.HASH, HASH), (DataOpcode.MAC, MAC)])
def test_results_are_as_long_as_the_session_says(
    opcode: DataOpcode, parameters: HashParameters | MacParameters
) -> None:
    size = parameters.result_len
    check_request(DataRequest(opcode, src=b"abc", result_len=size), parameters)
    for other in (0, size - 1, size + 1, 0xFFFFFFFF):
        request = DataRequest(opcode, src=b"abc", result_len=other)
        assert refused(request, parameters) == Status.ERR


@pytest.mark.parametrize(
    ("parameters", "opcode", "source", "result", "tag"),
    [
        (SEAL, DataOpcode.AEAD_ENCRYPT, 10, 25, 0),
        (SEAL, DataOpcode.AEAD_ENCRYPT, 10, 10, 16),
        (SEAL, DataOpcode.AEAD_ENCRYPT, 10, 26, 15),
        (SEAL, DataOpcode.AEAD_ENCRYPT, 10, 26, 0xFFFFFFFF),
        (UNSEAL, DataOpcode.AEAD_DECRYPT, 26, 9, 16),
        (UNSEAL, DataOpcode.AEAD_DECRYPT, 15, 100, 16),
        (UNSEAL, DataOpcode.AEAD_DECRYPT, 0, 0, 0),
        (UNSEAL, DataOpcode.AEAD_DECRYPT, 26, 10, 17),
    ],
)
def test_lengths_that_a_tag_does_not_fit(
    parameters: AeadParameters, opcode: DataOpcode, source: int, result: int, tag: int
) -> None:
    request = DataRequest(opcode, src=bytes(source), result_len=result, tag_len=tag)
    assert refused(request, parameters) == Status.ERR


def test_lengths_that_a_tag_fits() -> None:
    for tag, spare in ((0, 0), (16, 0), (16, 16)):
        seal = DataRequest(
            DataOpcode.AEAD_ENCRYPT, src=bytes(10), result_len=26 + spare, tag_len=tag
        )
        check_request(seal, SEAL)
        unseal = DataRequest(
            DataOpcode.AEAD_DECRYPT, src=bytes(26), result_len=10 + spare, tag_len=tag
        )
        check_request(unseal, UNSEAL)
    check_request(DataRequest(DataOpcode.AEAD_DECRYPT, src=bytes(16)), UNSEAL)


def test_additional_data_of_a_session_that_says_how_much() -> None:
    request = DataRequest(DataOpcode.AEAD_ENCRYPT, src=b"", result_len=16, aad=b"12345")
    check_request(request, SEAL)
    check_request(request, replace(SEAL, aad_len=5))
    assert refused(request, replace(SEAL, aad_len=4)) == Status.ERR
    assert refused(replace(request, aad=b""), replace(SEAL, aad_len=5)) == Status.ERR


@pytest.mark.parametrize(
    ("parameters", "opcode", "status"),
    [
        (PUBLIC_RSA, DataOpcode.AKCIPHER_DECRYPT, Status.ERR),
        (PUBLIC_RSA, DataOpcode.AKCIPHER_SIGN, Status.ERR),
        (RAW_RSA, DataOpcode.AKCIPHER_SIGN, Status.NOTSUPP),
        (RAW_RSA, DataOpcode.AKCIPHER_VERIFY, Status.NOTSUPP),
        (ECDSA, DataOpcode.AKCIPHER_ENCRYPT, Status.NOTSUPP),
        (ECDSA, DataOpcode.AKCIPHER_DECRYPT, Status.NOTSUPP),
    ],
)
def test_what_a_key_cannot_do(
    parameters: AkcipherParameters, opcode: DataOpcode, status: Status
) -> None:
    assert refused(DataRequest(opcode), parameters) == status


@pytest.mark.parametrize(
    ("parameters", "opcode"),
    [
        (PUBLIC_RSA, DataOpcode.AKCIPHER_ENCRYPT),
        (PUBLIC_RSA, DataOpcode.AKCIPHER_VERIFY),
        (RAW_RSA, DataOpcode.AKCIPHER_DECRYPT),
        # The Linux driver encrypts in sessions with a private key too.
        (RAW_RSA, DataOpcode.AKCIPHER_ENCRYPT),
        (ECDSA, DataOpcode.AKCIPHER_SIGN),
        (ECDSA, DataOpcode.AKCIPHER_VERIFY),
    ],
)
def test_what_a_key_can_do(parameters: AkcipherParameters, opcode: DataOpcode) -> None:
    check_request(DataRequest(opcode), parameters)


def test_size_and_parts() -> None:
    request = DataRequest(
        DataOpcode.AEAD_ENCRYPT, 1, SEAL, src=b"12", result_len=18, iv=b"iv0", aad=b"more"
    )
    assert request.variable_size == 1 + 2 + 18 + 3 + 4
    assert list(request.parts.items()) == [("iv", b"iv0"), ("src", b"12"), ("aad", b"more")]
    assert list(DataRequest(DataOpcode.CIPHER_DECRYPT).parts) == ["iv", "src"]
    assert list(DataRequest(DataOpcode.MAC).parts) == ["src"]
    assert list(DataRequest(DataOpcode.AKCIPHER_SIGN).parts) == ["src"]
    assert list(DataRequest(DataOpcode.AKCIPHER_VERIFY).parts) == ["src", "signed"]


def test_contents_do_not_show() -> None:
    request = DataRequest(DataOpcode.MAC, 5, MAC, src=b"secret", iv=b"secret", aad=b"secret")
    assert "secret" not in repr(request)
    assert "session_id=5" in repr(request)
