# SPDX-License-Identifier: BSD-3-Clause
"""HASH and MAC of ``driver=crypto-openssl``. A result may be the leftmost bytes of the whole."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.hmac import HMAC

from vof.target.backends.crypto_interface import CryptoContext
from vof.wire.crypto import BadRequest, HashAlgorithm, MacAlgorithm, Status
from vof.wire.crypto_operations import DataRequest
from vof.wire.crypto_parameters import HashParameters, MacParameters
from vof.wire.structs import Buffer

_HASHES: dict[HashAlgorithm, hashes.HashAlgorithm] = {
    HashAlgorithm.SHA1: hashes.SHA1(),
    HashAlgorithm.SHA_224: hashes.SHA224(),
    HashAlgorithm.SHA_256: hashes.SHA256(),
    HashAlgorithm.SHA_384: hashes.SHA384(),
    HashAlgorithm.SHA_512: hashes.SHA512(),
    HashAlgorithm.SHA3_224: hashes.SHA3_224(),
    HashAlgorithm.SHA3_256: hashes.SHA3_256(),
    HashAlgorithm.SHA3_384: hashes.SHA3_384(),
    HashAlgorithm.SHA3_512: hashes.SHA3_512(),
}

_HMACS: dict[MacAlgorithm, hashes.HashAlgorithm] = {
    MacAlgorithm.HMAC_SHA1: hashes.SHA1(),
    MacAlgorithm.HMAC_SHA_224: hashes.SHA224(),
    MacAlgorithm.HMAC_SHA_256: hashes.SHA256(),
    MacAlgorithm.HMAC_SHA_384: hashes.SHA384(),
    MacAlgorithm.HMAC_SHA_512: hashes.SHA512(),
}

_CMAC_KEYS = (16, 24, 32)


def supported_hashes() -> set[HashAlgorithm]:
    """Return those that the library has."""
    return {algo for algo, digest in _HASHES.items() if _works(digest)}


def supported_macs() -> set[MacAlgorithm]:
    """Return those that the library has."""
    supported = {algo for algo, digest in _HMACS.items() if _works(digest)}
    try:
        CMAC(AES(bytes(16)))
    except UnsupportedAlgorithm:
        return supported
    return supported | {MacAlgorithm.CMAC_AES}


def _works(digest: hashes.HashAlgorithm) -> bool:
    try:
        hashes.Hash(digest)
    except UnsupportedAlgorithm:
        return False
    return True


class HashContext(CryptoContext):
    """One hash."""

    def __init__(self, parameters: HashParameters) -> None:
        self._digest = _HASHES[parameters.algo]

    def execute(self, request: DataRequest) -> bytes:
        digest = hashes.Hash(self._digest)
        digest.update(request.src)
        return digest.finalize()[: request.result_len]


class MacContext(CryptoContext):
    """A key of an authentication code."""

    def __init__(self, parameters: MacParameters) -> None:
        """Raises BadRequest."""
        self._algo = parameters.algo
        self._key = parameters.key
        if self._algo == MacAlgorithm.CMAC_AES and len(self._key) not in _CMAC_KEYS:
            raise BadRequest(Status.ERR, f"AES has no key of {len(self._key)} bytes")

    def execute(self, request: DataRequest) -> bytes:
        code = self._begin(self._key)
        code.update(bytes(request.src))
        return code.finalize()[: request.result_len]

    def _begin(self, key: Buffer) -> HMAC | CMAC:
        if self._algo == MacAlgorithm.CMAC_AES:
            return CMAC(AES(key))
        return HMAC(key, _HMACS[self._algo])
