# SPDX-License-Identifier: BSD-3-Clause
"""One operation on one input, made into what the driver takes, and its result made into output.

Owns the rules of lengths that an algorithm has, so that a caller hears what is wrong instead of the
device's "failed". Must not know where input comes from, nor whether a session or none is used.

AEAD: the tag stands at the end of the encrypted data. Verifying: the signature stands before what
it is over. Neither needs to be told apart by the caller, for their lengths are known.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

from vof.drivers.crypto import CryptoDriver
from vof.errors import ConfigError
from vof.gateways.crypto.algorithms import Algorithm, Operation, text_of
from vof.gateways.crypto.keys import NO_KEY, Key
from vof.wire.crypto import (
    AeadAlgorithm,
    AkcipherAlgorithm,
    CipherAlgorithm,
    DataOpcode,
    Direction,
    HashAlgorithm,
    KeyType,
    MacAlgorithm,
    RsaHash,
    RsaPadding,
    Service,
)
from vof.wire.crypto_operations import DataRequest
from vof.wire.crypto_parameters import (
    AeadParameters,
    AkcipherParameters,
    CipherParameters,
    EcdsaScheme,
    HashParameters,
    MacParameters,
    Parameters,
    RsaScheme,
)
from vof.wire.structs import Buffer

MAX_HASHED = 32 << 20
"""Bytes of the longest message to be signed or verified, where only its digest is sent."""

VERIFIED = b"ok\n"
"""The output of a verification; a signature that does not fit is an error."""

_DIRECTIONS = {Operation.ENCRYPT: Direction.ENCRYPT, Operation.DECRYPT: Direction.DECRYPT}


@dataclass(frozen=True)
class Setup:
    """Everything about an operation but its input. Attributes that were not given are None."""

    algorithm: Algorithm
    key: Key | None = field(default=None, repr=False)
    iv: bytes | None = None
    aad: bytes = b""
    tag_length: int | None = None

    @property
    def result_length(self) -> int:
        """Bytes of a tag, a code or a digest."""
        return self.algorithm.tag_length if self.tag_length is None else self.tag_length

    def check(self, operation: Operation) -> None:
        """Raise ConfigError where the operation cannot be started, whatever its input will be."""
        algorithm = self.algorithm
        if operation not in algorithm.operations:
            known = ", ".join(algorithm.operations)
            raise ConfigError(f"{algorithm.name} does not {operation}; it can {known}")
        if algorithm.has_key and self.key is None:
            raise ConfigError(f"{algorithm.name} wants a key")
        if algorithm.iv_lengths and self.iv is None:
            raise ConfigError(f"{algorithm.name} wants an iv")
        if (
            algorithm.service is Service.AKCIPHER
            and operation in {Operation.SIGN, Operation.DECRYPT}
            and self.key is not None
            and self.key.type is not KeyType.PRIVATE
        ):
            raise ConfigError(f"to {operation} takes a private key; this one is public")


@dataclass(frozen=True)
class Job:
    """An operation for the driver, without its session."""

    setup: Setup
    operation: Operation
    parameters: Parameters
    """What its session is about, or what it says itself in stateless mode."""
    request: DataRequest

    def in_session(self, session_id: int) -> DataRequest:
        return replace(self.request, session_id=session_id)

    def without_session(self) -> DataRequest:
        return replace(self.request, parameters=self.parameters)

    def output(self, result: Buffer) -> bytes:
        """Return what the user gets for the device's result."""
        if self.operation is Operation.VERIFY:
            return VERIFIED
        if self.setup.algorithm.scheme == RsaScheme(RsaPadding.RAW):
            # A number: the modulus' length, as OpenSSL writes it.
            return bytes(result).rjust(self.request.result_len, b"\0")
        return bytes(result)


def check_iv(algorithm: Algorithm, iv: bytes) -> bytes:
    """Return the IV. Raises ConfigError if the algorithm takes none of that length."""
    if not algorithm.iv_lengths:
        raise ConfigError(f"{algorithm.name} has no iv")
    if len(iv) not in algorithm.iv_lengths:
        raise ConfigError(
            f"an iv of {len(iv)} bytes; {algorithm.name} takes {text_of(algorithm.iv_lengths)}"
        )
    return iv


def check_aad(algorithm: Algorithm, aad: bytes) -> bytes:
    """Return the additional data. Raises ConfigError if the algorithm has none."""
    if not algorithm.has_aad:
        raise ConfigError(f"{algorithm.name} has no aad")
    return aad


def check_tag_length(algorithm: Algorithm, length: int) -> int:
    """Return the length of the tag. Raises ConfigError if the algorithm has none like that."""
    if not algorithm.tag_lengths:
        raise ConfigError(f"{algorithm.name} has no tag_length")
    if length not in algorithm.tag_lengths:
        raise ConfigError(
            f"a tag_length of {length}; {algorithm.name} takes {text_of(algorithm.tag_lengths)}"
        )
    return length


def max_input(driver: CryptoDriver, setup: Setup, operation: Operation) -> int:
    """Return how many bytes of input an operation takes at most on this device."""
    algorithm = setup.algorithm
    if algorithm.digest:
        return MAX_HASHED
    room = driver.max_size - len(setup.iv or b"") - len(setup.aad)
    match algorithm.service:
        case Service.CIPHER:
            room //= 2
        case Service.AEAD if operation is Operation.ENCRYPT:
            room = (room - setup.result_length) // 2
        case Service.AEAD:
            room = (room + setup.result_length) // 2
        case Service.HASH | Service.MAC:
            room -= setup.result_length
        case Service.AKCIPHER if operation is not Operation.VERIFY:
            room -= setup.key.size if setup.key else 0
    return max(room, 0)


