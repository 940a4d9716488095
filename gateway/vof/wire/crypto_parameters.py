# SPDX-License-Identifier: BSD-3-Clause
"""The parameters of a virtio-crypto session (virtio 1.2 §5.9.7.2.1): a record for each service.

A create-session request carries these parameters, and so does a data request without a session
(§5.9.7.4 and on, "stateless mode"). They stand as fields in the fixed part of either request,
followed by the key; the fields have the same names in both.

Nothing is believed: ``checked_parameters`` compares them with what the device says of itself.

Where the sources differ:

- Linux calls ``tag_len`` of an AEAD session ``hash_result_len``; it stands in the same place.
- Linux's structure of the ECDSA parameters is 8 bytes long, the specification's 4. What is left of
  their area is ignored, so that both fit.
- No text says what a session's ``aad_len`` means to a request with another. Ours: 0 leaves it to
  each request, anything else is what each must have.
- No text says whether a digest or code may be asked for in part. Ours: its leftmost bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar, NamedTuple, TypeAlias, TypeVar

from vof.wire.crypto import (
    ALGORITHMS,
    HASH_SIZES,
    MAC_SIZES,
    MAX_TAG_SIZE,
    AeadAlgorithm,
    AkcipherAlgorithm,
    BadRequest,
    CipherAlgorithm,
    Config,
    Curve,
    Direction,
    HashAlgorithm,
    KeyType,
    MacAlgorithm,
    RsaHash,
    RsaPadding,
    Service,
    Status,
    SymOperation,
)
from vof.wire.layout import Layout
from vof.wire.structs import Buffer


@dataclass(frozen=True, slots=True)
class CipherParameters:
    """§5.9.7.2.1.3."""

    service: ClassVar = Service.CIPHER
    algo: CipherAlgorithm
    direction: Direction
    key: Buffer = field(repr=False)


@dataclass(frozen=True, slots=True)
class HashParameters:
    """§5.9.7.2.1.1."""

    service: ClassVar = Service.HASH
    algo: HashAlgorithm
    result_len: int
    """Bytes of the digest."""
    key: ClassVar[Buffer] = b""


@dataclass(frozen=True, slots=True)
class MacParameters:
    """§5.9.7.2.1.2."""

    service: ClassVar = Service.MAC
    algo: MacAlgorithm
    result_len: int
    """Bytes of the authentication code."""
    key: Buffer = field(repr=False)


@dataclass(frozen=True, slots=True)
class AeadParameters:
    """§5.9.7.2.1.4."""

    service: ClassVar = Service.AEAD
    algo: AeadAlgorithm
    direction: Direction
    key: Buffer = field(repr=False)
    tag_len: int
    aad_len: int = 0
    """Bytes of the additional data of each request; 0 leaves it to the requests."""


class RsaScheme(NamedTuple):
    """virtio 1.3 §5.9.7.2.1.5 struct virtio_crypto_rsa_session_para."""

    padding: RsaPadding
    hash: RsaHash = RsaHash.NONE
    """Means nothing with RsaPadding.RAW, nor for encryption and decryption."""


class EcdsaScheme(NamedTuple):
    """virtio 1.3 §5.9.7.2.1.5 struct virtio_crypto_ecdsa_session_para."""

    curve: Curve


@dataclass(frozen=True, slots=True)
class AkcipherParameters:
    """virtio 1.3 §5.9.7.2.1.5. The scheme is that of the algorithm.

    The key in DER: RSAPrivateKey and RSAPublicKey of PKCS#1; ECPrivateKey of RFC 5915. A public
    ECDSA key is the bare point of SEC 1.
    """

    service: ClassVar = Service.AKCIPHER
    scheme: RsaScheme | EcdsaScheme
    key_type: KeyType
    key: Buffer = field(repr=False)

    @property
    def algo(self) -> AkcipherAlgorithm:
        """The algorithm that the scheme belongs to."""
        if isinstance(self.scheme, RsaScheme):
            return AkcipherAlgorithm.RSA
        return AkcipherAlgorithm.ECDSA


Parameters: TypeAlias = (
    CipherParameters | HashParameters | MacParameters | AeadParameters | AkcipherParameters
)


def parameter_fields(parameters: Parameters) -> dict[str, int]:
    """Return the parameters as fields of the fixed parts that carry them, by name."""
    fields: dict[str, int] = {"algo": parameters.algo}
    match parameters:
        case CipherParameters():
            fields["op"] = parameters.direction
        case AeadParameters():
            fields["op"] = parameters.direction
            fields["tag_len"] = parameters.tag_len
            fields["aad_len"] = parameters.aad_len
        case HashParameters() | MacParameters():
            fields["hash_result_len"] = parameters.result_len
        case AkcipherParameters(scheme=EcdsaScheme(curve)):
            fields["key_type"] = parameters.key_type
            fields["padding_algo"] = curve
        case AkcipherParameters(scheme=RsaScheme(padding, digest)):
            fields["key_type"] = parameters.key_type
            fields["padding_algo"] = padding
            fields["hash_algo"] = digest
    key_field = "auth_key_len" if parameters.service is Service.MAC else "key_len"
    fields[key_field] = len(parameters.key)
    return fields


def fixed_part(layout: Layout, fields: Mapping[str, int], padded_size: int) -> bytes:
    """Return a fixed part with these fields, all others zero, padded to ``padded_size``."""
    blank = dict(zip(layout.fields, layout.unpack(bytes(layout.size)), strict=True))
    values = (fields.get(name, nothing) for name, nothing in blank.items())
    return layout.pack(*values).ljust(padded_size, b"\0")


def read_fixed_part(
    layout: Layout, readable: Buffer, start: int, padded_size: int
) -> tuple[dict[str, int], int]:
    """Return the fields of the fixed part at ``start``, and where it ends. Raises BadRequest."""
    end = start + max(layout.size, padded_size)
    if len(readable) < end:
        raise BadRequest(
            Status.ERR, f"{len(readable)} bytes are too few for a fixed part that ends at {end}"
        )
    return dict(zip(layout.fields, layout.unpack_from(readable, start), strict=True)), end


def key_length(fields: Mapping[str, int]) -> int:
    """Return how long the fields say the key is; 0 where they have no key."""
    return fields.get("auth_key_len", fields.get("key_len", 0))


def check_operation_type(fields: Mapping[str, int]) -> None:
    """Raise BadRequest if the fields are those of a symmetric operation that is no cipher's."""
    kind = fields.get("op_type", SymOperation.CIPHER)
    if kind == SymOperation.ALGORITHM_CHAINING:
        raise BadRequest(Status.NOTSUPP, "algorithm chaining is not offered")
    if kind != SymOperation.CIPHER:
        raise BadRequest(Status.NOTSUPP, f"symmetric operation {kind} is not offered")


