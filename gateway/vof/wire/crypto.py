# SPDX-License-Identifier: BSD-3-Clause
"""virtio-crypto (virtio 1.2 §5.9): its numbers and its config space.

AKCIPHER, with its config field, feature bit and KEY_REJECTED, is not in 1.2: it came with virtio
1.3 §5.9, which otherwise changes nothing here. Linux has one number of its own, see
``AkcipherAlgorithm``.

Must not know what a request looks like (``crypto_parameters``, ``crypto_sessions``,
``crypto_requests``) nor how anything is encrypted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum, IntFlag
from typing import NamedTuple

from vof.errors import VofError
from vof.wire.layout import laid_out

CONFIG_SIZE = 56
"""Bytes of the config space."""


class Service(IntEnum):
    """§5.9.4: also bit numbers in ``crypto_services``."""

    CIPHER = 0
    HASH = 1
    MAC = 2
    AEAD = 3
    AKCIPHER = 4


class Feature(IntFlag):
    """§5.9.3. Each of the others needs REVISION_1 (§5.9.3.1)."""

    REVISION_1 = 1 << 0
    """Fixed parts of requests are as long as their structures, not padded."""
    CIPHER_STATELESS_MODE = 1 << 1
    HASH_STATELESS_MODE = 1 << 2
    MAC_STATELESS_MODE = 1 << 3
    AEAD_STATELESS_MODE = 1 << 4
    AKCIPHER_STATELESS_MODE = 1 << 5


STATELESS_MODE = {service: Feature(1 << 1 + service) for service in Service}
"""The feature that lets a service take requests without a session."""


class DeviceStatus(IntFlag):
    """§5.9.5: the config space's ``status``."""

    HW_READY = 1 << 0


class Status(IntEnum):
    """§5.9.7.1: how a control or data request ended."""

    OK = 0
    ERR = 1
    BADMSG = 2
    """AEAD: the tag does not fit the data."""
    NOTSUPP = 3
    INVSESS = 4
    """There is no such session."""
    NOSPC = 5
    """There is room for no further session."""
    KEY_REJECTED = 6
    """AKCIPHER: the signature does not fit the data."""