def make_job(setup: Setup, operation: Operation, data: Buffer) -> Job:
    """Return the job that does ``operation`` to ``data``.

    Raises ConfigError, which says what is wrong, where the algorithm cannot do that.
    """
    setup.check(operation)
    algorithm = setup.algorithm
    size = len(data)
    if algorithm.service is Service.AKCIPHER:
        return _asymmetric_job(setup, operation, data)
    # What is encrypted, without a tag.
    plain = size
    if algorithm.service is Service.AEAD and operation is Operation.DECRYPT:
        plain -= setup.result_length
        if plain < 0:
            raise ConfigError(
                f"{size} bytes of input are fewer than the tag of {setup.result_length}"
            )
    if plain < algorithm.shortest:
        raise ConfigError(
            f"{plain} bytes of input; {algorithm.name} wants at least {algorithm.shortest}"
        )
    if plain % algorithm.block:
        raise ConfigError(
            f"{plain} bytes of input are no multiple of {algorithm.block}; {algorithm.name} does "
            "not pad"
        )
    parameters = _parameters(setup, operation)
    request = DataRequest(
        _opcode(algorithm.service, operation),
        src=data,
        result_len={
            Service.CIPHER: plain,
            Service.AEAD: plain + (setup.result_length if operation is Operation.ENCRYPT else 0),
        }.get(algorithm.service, setup.result_length),
        iv=setup.iv or b"",
        aad=setup.aad,
        tag_len=setup.result_length if algorithm.service is Service.AEAD else 0,
        algo=algorithm.number,
    )
    return Job(setup, operation, parameters, request)


def _opcode(service: Service, operation: Operation) -> DataOpcode:
    if service in {Service.HASH, Service.MAC}:
        return DataOpcode[service.name]
    return DataOpcode[f"{service.name}_{operation.name}"]


def _parameters(setup: Setup, operation: Operation) -> Parameters:
    algorithm = setup.algorithm
    key = setup.key or NO_KEY
    match algorithm.number:
        case CipherAlgorithm() as number:
            return CipherParameters(number, _DIRECTIONS[operation], key.material)
        case AeadAlgorithm() as number:
            return AeadParameters(number, _DIRECTIONS[operation], key.material, setup.result_length)
        case HashAlgorithm() as number:
            return HashParameters(number, setup.result_length)
        case MacAlgorithm() as number:
            return MacParameters(number, setup.result_length, key.material)
        case AkcipherAlgorithm():
            return AkcipherParameters(_scheme(algorithm, operation), key.type, key.material)


def _scheme(algorithm: Algorithm, operation: Operation) -> RsaScheme | EcdsaScheme:
    assert algorithm.scheme is not None
    if algorithm.scheme == RsaScheme(RsaPadding.PKCS1) and operation in _DIRECTIONS:
        # A hash means nothing there, but other devices refuse a session that names none.
        return RsaScheme(RsaPadding.PKCS1, RsaHash.SHA1)
    return algorithm.scheme


def _asymmetric_job(setup: Setup, operation: Operation, data: Buffer) -> Job:
    algorithm = setup.algorithm
    assert setup.key is not None
    source = memoryview(data)
    length = signature_length(setup, source) if operation is Operation.VERIFY else 0
    signature, source = source[:length], source[length:]
    if algorithm.digest:
        # Plain hashing, whatever the digest is good for elsewhere.
        source = memoryview(hashlib.new(algorithm.digest, source, usedforsecurity=False).digest())
    else:
        _check_rsa_input(setup, operation, len(source))
    opcode = _opcode(Service.AKCIPHER, operation)
    number = algorithm.number
    if operation is Operation.VERIFY:
        request = DataRequest(opcode, src=signature, signed=source, algo=number)
    else:
        room = setup.key.signature_size
        request = DataRequest(opcode, src=source, result_len=room, algo=number)
    return Job(setup, operation, _parameters(setup, operation), request)


def _check_rsa_input(setup: Setup, operation: Operation, size: int) -> None:
    assert setup.key is not None
    most = setup.key.size
    if operation is not Operation.DECRYPT and setup.algorithm.scheme != RsaScheme(RsaPadding.RAW):
        most -= 11  # PKCS#1 v1.5
    least = 1 if operation is Operation.DECRYPT else setup.algorithm.shortest
    if not least <= size <= most:
        raise ConfigError(
            f"{size} bytes of input; {setup.algorithm.name} with this key takes {least} to {most} "
            f"to {operation}"
        )


def signature_length(setup: Setup, data: memoryview) -> int:
    """Return how many bytes at the start of ``data`` are the signature.

    RSA's is as long as its key; ECDSA's says its own length (DER). Raises ConfigError if there are
    fewer.
    """
    assert setup.key is not None
    length = setup.key.signature_size
    if setup.algorithm.number == AkcipherAlgorithm.ECDSA and setup.algorithm.digest:
        if len(data) < 3 or data[0] != 0x30:
            raise ConfigError("the input does not begin with an ECDSA signature in DER")
        length = 2 + data[1] if data[1] < 0x80 else 3 + data[2]
        if data[1] > 0x81 or length > setup.key.signature_size:
            raise ConfigError("the input begins with too long an ECDSA signature")
    if len(data) < length:
        raise ConfigError(
            f"{len(data)} bytes of input are fewer than the signature of {length}, which comes "
            "first"
        )
    return length