_M = TypeVar("_M", bound=IntEnum)


def _member(kind: type[_M], number: int, status: Status = Status.NOTSUPP) -> _M:
    try:
        return kind(number)
    except ValueError:
        raise BadRequest(status, f"{kind.__name__} {number} is not known") from None


def _in_range(what: str, size: int, most: int | None) -> int:
    if size < 1 or (most is not None and size > most):
        raise BadRequest(Status.ERR, f"a {what} of {size} bytes cannot be; the whole has {most}")
    return size


def checked_parameters(
    service: Service, fields: Mapping[str, int], key: memoryview, config: Config
) -> Parameters:
    """Return the parameters in ``fields`` and ``key``, if the device offers them.

    The caller has compared the key's length. Raises BadRequest.
    """
    algo = _member(ALGORITHMS[service], fields["algo"])
    if algo not in config.algorithms(service):
        raise BadRequest(Status.NOTSUPP, f"{service.name} algorithm {algo.name} is not offered")
    limit = {
        Service.CIPHER: config.max_cipher_key_len,
        Service.AEAD: config.max_cipher_key_len,
        Service.MAC: config.max_auth_key_len,
    }.get(service, len(key))
    if len(key) > limit:
        raise BadRequest(Status.ERR, f"a key of {len(key)} bytes; at most {limit} are taken")
    match algo:
        case CipherAlgorithm():
            return CipherParameters(algo, _member(Direction, fields["op"]), key)
        case HashAlgorithm():
            size = _in_range("digest", fields["hash_result_len"], HASH_SIZES.get(algo))
            return HashParameters(algo, size)
        case MacAlgorithm():
            size = _in_range("code", fields["hash_result_len"], MAC_SIZES.get(algo))
            return MacParameters(algo, size, key)
        case AeadAlgorithm():
            direction = _member(Direction, fields["op"])
            size = _in_range("tag", fields["tag_len"], MAX_TAG_SIZE)
            return AeadParameters(algo, direction, key, size, fields["aad_len"])
        case AkcipherAlgorithm():
            key_type = _member(KeyType, fields["key_type"], Status.ERR)
            return AkcipherParameters(_scheme(algo, fields), key_type, key)


def _scheme(algo: AkcipherAlgorithm, fields: Mapping[str, int]) -> RsaScheme | EcdsaScheme:
    if algo == AkcipherAlgorithm.ECDSA:
        curve = _member(Curve, fields["padding_algo"])
        if curve == Curve.UNKNOWN:
            raise BadRequest(Status.NOTSUPP, "no curve is named")
        return EcdsaScheme(curve)
    padding = _member(RsaPadding, fields["padding_algo"])
    if padding == RsaPadding.RAW:
        return RsaScheme(padding)
    return RsaScheme(padding, _member(RsaHash, fields["hash_algo"]))
