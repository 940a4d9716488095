# SPDX-License-Identifier: BSD-3-Clause
"""virtio-crypto's numbers against virtio 1.2 §5.9 and 1.3 §5.9, written down a second time."""

from __future__ import annotations

from enum import IntEnum

import pytest

from vof.errors import VofError
from vof.wire import crypto
from vof.wire.crypto import (
    AeadAlgorithm,
    AkcipherAlgorithm,
    BadRequest,
    CipherAlgorithm,
    Config,
    ControlOpcode,
    DataOpcode,
    Feature,
    HashAlgorithm,
    MacAlgorithm,
    Service,
    Status,
)
from vof.wire.layout import layout_of
from vof.wire.structs import pack, unpack

CONFIG_FIELDS = {
    # §5.9.5: offset and size in bytes
    "status": (0, 4),
    "max_dataqueues": (4, 4),
    "crypto_services": (8, 4),
    "cipher_algo_l": (12, 4),
    "cipher_algo_h": (16, 4),
    "hash_algo": (20, 4),
    "mac_algo_l": (24, 4),
    "mac_algo_h": (28, 4),
    "aead_algo": (32, 4),
    "max_cipher_key_len": (36, 4),
    "max_auth_key_len": (40, 4),
    "akcipher_algo": (44, 4),
    "max_size": (48, 8),
}


def test_config_fields() -> None:
    assert layout_of(Config).fields == CONFIG_FIELDS
    assert list(layout_of(Config).fields) == list(Config._fields)
    assert layout_of(Config).size == crypto.CONFIG_SIZE == 56


def test_config_golden_bytes() -> None:
    raw = bytes(range(1, 57))
    config = unpack(Config, raw)
    assert pack(config) == raw
    for name, (offset, size) in CONFIG_FIELDS.items():
        assert getattr(config, name) == int.from_bytes(raw[offset : offset + size], "little"), name
    assert pack(Config()) == bytes(56)


def test_feature_bits() -> None:
    assert {bit.name: bit.value.bit_length() - 1 for bit in Feature} == {
        "REVISION_1": 0,
        "CIPHER_STATELESS_MODE": 1,
        "HASH_STATELESS_MODE": 2,
        "MAC_STATELESS_MODE": 3,
        "AEAD_STATELESS_MODE": 4,
        "AKCIPHER_STATELESS_MODE": 5,
    }
    assert {service.name: bit.name for service, bit in crypto.STATELESS_MODE.items()} == {
        name: f"{name}_STATELESS_MODE" for name in ("CIPHER", "HASH", "MAC", "AEAD", "AKCIPHER")
    }


def test_opcodes() -> None:
    assert {op.name: op.value for op in ControlOpcode} == {
        "CIPHER_CREATE_SESSION": 0x002,
        "CIPHER_DESTROY_SESSION": 0x003,
        "HASH_CREATE_SESSION": 0x102,
        "HASH_DESTROY_SESSION": 0x103,
        "MAC_CREATE_SESSION": 0x202,
        "MAC_DESTROY_SESSION": 0x203,
        "AEAD_CREATE_SESSION": 0x302,
        "AEAD_DESTROY_SESSION": 0x303,
        "AKCIPHER_CREATE_SESSION": 0x404,
        "AKCIPHER_DESTROY_SESSION": 0x405,
    }
    assert {op.name: op.value for op in DataOpcode} == {
        "CIPHER_ENCRYPT": 0x000,
        "CIPHER_DECRYPT": 0x001,
        "HASH": 0x100,
        "MAC": 0x200,
        "AEAD_ENCRYPT": 0x300,
        "AEAD_DECRYPT": 0x301,
        "AKCIPHER_ENCRYPT": 0x400,
        "AKCIPHER_DECRYPT": 0x401,
        "AKCIPHER_SIGN": 0x402,
        "AKCIPHER_VERIFY": 0x403,
    }
    assert not set(map(int, ControlOpcode)) & set(map(int, DataOpcode))


