# SPDX-License-Identifier: BSD-3-Clause
"""The algorithms by the names that OpenSSL has for them, in lower case.

Owns which name is which algorithm of virtio's, what it does, and which lengths it takes. Must not
know how a request is made (``jobs``), nor what is in a key (``keys``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from vof.drivers.crypto import CryptoDriver
from vof.wire.crypto import (
    HASH_SIZES,
    MAC_SIZES,
    AeadAlgorithm,
    AkcipherAlgorithm,
    CipherAlgorithm,
    Curve,
    HashAlgorithm,
    MacAlgorithm,
    RsaHash,
    RsaPadding,
    Service,
)
from vof.wire.crypto import Algorithm as WireAlgorithm
from vof.wire.crypto_parameters import EcdsaScheme, RsaScheme

Lengths = Sequence[int]
"""The lengths, in bytes, that something may have: a range or some numbers. Empty: it has none."""


class Operation(StrEnum):
    """One thing to do with an algorithm, by the name that files and verbs have."""

    ENCRYPT = "encrypt"
    DECRYPT = "decrypt"
    SIGN = "sign"
    VERIFY = "verify"
    DIGEST = "digest"


_BOTH_WAYS = (Operation.ENCRYPT, Operation.DECRYPT)
_SIGNATURES = (Operation.SIGN, Operation.VERIFY)


@dataclass(frozen=True)
class Algorithm:
    """One algorithm: virtio's numbers behind a name, and what it takes."""

    name: str
    service: Service
    number: WireAlgorithm
    operations: tuple[Operation, ...]
    key_lengths: Lengths = ()
    """Of a symmetric key; for AKCIPHER empty, since a key has the length that it has."""
    iv_lengths: Lengths = ()
    tag_lengths: Lengths = ()
    """Of an AEAD's tag, a code, or the digest of a function that gives as much as one likes."""
    tag_length: int = 0
    """What it is unless it is said: that of OpenSSL's commands."""
    has_aad: bool = False
    block: int = 1
    """The length of the data is a multiple of this."""
    shortest: int = 0
    """Bytes of data that there have to be."""
    scheme: RsaScheme | EcdsaScheme | None = None
    """Of AKCIPHER alone."""
    digest: str = ""
    """The hash that a signature is over, by hashlib's name; empty: over the data itself."""

    @property
    def has_key(self) -> bool:
        return bool(self.key_lengths) or self.service is Service.AKCIPHER


def text_of(lengths: Lengths) -> str:
    """Return lengths as text: ``16``, ``1-64``, ``4,8,12``."""
    if isinstance(lengths, range) and len(lengths) > 1 and lengths.step == 1:
        return f"{lengths[0]}-{lengths[-1]}"
    return ",".join(map(str, lengths))


AES_KEYS = (16, 24, 32)
MAX_MAC_KEY = 1 << 16
MAX_SHAKE = 1 << 12
"""Bytes of output of an extendable function; a limit of ours."""


def _ciphers() -> Iterator[Algorithm]:
    def cipher(name: str, number: CipherAlgorithm, key: Lengths, **more: object) -> Algorithm:
        plain = Algorithm(name, Service.CIPHER, number, _BOTH_WAYS, key, shortest=1)
        return replace(plain, **more)  # type: ignore[arg-type]

    for size in AES_KEYS:
        name = f"aes-{size * 8}"
        key = (size,)
        yield cipher(f"{name}-ecb", CipherAlgorithm.AES_ECB, key, block=16)
        yield cipher(f"{name}-cbc", CipherAlgorithm.AES_CBC, key, block=16, iv_lengths=(16,))
        yield cipher(f"{name}-ctr", CipherAlgorithm.AES_CTR, key, iv_lengths=(16,))
    for size in (16, 32):
        yield cipher(
            f"aes-{size * 8}-xts",
            CipherAlgorithm.AES_XTS,
            (2 * size,),
            iv_lengths=(16,),
            shortest=16,
        )
    yield cipher("des-ecb", CipherAlgorithm.DES_ECB, (8,), block=8)
    yield cipher("des-cbc", CipherAlgorithm.DES_CBC, (8,), block=8, iv_lengths=(8,))
    yield cipher("des-ede3-ecb", CipherAlgorithm.TRIPLE_DES_ECB, (24,), block=8)
    yield cipher("des-ede3-cbc", CipherAlgorithm.TRIPLE_DES_CBC, (24,), block=8, iv_lengths=(8,))
    yield cipher("rc4", CipherAlgorithm.ARC4, (16,))


_HASHES = {
    "md5": HashAlgorithm.MD5,
    "sha1": HashAlgorithm.SHA1,
    "sha224": HashAlgorithm.SHA_224,
    "sha256": HashAlgorithm.SHA_256,
    "sha384": HashAlgorithm.SHA_384,
    "sha512": HashAlgorithm.SHA_512,
    "sha3-224": HashAlgorithm.SHA3_224,
    "sha3-256": HashAlgorithm.SHA3_256,
    "sha3-384": HashAlgorithm.SHA3_384,
    "sha3-512": HashAlgorithm.SHA3_512,
}

_SHAKES = {
    "shake128": (HashAlgorithm.SHA3_SHAKE128, 16),
    "shake256": (HashAlgorithm.SHA3_SHAKE256, 32),
}

