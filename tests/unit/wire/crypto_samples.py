# SPDX-License-Identifier: BSD-3-Clause
"""Made-up virtio-crypto sessions and operations, and bytes to spoil."""

from __future__ import annotations

from hypothesis import strategies as st

from vof.wire.crypto import (
    ALGORITHMS,
    HASH_SIZES,
    MAC_SIZES,
    AeadAlgorithm,
    CipherAlgorithm,
    Config,
    Curve,
    DataOpcode,
    Direction,
    Feature,
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
from vof.wire.crypto_sessions import WireRequest

PADDED = Feature(0)
EVERY_FEATURE = Feature(0b111111)

CONFIG = Config(
    max_dataqueues=1, max_cipher_key_len=64, max_auth_key_len=64, max_size=4096
).with_algorithms({service: [a for a in kind if a] for service, kind in ALGORITHMS.items()})
"""A device that offers all there is."""

LIES = (0xFFFFFFFF, 0x80000000, 0x7FFFFFFF, 0xFFFFFFF0)
"""Lengths that a 32-bit sum would overflow with."""

keys = st.binary(max_size=64)
data = st.binary(max_size=200)


def algorithms(
    kind: type[CipherAlgorithm | HashAlgorithm | MacAlgorithm | AeadAlgorithm],
) -> st.SearchStrategy[int]:
    return st.sampled_from([algo for algo in kind if algo])


@st.composite
def parameters(draw: st.DrawFn, service: Service, key_type: KeyType | None = None) -> Parameters:
    """Parameters that a device takes; ``key_type`` is for AKCIPHER."""
    key = draw(keys)
    direction = draw(st.sampled_from(Direction))
    match service:
        case Service.CIPHER:
            return CipherParameters(
                CipherAlgorithm(draw(algorithms(CipherAlgorithm))), direction, key
            )
        case Service.HASH:
            digest = HashAlgorithm(draw(algorithms(HashAlgorithm)))
            return HashParameters(digest, draw(st.integers(1, HASH_SIZES.get(digest, 300))))
        case Service.MAC:
            code = MacAlgorithm(draw(algorithms(MacAlgorithm)))
            return MacParameters(code, draw(st.integers(1, MAC_SIZES.get(code, 16))), key)
        case Service.AEAD:
            algo = AeadAlgorithm(draw(algorithms(AeadAlgorithm)))
            return AeadParameters(algo, direction, key, draw(st.integers(1, 16)))
        case Service.AKCIPHER:
            rsa = st.builds(RsaScheme, st.just(RsaPadding.PKCS1), st.sampled_from(RsaHash))
            curves = st.sampled_from([curve for curve in Curve if curve])
            scheme = draw(st.just(RsaScheme(RsaPadding.RAW)) | rsa | st.builds(EcdsaScheme, curves))
            return AkcipherParameters(
                scheme, key_type or draw(st.sampled_from(KeyType)), draw(data)
            )


def _opcodes(chosen: Parameters) -> list[DataOpcode]:
    match chosen:
        case CipherParameters():
            return [DataOpcode.CIPHER_ENCRYPT, DataOpcode.CIPHER_DECRYPT][chosen.direction - 1 :][
                :1
            ]
        case AeadParameters():
            return [DataOpcode.AEAD_ENCRYPT, DataOpcode.AEAD_DECRYPT][chosen.direction - 1 :][:1]
        case HashParameters():
            return [DataOpcode.HASH]
        case MacParameters():
            return [DataOpcode.MAC]
        case AkcipherParameters(scheme=EcdsaScheme()):
            return [DataOpcode.AKCIPHER_SIGN, DataOpcode.AKCIPHER_VERIFY]
        case AkcipherParameters(scheme=RsaScheme(RsaPadding.RAW)):
            return [DataOpcode.AKCIPHER_ENCRYPT, DataOpcode.AKCIPHER_DECRYPT]
        case _:
            return [op for op in DataOpcode if op.name.startswith("AKCIPHER")]


@st.composite
def operations(draw: st.DrawFn, service: Service) -> tuple[Parameters, DataRequest]:
    """An operation in a session, and that session's parameters, which it fits."""
    chosen = draw(parameters(service, KeyType.PRIVATE))
    opcode = draw(st.sampled_from(_opcodes(chosen)))
    session_id = draw(st.integers(0, (1 << 64) - 1))
    src = draw(data)
    iv = draw(st.binary(max_size=16))
    spare = draw(st.integers(0, 20))
    match chosen:
        case CipherParameters():
            return chosen, DataRequest(opcode, session_id, src=src, result_len=len(src), iv=iv)
        case HashParameters() | MacParameters():
            return chosen, DataRequest(opcode, session_id, src=src, result_len=chosen.result_len)
        case AeadParameters():
            tag = chosen.tag_len
            encrypts = chosen.direction == Direction.ENCRYPT
            return chosen, DataRequest(
                opcode,
                session_id,
                src=src if encrypts else src + bytes(tag),
                result_len=len(src) + (tag if encrypts else 0) + spare,
                iv=iv,
                aad=draw(data),
                tag_len=draw(st.sampled_from([0, tag])),
            )
        case AkcipherParameters():
            if opcode == DataOpcode.AKCIPHER_VERIFY:
                return chosen, DataRequest(opcode, session_id, src=src, signed=draw(data))
            return chosen, DataRequest(opcode, session_id, src=src, result_len=spare)


def joined(request: WireRequest) -> tuple[bytes, int]:
    """Return what the device sees of a request: its readable bytes and its room."""
    assert all(request.readable)
    assert all(request.writable)
    return b"".join(request.readable), sum(request.writable)


def with_field(raw: bytes, place: int, value: int) -> bytes:
    """Return the bytes with another 32-bit field at ``place``."""
    return raw[:place] + value.to_bytes(4, "little") + raw[place + 4 :]


def field_at(raw: bytes, place: int) -> int:
    """Return the 32-bit field at ``place``."""
    return int.from_bytes(raw[place : place + 4], "little")