def test_opcodes_by_service() -> None:
    for service in Service:
        assert crypto.CREATE_SESSION[service].name == f"{service.name}_CREATE_SESSION"
        assert crypto.DESTROY_SESSION[service].name == f"{service.name}_DESTROY_SESSION"
        assert crypto.service_of(crypto.CREATE_SESSION[service]) is service
    for op in DataOpcode:
        assert op.name.startswith(crypto.service_of(op).name)
    with pytest.raises(ValueError, match="5"):
        crypto.service_of(0x500)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Service, "CIPHER=0 HASH=1 MAC=2 AEAD=3 AKCIPHER=4"),
        (Status, "OK=0 ERR=1 BADMSG=2 NOTSUPP=3 INVSESS=4 NOSPC=5 KEY_REJECTED=6"),
        (crypto.Direction, "ENCRYPT=1 DECRYPT=2"),
        (crypto.SymOperation, "NONE=0 CIPHER=1 ALGORITHM_CHAINING=2"),
        (
            CipherAlgorithm,
            "NONE=0 ARC4=1 AES_ECB=2 AES_CBC=3 AES_CTR=4 DES_ECB=5 DES_CBC=6 TRIPLE_DES_ECB=7 "
            "TRIPLE_DES_CBC=8 TRIPLE_DES_CTR=9 KASUMI_F8=10 SNOW3G_UEA2=11 AES_F8=12 AES_XTS=13 "
            "ZUC_EEA3=14",
        ),
        (
            HashAlgorithm,
            "NONE=0 MD5=1 SHA1=2 SHA_224=3 SHA_256=4 SHA_384=5 SHA_512=6 SHA3_224=7 SHA3_256=8 "
            "SHA3_384=9 SHA3_512=10 SHA3_SHAKE128=11 SHA3_SHAKE256=12",
        ),
        (
            MacAlgorithm,
            "NONE=0 HMAC_MD5=1 HMAC_SHA1=2 HMAC_SHA_224=3 HMAC_SHA_256=4 HMAC_SHA_384=5 "
            "HMAC_SHA_512=6 CMAC_3DES=25 CMAC_AES=26 KASUMI_F9=27 SNOW3G_UIA2=28 GMAC_AES=41 "
            "GMAC_TWOFISH=42 CBCMAC_AES=49 CBCMAC_KASUMI_F9=50 XCBC_AES=53 ZUC_EIA3=54",
        ),
        (AeadAlgorithm, "NONE=0 GCM=1 CCM=2 CHACHA20_POLY1305=3"),
        (AkcipherAlgorithm, "NONE=0 RSA=1 ECDSA=2"),
        (crypto.RsaPadding, "RAW=0 PKCS1=1"),
        (
            crypto.RsaHash,
            "NONE=0 MD2=1 MD3=2 MD4=3 MD5=4 SHA1=5 SHA256=6 SHA384=7 SHA512=8 SHA224=9",
        ),
        (
            crypto.Curve,
            "UNKNOWN=0 NIST_P192=1 NIST_P224=2 NIST_P256=3 NIST_P384=4 NIST_P521=5",
        ),
        (crypto.KeyType, "PUBLIC=1 PRIVATE=2"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_numbers(kind: type[IntEnum], names: str) -> None:
    assert " ".join(f"{member.name}={member.value}" for member in kind) == names


def test_other_numbers() -> None:
    assert crypto.FLAG_SESSION_MODE == 1
    assert [(bit.name, bit.value) for bit in crypto.DeviceStatus] == [("HW_READY", 1)]
    assert crypto.MAX_TAG_SIZE == 16


def test_sizes_of_results() -> None:
    hashes = {algo.name: size * 8 for algo, size in crypto.HASH_SIZES.items()}
    assert hashes.pop("MD5") == 128
    assert hashes.pop("SHA1") == 160
    assert all(name.endswith(str(bits)) for name, bits in hashes.items())
    for algo, size in crypto.MAC_SIZES.items():
        family, _, name = algo.name.partition("_")
        if family == "HMAC":
            assert size == crypto.HASH_SIZES[HashAlgorithm[name]]
        else:
            assert size == {"3DES": 8, "AES": 16}[name]


def test_offered_algorithms() -> None:
    config = Config(max_size=7).with_algorithms(
        {
            Service.CIPHER: [CipherAlgorithm.AES_CBC, CipherAlgorithm.AES_XTS],
            Service.HASH: [HashAlgorithm.SHA_256],
            Service.MAC: [MacAlgorithm.HMAC_SHA1, MacAlgorithm.XCBC_AES],
            Service.AKCIPHER: [AkcipherAlgorithm.RSA],
            Service.AEAD: [],
        }
    )
    assert config == Config(
        crypto_services=0b10111,
        cipher_algo_l=1 << 3 | 1 << 13,
        hash_algo=1 << 4,
        mac_algo_l=1 << 2,
        mac_algo_h=1 << 53 - 32,
        akcipher_algo=1 << 1,
        max_size=7,
    )
    assert config.algorithms(Service.MAC) == {MacAlgorithm.HMAC_SHA1, MacAlgorithm.XCBC_AES}
    assert config.algorithms(Service.CIPHER) == {CipherAlgorithm.AES_CBC, CipherAlgorithm.AES_XTS}
    assert config.algorithms(Service.AEAD) == frozenset()


def test_algorithms_of_a_service_that_is_not_offered_do_not_count() -> None:
    config = Config(crypto_services=0b01, hash_algo=0xFFFFFFFF, cipher_algo_l=1 << 31 | 1)
    assert config.algorithms(Service.HASH) == frozenset()
    assert config.algorithms(Service.CIPHER) == frozenset()


def test_every_algorithm_survives_the_config_space() -> None:
    every = {service: [a for a in kind if a] for service, kind in crypto.ALGORITHMS.items()}
    config = unpack(Config, pack(Config().with_algorithms(every)))
    for service, algorithms in every.items():
        assert config.algorithms(service) == set(algorithms)


def test_a_bad_request_carries_its_answer() -> None:
    error = BadRequest(Status.NOTSUPP, "no such thing")
    assert isinstance(error, VofError)
    assert (error.status, str(error)) == (Status.NOTSUPP, "no such thing")
    again = error.again()
    assert isinstance(again, BadRequest)
    assert again.status == Status.NOTSUPP
