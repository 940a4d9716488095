# SPDX-License-Identifier: BSD-3-Clause
"""ECDSA of ``driver=crypto-openssl``, over the NIST curves that the library has.

A private key is an ECPrivateKey of RFC 5915, with or without the name of its curve; a public one
the point of SEC 1. What is signed is a digest as long as SHA-1, SHA-2 or SHA-3 make them: nothing
in a session says of which hash, and only the length matters. A signature is in DER (RFC 3279
§2.2.3), as OpenSSL and Linux have it.
"""

from __future__ import annotations

from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from vof.target.backends.crypto_der import ec_private
from vof.target.backends.crypto_interface import CryptoContext
from vof.wire.crypto import BadRequest, Curve, DataOpcode, KeyType, Status
from vof.wire.crypto_operations import DataRequest
from vof.wire.crypto_parameters import AkcipherParameters, EcdsaScheme


class _Named(NamedTuple):
    curve: ec.EllipticCurve
    oid: bytes
    """RFC 5480 §2.1.1.1, encoded."""


_CURVES: dict[Curve, _Named] = {
    Curve.NIST_P192: _Named(ec.SECP192R1(), bytes.fromhex("2a8648ce3d030101")),
    Curve.NIST_P224: _Named(ec.SECP224R1(), bytes.fromhex("2b81040021")),
    Curve.NIST_P256: _Named(ec.SECP256R1(), bytes.fromhex("2a8648ce3d030107")),
    Curve.NIST_P384: _Named(ec.SECP384R1(), bytes.fromhex("2b81040022")),
    Curve.NIST_P521: _Named(ec.SECP521R1(), bytes.fromhex("2b81040023")),
}

_DIGESTS = {
    digest.digest_size: ec.ECDSA(utils.Prehashed(digest))
    for digest in (
        hashes.SHA1(),
        hashes.SHA224(),
        hashes.SHA256(),
        hashes.SHA384(),
        hashes.SHA512(),
    )
}
"""By length. Any hash of that length does."""


def supported_curves() -> set[Curve]:
    """Return those that the library has."""
    found = set()
    for curve, named in _CURVES.items():
        try:
            ec.derive_private_key(1, named.curve)
        except (UnsupportedAlgorithm, ValueError):
            continue
        found.add(curve)
    return found


class EcdsaContext(CryptoContext):
    """A key of ECDSA."""

    def __init__(self, parameters: AkcipherParameters) -> None:
        """Raises ValueError for a key that cannot be used."""
        assert isinstance(parameters.scheme, EcdsaScheme)
        named = _CURVES[parameters.scheme.curve]
        self._private: ec.EllipticCurvePrivateKey | None = None
        if parameters.key_type == KeyType.PRIVATE:
            secret, oid = ec_private(memoryview(parameters.key))
            if oid not in {None, named.oid}:
                raise ValueError("the key is for another curve")
            self._private = ec.derive_private_key(secret, named.curve)
            self._public = self._private.public_key()
        else:
            point = bytes(parameters.key)
            self._public = ec.EllipticCurvePublicKey.from_encoded_point(named.curve, point)

    def execute(self, request: DataRequest) -> bytes:
        if request.opcode == DataOpcode.AKCIPHER_SIGN:
            assert self._private is not None  # check_request has seen to it
            return self._private.sign(bytes(request.src), _scheme(len(request.src)))
        scheme = _scheme(len(request.signed))
        try:
            self._public.verify(bytes(request.src), bytes(request.signed), scheme)
        except InvalidSignature:
            raise BadRequest(Status.KEY_REJECTED, "the signature does not fit") from None
        return b""


def _scheme(size: int) -> ec.ECDSA:
    if size not in _DIGESTS:
        raise BadRequest(Status.ERR, f"there is no digest of {size} bytes")
    return _DIGESTS[size]
