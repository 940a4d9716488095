# SPDX-License-Identifier: BSD-3-Clause
"""CIPHER and AEAD of ``driver=crypto-openssl``.

Owns the rules of each cipher: key, IV and data lengths. Nothing is padded. Keys stay in the buffers
they came in; a cipher is made anew for every operation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers import Cipher, CipherAlgorithm, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, ChaCha20Poly1305

from vof.target.backends.crypto_interface import CryptoContext
from vof.wire import crypto
from vof.wire.crypto import AeadAlgorithm, BadRequest, Direction, Status
from vof.wire.crypto_operations import DataRequest
from vof.wire.crypto_parameters import AeadParameters, CipherParameters

try:
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
except ImportError:  # before cryptography 43
    from cryptography.hazmat.primitives.ciphers.algorithms import TripleDES

Mode: TypeAlias = modes.ECB | modes.CBC | modes.CTR | modes.XTS

_AES_KEYS = (16, 24, 32)


class _Rules(NamedTuple):
    """One cipher."""

    keys: tuple[int, ...]
    """Key lengths."""
    iv: int
    """Bytes of the initialisation vector, counter or tweak."""
    unit: int
    """Data comes in multiples of it."""
    least: int
    """Bytes of data at least."""
    algorithm: Callable[[Any], CipherAlgorithm]
    """Takes the key, in any kind of buffer."""
    mode: Callable[[bytes], Mode]


_CIPHERS: dict[crypto.CipherAlgorithm, _Rules] = {
    crypto.CipherAlgorithm.AES_ECB: _Rules(
        _AES_KEYS, 0, 16, 0, algorithms.AES, lambda _iv: modes.ECB()
    ),
    crypto.CipherAlgorithm.AES_CBC: _Rules(_AES_KEYS, 16, 16, 0, algorithms.AES, modes.CBC),
    crypto.CipherAlgorithm.AES_CTR: _Rules(_AES_KEYS, 16, 1, 0, algorithms.AES, modes.CTR),
    crypto.CipherAlgorithm.AES_XTS: _Rules((32, 64), 16, 1, 16, algorithms.AES, modes.XTS),
    crypto.CipherAlgorithm.TRIPLE_DES_ECB: _Rules(
        (24,), 0, 8, 0, TripleDES, lambda _iv: modes.ECB()
    ),
    crypto.CipherAlgorithm.TRIPLE_DES_CBC: _Rules((24,), 8, 8, 0, TripleDES, modes.CBC),
    crypto.CipherAlgorithm.TRIPLE_DES_CTR: _Rules((24,), 8, 1, 0, TripleDES, modes.CTR),
}


def supported_ciphers() -> set[crypto.CipherAlgorithm]:
    """Return those that the library has."""
    return {algo for algo, rules in _CIPHERS.items() if _works(rules)}


def _works(rules: _Rules) -> bool:
    # XTS refuses a key whose halves are the same.
    key = bytes(range(rules.keys[-1]))
    try:
        Cipher(rules.algorithm(key), rules.mode(bytes(rules.iv))).encryptor()
    except (UnsupportedAlgorithm, ValueError):
        return False
    return True


class CipherContext(CryptoContext):
    """A key of a cipher, for one direction."""

    def __init__(self, parameters: CipherParameters) -> None:
        """Raises BadRequest, and ValueError for a key that the cipher does not take."""
        self._rules = rules = _CIPHERS[parameters.algo]
        self._encrypts = parameters.direction == Direction.ENCRYPT
        _check(len(parameters.key) in rules.keys, f"key of {len(parameters.key)} bytes")
        self._cipher = rules.algorithm(parameters.key)
        # Finds what is wrong with the key before any data is there.
        Cipher(self._cipher, rules.mode(bytes(rules.iv))).encryptor()

    def execute(self, request: DataRequest) -> bytes:
        rules, size = self._rules, len(request.src)
        _check(len(request.iv) == rules.iv, f"IV of {len(request.iv)} bytes")
        _check(size >= rules.least and not size % rules.unit, f"data of {size} bytes")
        if not size:
            return b""
        cipher = Cipher(self._cipher, rules.mode(bytes(request.iv)))
        run = cipher.encryptor() if self._encrypts else cipher.decryptor()
        return run.update(request.src) + run.finalize()


_GCM_TAGS = (4, 8, 12, 13, 14, 15, 16)  # SP 800-38D §5.2.1.2
_CCM_TAGS = (4, 6, 8, 10, 12, 14, 16)  # RFC 3610 §2

_AEAD_KEYS = {
    AeadAlgorithm.GCM: _AES_KEYS,
    AeadAlgorithm.CCM: _AES_KEYS,
    AeadAlgorithm.CHACHA20_POLY1305: (32,),
}

_AEAD_TAGS = {
    AeadAlgorithm.GCM: _GCM_TAGS,
    AeadAlgorithm.CCM: _CCM_TAGS,
    AeadAlgorithm.CHACHA20_POLY1305: (16,),
}

_AEAD_NONCES = {
    AeadAlgorithm.GCM: range(8, 129),
    AeadAlgorithm.CCM: range(7, 14),
    AeadAlgorithm.CHACHA20_POLY1305: range(12, 13),
}


def supported_aeads() -> set[AeadAlgorithm]:
    """Return those that the library has."""
    supported = {AeadAlgorithm.GCM}
    for algo, probe in (
        (AeadAlgorithm.CCM, lambda: AESCCM(bytes(16))),
        (AeadAlgorithm.CHACHA20_POLY1305, lambda: ChaCha20Poly1305(bytes(32))),
    ):
        try:
            probe()
        except UnsupportedAlgorithm:
            continue
        supported.add(algo)
    return supported


class AeadContext(CryptoContext):
    """A key of an authenticated cipher, for one direction and one length of tag."""

    def __init__(self, parameters: AeadParameters) -> None:
        """Raises BadRequest."""
        algo, key, tag = parameters.algo, parameters.key, parameters.tag_len
        _check(len(key) in _AEAD_KEYS[algo], f"key of {len(key)} bytes")
        _check(tag in _AEAD_TAGS[algo], f"tag of {tag} bytes")
        self._nonces = _AEAD_NONCES[algo]
        self._encrypts = parameters.direction == Direction.ENCRYPT
        self._key, self._tag_len = key, tag
        self._library: AESCCM | ChaCha20Poly1305 | None = None
        if algo == AeadAlgorithm.CCM:
            self._library = AESCCM(key, tag)
        elif algo == AeadAlgorithm.CHACHA20_POLY1305:
            self._library = ChaCha20Poly1305(key)

    def execute(self, request: DataRequest) -> bytes:
        nonce = bytes(request.iv)
        _check(len(nonce) in self._nonces, f"nonce of {len(nonce)} bytes")
        if self._library is None:
            return self._gcm(nonce, request)
        run = self._library.encrypt if self._encrypts else self._library.decrypt
        return run(nonce, request.src, request.aad)

    def _gcm(self, nonce: bytes, request: DataRequest) -> bytes:
        # Not by the library's AESGCM, whose tags have no length but 16.
        aes, data = algorithms.AES(self._key), memoryview(request.src)
        if self._encrypts:
            encryptor = Cipher(aes, modes.GCM(nonce)).encryptor()
            encryptor.authenticate_additional_data(request.aad)
            result = encryptor.update(data) + encryptor.finalize()
            return result + encryptor.tag[: self._tag_len]
        split = len(data) - self._tag_len
        tag = bytes(data[split:])
        decryptor = Cipher(aes, modes.GCM(nonce, tag, self._tag_len)).decryptor()
        decryptor.authenticate_additional_data(request.aad)
        result = decryptor.update(data[:split])
        # Nothing of it is returned unless the tag fits.
        return result + decryptor.finalize()


def _check(good: bool, what: str) -> None:
    if not good:
        raise BadRequest(Status.ERR, f"a {what} does not suit the algorithm")