_HMACS = {
    "md5": MacAlgorithm.HMAC_MD5,
    "sha1": MacAlgorithm.HMAC_SHA1,
    "sha224": MacAlgorithm.HMAC_SHA_224,
    "sha256": MacAlgorithm.HMAC_SHA_256,
    "sha384": MacAlgorithm.HMAC_SHA_384,
    "sha512": MacAlgorithm.HMAC_SHA_512,
}


def _digests() -> Iterator[Algorithm]:
    operations = (Operation.DIGEST,)
    for name, number in _HASHES.items():
        size = HASH_SIZES[number]
        yield Algorithm(name, Service.HASH, number, operations, tag_length=size)
    for name, (shake, size) in _SHAKES.items():
        lengths = range(1, MAX_SHAKE + 1)
        yield Algorithm(name, Service.HASH, shake, operations, tag_lengths=lengths, tag_length=size)

    def code(name: str, number: MacAlgorithm, key: Lengths) -> Algorithm:
        size = MAC_SIZES[number]
        lengths = range(1, size + 1)
        return Algorithm(
            name, Service.MAC, number, operations, key, tag_lengths=lengths, tag_length=size
        )

    for name, hmac in _HMACS.items():
        yield code(f"hmac-{name}", hmac, range(1, MAX_MAC_KEY + 1))
    for size in AES_KEYS:
        yield code(f"cmac-aes-{size * 8}", MacAlgorithm.CMAC_AES, (size,))
    yield code("cmac-des-ede3", MacAlgorithm.CMAC_3DES, (24,))


def _aeads() -> Iterator[Algorithm]:
    def aead(name: str, number: AeadAlgorithm, size: int, iv: Lengths, tags: Lengths) -> Algorithm:
        return Algorithm(
            name,
            Service.AEAD,
            number,
            _BOTH_WAYS,
            (size,),
            iv,
            tag_lengths=tags,
            tag_length=16,
            has_aad=True,
        )

    for size in AES_KEYS:
        # NIST SP 800-38D §5.2.1.2 and SP 800-38C §A.1. A GCM nonce may have any length; 12 is
        # the one to use.
        gcm_tags = (4, 8, 12, 13, 14, 15, 16)
        yield aead(f"aes-{size * 8}-gcm", AeadAlgorithm.GCM, size, range(8, 129), gcm_tags)
        ccm_tags = range(4, 17, 2)
        yield aead(f"aes-{size * 8}-ccm", AeadAlgorithm.CCM, size, range(7, 14), ccm_tags)
    yield aead("chacha20-poly1305", AeadAlgorithm.CHACHA20_POLY1305, 32, (12,), (16,))


_RSA_HASHES = {
    "md5": RsaHash.MD5,
    "sha1": RsaHash.SHA1,
    "sha224": RsaHash.SHA224,
    "sha256": RsaHash.SHA256,
    "sha384": RsaHash.SHA384,
    "sha512": RsaHash.SHA512,
}

_CURVES = {
    "p192": Curve.NIST_P192,
    "p224": Curve.NIST_P224,
    "p256": Curve.NIST_P256,
    "p384": Curve.NIST_P384,
    "p521": Curve.NIST_P521,
}

_ECDSA_HASHES = ("sha1", "sha224", "sha256", "sha384", "sha512")


def _asymmetric() -> Iterator[Algorithm]:
    def rsa(name: str, operations: Iterable[Operation], **more: object) -> Algorithm:
        plain = Algorithm(name, Service.AKCIPHER, AkcipherAlgorithm.RSA, tuple(operations))
        return replace(plain, **more)  # type: ignore[arg-type]

    yield rsa("rsa", _BOTH_WAYS, scheme=RsaScheme(RsaPadding.RAW), shortest=1)
    yield rsa("rsa-pkcs1", (*_BOTH_WAYS, *_SIGNATURES), scheme=RsaScheme(RsaPadding.PKCS1))
    for name, digest in _RSA_HASHES.items():
        scheme = RsaScheme(RsaPadding.PKCS1, digest)
        yield rsa(f"rsa-{name}", _SIGNATURES, scheme=scheme, digest=name)
    for name, curve in _CURVES.items():
        for hashed in _ECDSA_HASHES:
            yield Algorithm(
                f"ecdsa-{name}-{hashed}",
                Service.AKCIPHER,
                AkcipherAlgorithm.ECDSA,
                _SIGNATURES,
                scheme=EcdsaScheme(curve),
                digest=hashed,
            )


ALGORITHMS: Mapping[str, Algorithm] = {
    algorithm.name: algorithm
    for family in (_ciphers, _digests, _aeads, _asymmetric)
    for algorithm in family()
}
"""Every algorithm that has a name, in the order in which they are listed."""


def offered(driver: CryptoDriver) -> dict[str, Algorithm]:
    """Return the algorithms that a device offers, with its own limits.

    Which paddings, hashes and curves it has for AKCIPHER, a device does not say: it may yet refuse
    some of those.
    """
    found = {}
    for algorithm in ALGORITHMS.values():
        if algorithm.number not in driver.config.algorithms(algorithm.service):
            continue
        longest = driver.max_key_length(algorithm.service)
        keys = algorithm.key_lengths
        if isinstance(keys, range):
            keys = range(keys.start, min(keys.stop, longest + 1))
        else:
            keys = tuple(size for size in keys if size <= longest)
        if bool(keys) == bool(algorithm.key_lengths):
            found[algorithm.name] = replace(algorithm, key_lengths=keys)
    return found
