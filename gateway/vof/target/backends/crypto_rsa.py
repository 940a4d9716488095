# SPDX-License-Identifier: BSD-3-Clause
"""RSA of ``driver=crypto-openssl``: raw, and PKCS#1 v1.5.

PKCS#1 v1.5 is the library's. Decryption does not say that the padding was wrong: from OpenSSL 3.2
on it then returns bytes that mean nothing, so that nobody can make an oracle of the device.

Raw RSA, which the library does not have, is Python's ``pow``. That is not made to take the same
time for every key and every input; the input of a private operation is blinded by a random factor,
so that its time tells nothing about a chosen input, and the result is checked against it before it
leaves. Where that does not suffice, do not offer raw RSA to initiators that must not learn the key.

A key's numbers have to agree with one another. That its factors are prime is not checked: it takes
seconds, and a wrong key harms whoever sent it.

A signature is over a digest, whose length is that of the session's hash; with RsaHash.NONE over any
bytes that fit, which are padded as they are.
"""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils

from vof.target.backends.crypto_der import RsaPrivate, rsa_private, rsa_public
from vof.target.backends.crypto_interface import CryptoContext
from vof.wire.crypto import BadRequest, DataOpcode, KeyType, RsaHash, RsaPadding, Status
from vof.wire.crypto_operations import DataRequest
from vof.wire.crypto_parameters import AkcipherParameters, RsaScheme

MIN_BITS, MAX_BITS = 512, 4096
"""Of a modulus: below is no security left, above an operation takes too long."""

_MAX_EXPONENT_BITS = 256

_HASHES: dict[RsaHash, hashes.HashAlgorithm] = {
    RsaHash.MD5: hashes.MD5(),
    RsaHash.SHA1: hashes.SHA1(),
    RsaHash.SHA224: hashes.SHA224(),
    RsaHash.SHA256: hashes.SHA256(),
    RsaHash.SHA384: hashes.SHA384(),
    RsaHash.SHA512: hashes.SHA512(),
}

_PADDING = padding.PKCS1v15()


class RsaContext(CryptoContext):
    """An RSA key, and what it may be used for."""

    def __init__(self, parameters: AkcipherParameters) -> None:
        """Raises BadRequest, and ValueError for a key that cannot be used."""
        scheme = parameters.scheme
        assert isinstance(scheme, RsaScheme)
        key = memoryview(parameters.key)
        self._numbers: RsaPrivate | None = None
        if parameters.key_type == KeyType.PRIVATE:
            self._numbers = rsa_private(key)
            self._n, self._e = self._numbers.n, self._numbers.e
        else:
            self._n, self._e = rsa_public(key)
        _check_public(self._n, self._e)
        if self._numbers:
            _check_private(self._numbers)
        self._size = (self._n.bit_length() + 7) // 8
        self._raw = scheme.padding == RsaPadding.RAW
        if not self._raw:
            self._scheme = _signature_scheme(scheme.hash)
            self._public = rsa.RSAPublicNumbers(self._e, self._n).public_key()
            self._private = _private_key(self._numbers) if self._numbers else None

    def execute(self, request: DataRequest) -> bytes:
        src = bytes(request.src)
        match request.opcode:
            case DataOpcode.AKCIPHER_ENCRYPT if self._raw:
                return self._whole(pow(self._message(src), self._e, self._n))
            case DataOpcode.AKCIPHER_DECRYPT if self._raw:
                return self._whole(self._raw_private(self._message(src)))
            case DataOpcode.AKCIPHER_ENCRYPT:
                return self._public.encrypt(src, _PADDING)
            case DataOpcode.AKCIPHER_DECRYPT:
                return self._key().decrypt(src, _PADDING)
            case DataOpcode.AKCIPHER_SIGN:
                self._check_digest(src)
                return self._key().sign(src, _PADDING, self._scheme)
            case _:
                self._verify(src, bytes(request.signed))
                return b""

    def _key(self) -> rsa.RSAPrivateKey:
        assert self._private is not None  # check_request has seen to it
        return self._private

    def _message(self, src: bytes) -> int:
        message = int.from_bytes(src, "big")
        if message >= self._n:
            raise BadRequest(Status.ERR, "the data is not below the modulus")
        return message

    def _whole(self, number: int) -> bytes:
        return number.to_bytes(self._size, "big")

    def _raw_private(self, message: int) -> int:
        key, n = self._numbers, self._n
        assert key is not None
        factor = secrets.randbelow(n - 2) + 2
        blinded = message * pow(factor, self._e, n) % n
        low = pow(blinded, key.dq, key.q)
        high = (pow(blinded, key.dp, key.p) - low) * key.qinv % key.p
        # Raises ValueError where the factor has no inverse, which no key of two primes meets.
        result = (low + high * key.q) * pow(factor, -1, n) % n
        if pow(result, self._e, n) != message:
            raise BadRequest(Status.ERR, "the key's numbers do not agree")
        return result

    def _verify(self, signature: bytes, signed: bytes) -> None:
        try:
            if isinstance(self._scheme, utils.Prehashed):
                self._check_digest(signed)
                self._public.verify(signature, signed, _PADDING, self._scheme)
            elif self._public.recover_data_from_signature(signature, _PADDING, None) != signed:
                raise InvalidSignature
        except InvalidSignature:
            raise BadRequest(Status.KEY_REJECTED, "the signature does not fit") from None

    def _check_digest(self, digest: bytes) -> None:
        if isinstance(self._scheme, utils.Prehashed) and len(digest) != self._scheme.digest_size:
            raise BadRequest(
                Status.ERR,
                f"a digest of {len(digest)} bytes; the session's hash has "
                f"{self._scheme.digest_size}",
            )


def _signature_scheme(digest: RsaHash) -> utils.Prehashed | utils.NoDigestInfo:
    if digest == RsaHash.NONE and hasattr(utils, "NoDigestInfo"):  # not in older versions
        return utils.NoDigestInfo()
    if digest not in _HASHES:
        raise BadRequest(Status.NOTSUPP, f"there is no {digest.name} for signatures")
    return utils.Prehashed(_HASHES[digest])


def _check_public(n: int, e: int) -> None:
    if not MIN_BITS <= n.bit_length() <= MAX_BITS or not n & 1:
        raise ValueError("the modulus is of no length that is served")
    if e < 3 or not e & 1 or e.bit_length() > _MAX_EXPONENT_BITS or e >= n:
        raise ValueError("the public exponent cannot be")


def _check_private(key: RsaPrivate) -> None:
    p, q = key.p, key.q
    agree = (
        p * q == key.n
        and min(p, q) > 2
        and p & q & 1
        and key.d < key.n
        and key.e * key.d % (p - 1) == 1
        and key.e * key.d % (q - 1) == 1
        and key.dp == key.d % (p - 1)
        and key.dq == key.d % (q - 1)
        and key.qinv < p
        and key.qinv * q % p == 1
    )
    if not agree:
        raise ValueError("the key's numbers do not agree")


def _private_key(key: RsaPrivate) -> rsa.RSAPrivateKey:
    public = rsa.RSAPublicNumbers(key.e, key.n)
    numbers = rsa.RSAPrivateNumbers(key.p, key.q, key.d, key.dp, key.dq, key.qinv, public)
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)