class BadRequest(VofError):
    """A request that a device must not execute; ``status`` is what it answers instead."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


def opcode(service: Service, operation: int) -> int:
    """Return the opcode of an operation of a service (§5.9.7.2)."""
    return service << 8 | operation


def service_of(number: int) -> Service:
    """Return the service whose opcode ``number`` is. Raises ValueError for an unknown one."""
    return Service(number >> 8)


class ControlOpcode(IntEnum):
    """§5.9.7.2: requests on the control queue."""

    CIPHER_CREATE_SESSION = opcode(Service.CIPHER, 2)
    CIPHER_DESTROY_SESSION = opcode(Service.CIPHER, 3)
    HASH_CREATE_SESSION = opcode(Service.HASH, 2)
    HASH_DESTROY_SESSION = opcode(Service.HASH, 3)
    MAC_CREATE_SESSION = opcode(Service.MAC, 2)
    MAC_DESTROY_SESSION = opcode(Service.MAC, 3)
    AEAD_CREATE_SESSION = opcode(Service.AEAD, 2)
    AEAD_DESTROY_SESSION = opcode(Service.AEAD, 3)
    AKCIPHER_CREATE_SESSION = opcode(Service.AKCIPHER, 4)
    AKCIPHER_DESTROY_SESSION = opcode(Service.AKCIPHER, 5)


CREATE_SESSION = {service: ControlOpcode[f"{service.name}_CREATE_SESSION"] for service in Service}
DESTROY_SESSION = {service: ControlOpcode[f"{service.name}_DESTROY_SESSION"] for service in Service}


class DataOpcode(IntEnum):
    """§5.9.7.3: requests on a data queue. None is the number of a control request."""

    CIPHER_ENCRYPT = opcode(Service.CIPHER, 0)
    CIPHER_DECRYPT = opcode(Service.CIPHER, 1)
    HASH = opcode(Service.HASH, 0)
    MAC = opcode(Service.MAC, 0)
    AEAD_ENCRYPT = opcode(Service.AEAD, 0)
    AEAD_DECRYPT = opcode(Service.AEAD, 1)
    AKCIPHER_ENCRYPT = opcode(Service.AKCIPHER, 0)
    AKCIPHER_DECRYPT = opcode(Service.AKCIPHER, 1)
    AKCIPHER_SIGN = opcode(Service.AKCIPHER, 2)
    AKCIPHER_VERIFY = opcode(Service.AKCIPHER, 3)


FLAG_SESSION_MODE = 1
"""``flag`` of a data request (§5.9.7.3); means nothing without REVISION_1."""


class Direction(IntEnum):
    """§5.9.7.2.1.3: VIRTIO_CRYPTO_OP_*, what a CIPHER or AEAD session is for."""

    ENCRYPT = 1
    DECRYPT = 2


class SymOperation(IntEnum):
    """§5.9.7.2.1.3: VIRTIO_CRYPTO_SYM_OP_*, the ``op_type`` of the CIPHER service.

    Chaining is named so that it can be told apart; this project neither offers nor asks for it.
    """

    NONE = 0
    CIPHER = 1
    ALGORITHM_CHAINING = 2


class CipherAlgorithm(IntEnum):
    """§5.9.4.1."""

    NONE = 0
    ARC4 = 1
    AES_ECB = 2
    AES_CBC = 3
    AES_CTR = 4
    DES_ECB = 5
    DES_CBC = 6
    TRIPLE_DES_ECB = 7
    TRIPLE_DES_CBC = 8
    TRIPLE_DES_CTR = 9
    KASUMI_F8 = 10
    SNOW3G_UEA2 = 11
    AES_F8 = 12
    AES_XTS = 13
    ZUC_EEA3 = 14


class HashAlgorithm(IntEnum):
    """§5.9.4.2."""

    NONE = 0
    MD5 = 1
    SHA1 = 2
    SHA_224 = 3
    SHA_256 = 4
    SHA_384 = 5
    SHA_512 = 6
    SHA3_224 = 7
    SHA3_256 = 8
    SHA3_384 = 9
    SHA3_512 = 10
    SHA3_SHAKE128 = 11
    SHA3_SHAKE256 = 12


class MacAlgorithm(IntEnum):
    """§5.9.4.3. Linux's header stops at XCBC_AES."""

    NONE = 0
    HMAC_MD5 = 1
    HMAC_SHA1 = 2
    HMAC_SHA_224 = 3
    HMAC_SHA_256 = 4
    HMAC_SHA_384 = 5
    HMAC_SHA_512 = 6
    CMAC_3DES = 25
    CMAC_AES = 26
    KASUMI_F9 = 27
    SNOW3G_UIA2 = 28
    GMAC_AES = 41
    GMAC_TWOFISH = 42
    CBCMAC_AES = 49
    CBCMAC_KASUMI_F9 = 50
    XCBC_AES = 53
    ZUC_EIA3 = 54


class AeadAlgorithm(IntEnum):
    """§5.9.4.4. Whether GCM is AES, and with which key length, only the key says."""

    NONE = 0
    GCM = 1
    CCM = 2
    CHACHA20_POLY1305 = 3


class AkcipherAlgorithm(IntEnum):
    """virtio 1.3 §5.9.4.5. Linux's header has DSA 2 and ECDSA 3; its driver uses RSA alone.

    The specification's numbers are followed: they are the ones that others can read.
    """

    NONE = 0
    RSA = 1
    ECDSA = 2


Algorithm = CipherAlgorithm | HashAlgorithm | MacAlgorithm | AeadAlgorithm | AkcipherAlgorithm

ALGORITHMS: dict[Service, type[Algorithm]] = {
    Service.CIPHER: CipherAlgorithm,
    Service.HASH: HashAlgorithm,
    Service.MAC: MacAlgorithm,
    Service.AEAD: AeadAlgorithm,
    Service.AKCIPHER: AkcipherAlgorithm,
}


class RsaPadding(IntEnum):
    """virtio 1.3 §5.9.7.2.1.5."""

    RAW = 0
    PKCS1 = 1


class RsaHash(IntEnum):
    """virtio 1.3 §5.9.7.2.1.5: the digest that an RSA signature is over; not HashAlgorithm."""

    NONE = 0
    MD2 = 1
    MD3 = 2
    MD4 = 3
    MD5 = 4
    SHA1 = 5
    SHA256 = 6
    SHA384 = 7
    SHA512 = 8
    SHA224 = 9


class Curve(IntEnum):
    """virtio 1.3 §5.9.7.2.1.5."""

    UNKNOWN = 0
    NIST_P192 = 1
    NIST_P224 = 2
    NIST_P256 = 3
    NIST_P384 = 4
    NIST_P521 = 5


