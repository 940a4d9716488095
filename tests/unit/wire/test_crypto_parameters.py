# SPDX-License-Identifier: BSD-3-Clause
"""Session parameters of virtio-crypto: their fields, and what a device takes of them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire.crypto_samples import CONFIG, parameters
from vof.wire.crypto import (
    AeadAlgorithm,
    AkcipherAlgorithm,
    BadRequest,
    CipherAlgorithm,
    Config,
    Curve,
    Direction,
    HashAlgorithm,
    KeyType,
    MacAlgorithm,
    RsaHash,
    RsaPadding,
    Service,
    Status,
)
from vof.wire.crypto_parameters import (
    AeadParameters,
    AkcipherParameters,
    CipherParameters,
    EcdsaScheme,
    HashParameters,
    MacParameters,
    RsaScheme,
    check_operation_type,
    checked_parameters,
    fixed_part,
    key_length,
    parameter_fields,
    read_fixed_part,
)
from vof.wire.layout import record

KEY = memoryview(b"0123456789abcdef")


def refused(service: Service, fields: Mapping[str, int], config: Config = CONFIG) -> Status:
    with pytest.raises(BadRequest) as caught:
        checked_parameters(service, fields, KEY, config)
    return caught.value.status


@given(st.sampled_from(Service).flatmap(parameters))
def test_fields_and_back(chosen: object) -> None:
    assert isinstance(
        chosen,
        CipherParameters | HashParameters | MacParameters | AeadParameters | AkcipherParameters,
    )
    fields = {"hash_algo": 0, "aad_len": 0} | parameter_fields(chosen)
    assert key_length(fields) == len(chosen.key)
    key = memoryview(chosen.key)
    assert checked_parameters(chosen.service, fields, key, CONFIG) == chosen


def test_fields() -> None:
    assert parameter_fields(CipherParameters(CipherAlgorithm.AES_XTS, Direction.DECRYPT, KEY)) == {
        "algo": 13,
        "op": 2,
        "key_len": 16,
    }
    assert parameter_fields(MacParameters(MacAlgorithm.CMAC_AES, 16, KEY)) == {
        "algo": 26,
        "hash_result_len": 16,
        "auth_key_len": 16,
    }
    aead = AeadParameters(AeadAlgorithm.CCM, Direction.ENCRYPT, KEY, 8, 3)
    assert parameter_fields(aead) == {
        "algo": 2,
        "op": 1,
        "tag_len": 8,
        "aad_len": 3,
        "key_len": 16,
    }
    rsa = AkcipherParameters(RsaScheme(RsaPadding.PKCS1, RsaHash.SHA384), KeyType.PRIVATE, KEY)
    assert parameter_fields(rsa) == {
        "algo": 1,
        "key_type": 2,
        "padding_algo": 1,
        "hash_algo": 7,
        "key_len": 16,
    }
    ecdsa = AkcipherParameters(EcdsaScheme(Curve.NIST_P521), KeyType.PUBLIC, KEY)
    assert parameter_fields(ecdsa) == {"algo": 2, "key_type": 1, "padding_algo": 5, "key_len": 16}
    assert (rsa.algo, ecdsa.algo) == (AkcipherAlgorithm.RSA, AkcipherAlgorithm.ECDSA)


@pytest.mark.parametrize(
    "chosen",
    [
        CipherParameters(CipherAlgorithm.AES_CBC, Direction.ENCRYPT, b"secret"),
        MacParameters(MacAlgorithm.HMAC_SHA1, 20, b"secret"),
        AeadParameters(AeadAlgorithm.GCM, Direction.ENCRYPT, b"secret", 16),
        AkcipherParameters(RsaScheme(RsaPadding.RAW), KeyType.PRIVATE, b"secret"),
    ],
)
def test_a_key_does_not_show(chosen: object) -> None:
    assert "secret" not in repr(chosen)


@pytest.mark.parametrize("service", Service)
@pytest.mark.parametrize("algo", [0, 15, 64, 255, 0xFFFFFFFF])
def test_unknown_algorithms(service: Service, algo: int) -> None:
    fields = {"algo": algo, "op": 1, "hash_result_len": 4, "tag_len": 4, "aad_len": 0}
    assert refused(service, fields) == Status.NOTSUPP


def test_an_algorithm_that_is_not_offered() -> None:
    config = CONFIG.with_algorithms({Service.CIPHER: [CipherAlgorithm.AES_CBC]})
    fields = {"algo": CipherAlgorithm.AES_ECB, "op": 1}
    assert refused(Service.CIPHER, fields, config) == Status.NOTSUPP
    fields = {"algo": HashAlgorithm.SHA1, "hash_result_len": 20}
    assert refused(Service.HASH, fields, config) == Status.NOTSUPP


@pytest.mark.parametrize(
    ("service", "fields", "status"),
    [
        (Service.CIPHER, {"algo": 3, "op": 0}, Status.NOTSUPP),
        (Service.CIPHER, {"algo": 3, "op": 3}, Status.NOTSUPP),
        (Service.AEAD, {"algo": 1, "op": 9, "tag_len": 16, "aad_len": 0}, Status.NOTSUPP),
        (Service.AEAD, {"algo": 1, "op": 1, "tag_len": 0, "aad_len": 0}, Status.ERR),
        (Service.AEAD, {"algo": 1, "op": 1, "tag_len": 17, "aad_len": 0}, Status.ERR),
        (Service.AEAD, {"algo": 1, "op": 1, "tag_len": 1 << 31, "aad_len": 0}, Status.ERR),
        (Service.HASH, {"algo": 4, "hash_result_len": 0}, Status.ERR),
        (Service.HASH, {"algo": 4, "hash_result_len": 33}, Status.ERR),
        (Service.HASH, {"algo": 11, "hash_result_len": 0}, Status.ERR),
        (Service.MAC, {"algo": 2, "hash_result_len": 21}, Status.ERR),
        (Service.MAC, {"algo": 53, "hash_result_len": 0}, Status.ERR),
        (Service.AKCIPHER, {"algo": 1, "key_type": 0, "padding_algo": 0}, Status.ERR),
        (Service.AKCIPHER, {"algo": 1, "key_type": 3, "padding_algo": 0}, Status.ERR),
        (Service.AKCIPHER, {"algo": 1, "key_type": 1, "padding_algo": 2}, Status.NOTSUPP),
        (
            Service.AKCIPHER,
            {"algo": 1, "key_type": 1, "padding_algo": 1, "hash_algo": 10},
            Status.NOTSUPP,
        ),
        (Service.AKCIPHER, {"algo": 2, "key_type": 1, "padding_algo": 0}, Status.NOTSUPP),
        (Service.AKCIPHER, {"algo": 2, "key_type": 1, "padding_algo": 6}, Status.NOTSUPP),
    ],
)
def test_bad_fields(service: Service, fields: dict[str, int], status: Status) -> None:
    assert refused(service, fields) == status


def test_raw_rsa_ignores_the_hash() -> None:
    fields = {"algo": 1, "key_type": 1, "padding_algo": 0, "hash_algo": 77}
    chosen = checked_parameters(Service.AKCIPHER, fields, KEY, CONFIG)
    assert chosen == AkcipherParameters(RsaScheme(RsaPadding.RAW), KeyType.PUBLIC, KEY)


@pytest.mark.parametrize(
    ("service", "fields"),
    [
        (Service.CIPHER, {"algo": 3, "op": 1}),
        (Service.AEAD, {"algo": 1, "op": 1, "tag_len": 16, "aad_len": 0}),
        (Service.MAC, {"algo": 2, "hash_result_len": 20}),
    ],
)
def test_keys_beyond_the_limit(service: Service, fields: dict[str, int]) -> None:
    limits = CONFIG._replace(max_cipher_key_len=16, max_auth_key_len=16)
    assert checked_parameters(service, fields, KEY, limits).key == KEY
    limits = CONFIG._replace(max_cipher_key_len=15, max_auth_key_len=15)
    assert refused(service, fields, limits) == Status.ERR


@pytest.mark.parametrize(("kind", "word"), [(0, "0 is not"), (2, "chaining"), (3, "3 is not")])
def test_symmetric_operations_that_are_not_offered(kind: int, word: str) -> None:
    with pytest.raises(BadRequest, match=word) as caught:
        check_operation_type({"op_type": kind})
    assert caught.value.status == Status.NOTSUPP
    check_operation_type({"op_type": 1})
    check_operation_type({})


def test_fixed_parts() -> None:
    layout = record("I3sH", 9, first=0, unused=4, last=7)
    raw = fixed_part(layout, {"last": 0x0102, "first": 7, "elsewhere": 1}, 0)
    assert raw == bytes.fromhex("07 00 00 00  00 00 00  02 01")
    assert fixed_part(layout, {"last": 1}, 12) == bytes(7) + b"\1" + bytes(4)
    fields, end = read_fixed_part(layout, b"\xff" + raw + b"rest", 1, 0)
    assert (fields["first"], fields["last"], end) == (7, 0x0102, 10)
    assert read_fixed_part(layout, raw + bytes(3), 0, 12)[1] == 12
    with pytest.raises(BadRequest, match="too few"):
        read_fixed_part(layout, raw + bytes(2), 0, 12)
