# SPDX-License-Identifier: BSD-3-Clause
"""virtio-crypto requests as hand-made bytes, for raw sockets: nothing of the wire layer's in them.

Layouts are written down here from virtio 1.2 §5.9.7 and the recordings, once more.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from tests.target.peer import Association, Descriptor, Peer, vring_bytes

CRYPTO0 = "virtio-target/crypto/crypto0.service"
VERSION_1 = 1 << 32
EVERY_MODE = VERSION_1 | 0x3F

OK, ERR, BADMSG, NOTSUPP, INVSESS, NOSPC, KEY_REJECTED = range(7)

CIPHER, HASH, MAC, AEAD, AKCIPHER = range(5)
AES_CBC, AES_CTR, AES_XTS = 3, 4, 13
SHA_256 = 4
HMAC_SHA_256 = 4
GCM = 1
RSA = 1
ENCRYPT, DECRYPT = 1, 2


class Request(NamedTuple):
    """Device-readable bytes, and room for the answer: one descriptor for each piece of either."""

    readable: tuple[bytes, ...]
    room: tuple[int, ...]

    @property
    def writable(self) -> list[tuple[int, int, int]]:
        first = sum(1 for part in self.readable if part)
        return [(size, first + place, 2) for place, size in enumerate(self.room)]

    def encode(self, command_id: int = 1) -> bytes:
        parts = [part for part in self.readable if part]
        descriptors = [(len(part), place, 0) for place, part in enumerate(parts)]
        return vring_bytes([*descriptors, *self.writable], b"".join(parts), command_id=command_id)


def control_header(opcode: int, algo: int = 0) -> bytes:
    return struct.pack("<IIII", opcode, algo, 0, 0)


def create(service: int, fixed: bytes, key: bytes = b"", *, padded: bool = True) -> Request:
    opcode = service << 8 | (4 if service == AKCIPHER else 2)
    head = control_header(opcode) + (fixed.ljust(56, b"\0") if padded else fixed)
    return Request((head, key), (16,))


def create_cipher(
    algo: int = AES_CBC, key: bytes = b"k" * 16, op: int = ENCRYPT, *, key_len: int | None = None
) -> Request:
    size = len(key) if key_len is None else key_len
    fixed = struct.pack("<IIII32xII", algo, size, op, 0, 1, 0)
    return create(CIPHER, fixed, key)


def create_hash(algo: int = SHA_256, size: int = 32) -> Request:
    return create(HASH, struct.pack("<II", algo, size))


def create_mac(algo: int = HMAC_SHA_256, size: int = 32, key: bytes = b"key") -> Request:
    return create(MAC, struct.pack("<IIII", algo, size, len(key), 0), key)


def create_aead(
    algo: int = GCM, key: bytes = b"k" * 16, tag: int = 16, aad: int = 0, op: int = ENCRYPT
) -> Request:
    return create(AEAD, struct.pack("<IIIIII", algo, len(key), tag, aad, op, 0), key)


def create_rsa(key: bytes, kind: int, padding: int = 0, digest: int = 0) -> Request:
    return create(AKCIPHER, struct.pack("<IIIII", RSA, kind, len(key), padding, digest), key)


def destroy(service: int, session: int, *, padded: bool = True) -> Request:
    opcode = service << 8 | (5 if service == AKCIPHER else 3)
    fixed = struct.pack("<Q", session)
    return Request((control_header(opcode) + (fixed.ljust(56, b"\0") if padded else fixed),), (1,))


def data_header(opcode: int, session: int, flag: int = 0, algo: int = 0) -> bytes:
    return struct.pack("<IIQII", opcode, algo, session, flag, 0)


def operation(
    opcode: int,
    session: int,
    fixed: bytes,
    parts: tuple[bytes, ...],
    result: int,
    *,
    room: tuple[int, ...] | None = None,
) -> Request:
    """A request in a session, as a driver without REVISION_1 sends it."""
    head = data_header(opcode, session) + fixed.ljust(48, b"\0")
    if room is None:
        room = (result, 1) if result else (1,)
    return Request((head, *parts), room)


def run_cipher(
    session: int,
    data: bytes,
    iv: bytes = bytes(16),
    *,
    op: int = ENCRYPT,
    iv_len: int | None = None,
    src_len: int | None = None,
    dst_len: int | None = None,
    room: tuple[int, ...] | None = None,
) -> Request:
    """Lengths are those of the parts unless they are given: then they are lies."""
    sizes = (
        len(iv) if iv_len is None else iv_len,
        len(data) if src_len is None else src_len,
        len(data) if dst_len is None else dst_len,
    )
    fixed = struct.pack("<III28xII", *sizes, 1, 0)
    return operation(op - 1, session, fixed, (iv, data), len(data), room=room)


def run_hash(session: int, data: bytes, size: int = 32, *, service: int = HASH) -> Request:
    fixed = struct.pack("<II", len(data), size)
    return operation(service << 8, session, fixed, (data,), size)


def run_aead(
    session: int,
    data: bytes,
    nonce: bytes,
    aad: bytes,
    result: int,
    *,
    op: int = ENCRYPT,
    tag: int = 0,
) -> Request:
    fixed = struct.pack("<IIIIII", len(nonce), len(aad), len(data), result, tag, 0)
    return operation(0x300 | (op - 1), session, fixed, (nonce, data, aad), result)


def run_rsa(session: int, opcode: int, data: bytes, result: int) -> Request:
    return operation(
        0x400 | opcode, session, struct.pack("<II", len(data), result), (data,), result
    )


def verify_rsa(session: int, signature: bytes, signed: bytes) -> Request:
    fixed = struct.pack("<II", len(signature), len(signed))
    return operation(0x403, session, fixed, (signature, signed), 0)


def answered(peer: Peer, request: Request, command_id: int = 1) -> bytes:
    """Receive an answer that comes back in full; return all of it."""
    return peer.vring_completion(request.writable, command_id)


def answered_short(peer: Peer, writable: Sequence[Descriptor]) -> tuple[bytes, ...]:
    """Receive an answer whose descriptors may come back short; return their bytes."""
    done = peer.completion()
    assert (done.status, done.ndesc) == (0, len(writable))
    returned = [struct.unpack("<QIHHII", peer.receive(24)) for _ in writable]
    offset = 0
    for (addr, length, *rest), (room, ident, flags) in zip(returned, writable, strict=True):
        assert (addr, rest) == (offset, [ident, flags, 0, 0])
        assert 0 <= length <= room
        offset += length
    assert done.value == offset
    return tuple(peer.receive(length) for _addr, length, *_rest in returned)


class CryptoPeer:
    """An initiator attached to a crypto device with one data queue."""

    def __init__(
        self,
        address: tuple[str, int],
        tvqn: str = CRYPTO0,
        *,
        features: int | None = VERSION_1,
        queues: int = 1,
    ) -> None:
        self.association = Association(address, tvqn, queues=queues + 1, features=features)
        self.data = self.association.queues[0]
        self.control = self.association.queues[queues]

    def session(self, request: Request) -> int:
        status, session = self.try_session(request)
        assert status == OK
        return session

    def try_session(self, request: Request) -> tuple[int, int]:
        answer = answered(self.control.send(request.encode()), request)
        session, status, _pad = struct.unpack("<QII", answer)
        return status, session

    def destroy(self, service: int, session: int) -> int:
        request = destroy(service, session)
        return answered(self.control.send(request.encode()), request)[0]

    def run(self, request: Request) -> tuple[int, bytes]:
        """Execute an operation; return its status and its result."""
        answer = answered(self.data.send(request.encode()), request)
        return answer[-1], answer[:-1]

    def close(self) -> None:
        self.association.close()

    def __enter__(self) -> CryptoPeer:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