class KeyType(IntEnum):
    """virtio 1.3 §5.9.7.2.1.5."""

    PUBLIC = 1
    PRIVATE = 2


@laid_out(
    "IIIIIIIIIIIIQ",
    CONFIG_SIZE,
    status=0,
    max_dataqueues=4,
    crypto_services=8,
    cipher_algo_l=12,
    cipher_algo_h=16,
    hash_algo=20,
    mac_algo_l=24,
    mac_algo_h=28,
    aead_algo=32,
    max_cipher_key_len=36,
    max_auth_key_len=40,
    akcipher_algo=44,
    max_size=48,
)
class Config(NamedTuple):
    """§5.9.5 struct virtio_crypto_config. ``akcipher_algo`` is reserved in virtio 1.2."""

    status: int = 0
    max_dataqueues: int = 0
    """The control queue has this number as its index: the data queues come first (§5.9.2)."""
    crypto_services: int = 0
    cipher_algo_l: int = 0
    cipher_algo_h: int = 0
    hash_algo: int = 0
    mac_algo_l: int = 0
    mac_algo_h: int = 0
    aead_algo: int = 0
    max_cipher_key_len: int = 0
    """Bytes of a CIPHER or AEAD key."""
    max_auth_key_len: int = 0
    """Bytes of a MAC key."""
    akcipher_algo: int = 0
    max_size: int = 0
    """Bytes of all variable-length parts of a data request. 0 limits nothing (ours: that is what
    the reference target says, and it takes requests)."""

    def algorithms(self, service: Service) -> frozenset[Algorithm]:
        """Return what the device offers of a service; empty where it lacks the service.

        Bits without a meaning are ignored (§5.9.5.2).
        """
        if not self.crypto_services >> service & 1:
            return frozenset()
        mask = {
            Service.CIPHER: self.cipher_algo_h << 32 | self.cipher_algo_l,
            Service.HASH: self.hash_algo,
            Service.MAC: self.mac_algo_h << 32 | self.mac_algo_l,
            Service.AEAD: self.aead_algo,
            Service.AKCIPHER: self.akcipher_algo,
        }[service]
        return frozenset(algo for algo in ALGORITHMS[service] if algo and mask >> algo & 1)

    def with_algorithms(self, offer: Mapping[Service, Iterable[Algorithm]]) -> Config:
        """Return this config with these services and algorithms on offer, and no others.

        By service, since members of two algorithm enums that share a number are equal.
        """
        masks = dict.fromkeys(Service, 0) | {
            service: sum(1 << algo for algo in set(algorithms))
            for service, algorithms in offer.items()
        }
        low = (1 << 32) - 1
        return self._replace(
            crypto_services=sum(1 << service for service, mask in masks.items() if mask),
            cipher_algo_l=masks[Service.CIPHER] & low,
            cipher_algo_h=masks[Service.CIPHER] >> 32,
            hash_algo=masks[Service.HASH],
            mac_algo_l=masks[Service.MAC] & low,
            mac_algo_h=masks[Service.MAC] >> 32,
            aead_algo=masks[Service.AEAD],
            akcipher_algo=masks[Service.AKCIPHER],
        )


HASH_SIZES = {
    HashAlgorithm.MD5: 16,
    HashAlgorithm.SHA1: 20,
    HashAlgorithm.SHA_224: 28,
    HashAlgorithm.SHA_256: 32,
    HashAlgorithm.SHA_384: 48,
    HashAlgorithm.SHA_512: 64,
    HashAlgorithm.SHA3_224: 28,
    HashAlgorithm.SHA3_256: 32,
    HashAlgorithm.SHA3_384: 48,
    HashAlgorithm.SHA3_512: 64,
}
"""Bytes of a whole digest. SHAKE has no such number: whoever asks says how many."""

MAC_SIZES = {
    MacAlgorithm.HMAC_MD5: 16,
    MacAlgorithm.HMAC_SHA1: 20,
    MacAlgorithm.HMAC_SHA_224: 28,
    MacAlgorithm.HMAC_SHA_256: 32,
    MacAlgorithm.HMAC_SHA_384: 48,
    MacAlgorithm.HMAC_SHA_512: 64,
    MacAlgorithm.CMAC_3DES: 8,
    MacAlgorithm.CMAC_AES: 16,
}
"""Bytes of a whole authentication code, of the algorithms that this project serves."""

MAX_TAG_SIZE = 16
"""Bytes of the longest tag of every AEAD algorithm there is."""
