# SPDX-License-Identifier: BSD-3-Clause
"""``driver=crypto-openssl``: computes by OpenSSL, through the ``cryptography`` package.

What the library lacks is found out when the backend is opened, and not offered. Owns how the
library's errors become a virtio-crypto status; what they say is dropped, since it may be about a
key. The services are in ``crypto_ciphers``, ``crypto_digests``, ``crypto_rsa`` and
``crypto_ecdsa``.
"""

from __future__ import annotations

from cryptography.exceptions import InternalError, InvalidTag, UnsupportedAlgorithm

from vof.target.backends.backend import WithoutKeys
from vof.target.backends.crypto_ciphers import (
    AeadContext,
    CipherContext,
    supported_aeads,
    supported_ciphers,
)
from vof.target.backends.crypto_digests import (
    HashContext,
    MacContext,
    supported_hashes,
    supported_macs,
)
from vof.target.backends.crypto_ecdsa import EcdsaContext, supported_curves
from vof.target.backends.crypto_interface import CryptoBackend, CryptoContext
from vof.target.backends.crypto_rsa import RsaContext
from vof.wire.crypto import AkcipherAlgorithm, BadRequest, Service, Status
from vof.wire.crypto_operations import DataRequest
from vof.wire.crypto_parameters import (
    AeadParameters,
    CipherParameters,
    EcdsaScheme,
    HashParameters,
    MacParameters,
    Parameters,
)

_REFUSED = (ValueError, OverflowError, InternalError)


class _Guarded(CryptoContext):
    """A context whose errors are the device's."""

    def __init__(self, context: CryptoContext) -> None:
        self._context = context

    def execute(self, request: DataRequest) -> bytes:
        try:
            return self._context.execute(request)
        except InvalidTag:
            raise BadRequest(Status.BADMSG, "the tag does not fit") from None
        except UnsupportedAlgorithm:
            raise BadRequest(Status.NOTSUPP, "the library cannot do it") from None
        except _REFUSED:
            raise BadRequest(Status.ERR, "the library refused it") from None


class OpensslBackend(CryptoBackend):
    """All services."""

    def __init__(self) -> None:
        self._curves = supported_curves()
        akciphers = {AkcipherAlgorithm.RSA}
        if self._curves:
            akciphers.add(AkcipherAlgorithm.ECDSA)
        self.offer = {
            Service.CIPHER: supported_ciphers(),
            Service.HASH: supported_hashes(),
            Service.MAC: supported_macs(),
            Service.AEAD: supported_aeads(),
            Service.AKCIPHER: akciphers,
        }

    def prepare(self, parameters: Parameters) -> CryptoContext:
        try:
            return _Guarded(self._context(parameters))
        except UnsupportedAlgorithm:
            raise BadRequest(Status.NOTSUPP, "the library has no such algorithm") from None
        except _REFUSED:
            raise BadRequest(Status.ERR, "the key cannot be used") from None

    def _context(self, parameters: Parameters) -> CryptoContext:
        match parameters:
            case CipherParameters():
                return CipherContext(parameters)
            case HashParameters():
                return HashContext(parameters)
            case MacParameters():
                return MacContext(parameters)
            case AeadParameters():
                return AeadContext(parameters)
        if not isinstance(parameters.scheme, EcdsaScheme):
            return RsaContext(parameters)
        if parameters.scheme.curve not in self._curves:
            raise BadRequest(Status.NOTSUPP, f"there is no {parameters.scheme.curve.name}")
        return EcdsaContext(parameters)


class OpensslOptions(WithoutKeys):
    """``driver=crypto-openssl`` has no keys."""

    def open(self) -> CryptoBackend:
        return OpensslBackend()
