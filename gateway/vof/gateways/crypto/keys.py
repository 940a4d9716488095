# SPDX-License-Identifier: BSD-3-Clause
"""Keys as they are kept in files, made into what virtio wants.

A symmetric key is its bytes. Keys of RSA and ECDSA come in PEM or DER, in any of the usual forms,
and go out as virtio 1.3 §5.9.7.2.1.5 says: RSAPrivateKey and RSAPublicKey of PKCS#1, ECPrivateKey
of RFC 5915; a public ECDSA key as the point of SEC 1.

A key is wiped when it is done with. The library that reads PEM and DER keeps its copy until Python
frees it, as do the buffers that a key was read through.
"""

from __future__ import annotations

from typing import Any

from vof.errors import ConfigError
from vof.gateways.crypto.algorithms import Algorithm, text_of
from vof.wire.crypto import Curve, KeyType, Service
from vof.wire.crypto_parameters import EcdsaScheme
from vof.wire.structs import Buffer

MAX_KEY_FILE = 64 << 10
"""Bytes of a key as a user gives it."""

_CURVES = {
    "secp192r1": Curve.NIST_P192,
    "secp224r1": Curve.NIST_P224,
    "secp256r1": Curve.NIST_P256,
    "secp384r1": Curve.NIST_P384,
    "secp521r1": Curve.NIST_P521,
}


class Key:
    """A key in virtio's form. Shows nothing of itself."""

    __slots__ = ("material", "signature_size", "size", "type")

    def __init__(
        self,
        material: bytearray,
        type_: KeyType = KeyType.PRIVATE,
        size: int = 0,
        signature_size: int = 0,
    ) -> None:
        self.material = material
        self.type = type_
        """Of AKCIPHER alone, as is what follows."""
        self.size = size
        """Bytes of RSA's modulus."""
        self.signature_size = signature_size
        """Bytes of the longest signature."""

    def wipe(self) -> None:
        """Overwrite the key. Idempotent."""
        self.material[:] = bytes(len(self.material))


NO_KEY = Key(bytearray())


def read_key(algorithm: Algorithm, content: Buffer) -> Key:
    """Return the key in ``content``, which stays the caller's.

    Raises ConfigError, with no word of the key in it, for one that the algorithm cannot have.
    """
    if algorithm.service is Service.AKCIPHER:
        return _read_asymmetric(algorithm, bytes(content))
    if not algorithm.has_key:
        raise ConfigError(f"{algorithm.name} has no key")
    if len(content) not in algorithm.key_lengths:
        raise ConfigError(
            f"a key of {len(content)} bytes; {algorithm.name} takes "
            f"{text_of(algorithm.key_lengths)}"
        )
    return Key(bytearray(content))


def _read_asymmetric(algorithm: Algorithm, content: bytes) -> Key:
    # Loading it takes a while, and who has no such keys does without.
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415

    key = _load(content)
    wants_ec = isinstance(algorithm.scheme, EcdsaScheme)
    match key:
        case rsa.RSAPrivateKey() | rsa.RSAPublicKey() if not wants_ec:
            size = -(-key.key_size // 8)
            return Key(_encode(key), _type(key), size, size)
        case ec.EllipticCurvePrivateKey() | ec.EllipticCurvePublicKey() if wants_ec:
            assert isinstance(algorithm.scheme, EcdsaScheme)
            if _CURVES.get(key.curve.name) != algorithm.scheme.curve:
                raise ConfigError(f"{algorithm.name} takes no key on the curve {key.curve.name}")
            size = -(-key.curve.key_size // 8)
            # Two numbers, each with a sign bit of its own, in a SEQUENCE.
            return Key(_encode(key), _type(key), size, 3 + 2 * (3 + size))
        case _:
            raise ConfigError(f"{algorithm.name} takes no key of that kind")


def _type(key: object) -> KeyType:
    return KeyType.PRIVATE if hasattr(key, "private_bytes") else KeyType.PUBLIC


def _load(content: bytes) -> object:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization as forms  # noqa: PLC0415

    if b"-----BEGIN" in content:
        form = "PEM"
        loaders: tuple[tuple[Any, tuple[Any, ...]], ...] = (
            (forms.load_pem_private_key, (None,)),
            (forms.load_pem_public_key, ()),
        )
    else:
        form = "DER"
        loaders = (
            (forms.load_der_private_key, (None,)),
            (forms.load_der_public_key, ()),
        )
    for load, password in loaders:
        try:
            return load(content, *password)
        except TypeError:
            raise ConfigError(
                "the key is encrypted; decrypt it first, say by `openssl pkey`"
            ) from None
        except (ValueError, UnsupportedAlgorithm):
            continue
    raise ConfigError(f"no private or public key in {form} was found")


def _encode(key: object) -> bytearray:
    from cryptography.hazmat.primitives import serialization as forms  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415

    match key:
        case rsa.RSAPrivateKey() | ec.EllipticCurvePrivateKey():
            encoded = key.private_bytes(
                forms.Encoding.DER,
                forms.PrivateFormat.TraditionalOpenSSL,
                forms.NoEncryption(),
            )
        case rsa.RSAPublicKey():
            encoded = key.public_bytes(forms.Encoding.DER, forms.PublicFormat.PKCS1)
        case ec.EllipticCurvePublicKey():
            encoded = key.public_bytes(forms.Encoding.X962, forms.PublicFormat.UncompressedPoint)
        case _:
            raise ConfigError("a key of another kind")
    return bytearray(encoded)
