# SPDX-License-Identifier: BSD-3-Clause
"""An initiator of the tests' own: hand-made bytes on a raw socket.

It shares no code with the target's side, framing included, so that one mistake cannot cancel itself
out. It checks every completion as the out-of-tree Linux initiator would have to.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple, Self

PATIENCE = 60.0

BLOCK0 = "virtio-target/block/block0.service"
BLOCK1 = "virtio-target/block/block1.service"
BLOCK2 = "virtio-target/block/block2.service"
IVQN = "vqn.uuid:42761df9-4c3f-4b27-843d-c88d1dcdce32"

CONTROL = 0xFFFF

IN, OUT, FLUSH, GET_ID, GET_LIFETIME, DISCARD, WRITE_ZEROES, SECURE_ERASE = (
    0,
    1,
    4,
    8,
    10,
    11,
    13,
    14,
)
OK, IOERR, UNSUPP = 0, 1, 2

Descriptor = tuple[int, int, int]
"""Length, id and flags."""


def name_field(name: str | bytes) -> bytes:
    raw = name.encode() if isinstance(name, str) else name
    return raw.ljust(256, b"\0")


def connect_bytes(
    target_id: int = CONTROL,
    queue: int = 0,
    *,
    tvqn: str | bytes = BLOCK0,
    ivqn: str | bytes = IVQN,
    command_id: int = 0x1234,
    oftype: int = 0,
    ndesc: int = 1,
    length: int = 1024,
    flags: int = 0,
) -> bytes:
    command = struct.pack("<HHHHHB5x", 0, command_id, target_id, queue, ndesc, oftype)
    descriptor = struct.pack("<QIHHI4x", 0, length, 0, flags, 0)
    return command + descriptor + name_field(ivqn) + name_field(tvqn) + bytes(512)


def command_bytes(opcode: int, command_id: int = 1, select: int = 0, value: int = 0) -> bytes:
    """A control command of any kind: the four bytes after the ids are ``select``.

    Set_status has its value there, as the Linux initiator sends it.
    """
    return struct.pack("<HHIQ", opcode, command_id, select, value)


def connect_v5_bytes(
    instance: int = CONTROL,
    index: int = 0,
    *,
    tvqn: str | bytes = BLOCK0,
    ivqn: str | bytes = IVQN,
    command_id: int = 0x1234,
    queue_size: int = 0,
    body: bool = True,
) -> bytes:
    """A Connect of *v5*: no descriptor, and on a virtqueue no body where there need not be one."""
    length = 1024 if body else 0
    command = struct.pack("<HHHHIHH", 0, command_id, instance, index, length, queue_size, 0xAAAA)
    return command + (name_field(ivqn) + name_field(tvqn) + bytes(512) if body else b"")


def vring_bytes(
    descriptors: Sequence[Descriptor],
    payload: bytes = b"",
    *,
    command_id: int = 1,
    ndesc: int | None = None,
    opcode: int = 0x2000,
) -> bytes:
    count = len(descriptors) if ndesc is None else ndesc
    head = struct.pack("<HHIH6x", opcode, command_id, 0, count)
    return (
        head
        + b"".join(
            struct.pack("<QIHHI4x", 0, length, i, flags, 0) for length, i, flags in descriptors
        )
        + payload
    )


def header(kind: int, sector: int = 0) -> bytes:
    return struct.pack("<IIQ", kind, 0x4004, sector)


def request_bytes(
    kind: int,
    sector: int = 0,
    data: bytes = b"",
    room: int = 0,
    *,
    command_id: int = 1,
    opcode: int = 0x2000,
) -> bytes:
    """A block request as the Linux initiator makes it: header, data, status, a descriptor each."""
    descriptors = [(16, 0, 0)]
    if data:
        descriptors.append((len(data), 1, 0))
    if room:
        descriptors.append((room, len(descriptors), 2))
    descriptors.append((1, len(descriptors), 2))
    payload = header(kind, sector) + data
    return vring_bytes(descriptors, payload, command_id=command_id, opcode=opcode)


class Completion(NamedTuple):
    status: int
    command_id: int
    ndesc: int
    value: int


class Peer:
    """One connection."""

    def __init__(self, address: tuple[str, int], *, receive_buffer: int = 0) -> None:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.sock = socket.socket(family)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(PATIENCE)
        try:
            self.sock.connect(address)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            self.sock.close()
            raise

    def send(self, data: bytes) -> Self:
        self.sock.sendall(data)
        return self

    def receive(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self.sock.recv(size - len(data))
            if not part:
                raise EOFError(f"closed after {len(data)} of {size} bytes")
            data += part
        return bytes(data)

    def completion(self) -> Completion:
        status, command_id, ndesc, value = struct.unpack("<HHH2xQ", self.receive(16))
        return Completion(status, command_id, ndesc, value)

    def connect(self, target_id: int = CONTROL, queue: int = 0, **fields: object) -> int:
        """Connect; return the target id that the completion brings."""
        self.send(connect_bytes(target_id, queue, **fields))  # type: ignore[arg-type]
        answer = self.completion()
        assert answer[:3] == (0, fields.get("command_id", 0x1234), 0), answer
        return answer.value & 0xFFFF

    def connect_v5(self, instance: int = CONTROL, index: int = 0, **fields: object) -> int:
        """Connect as *v5* has it; return the device instance id that the completion brings."""
        self.send(connect_v5_bytes(instance, index, **fields))  # type: ignore[arg-type]
        status, command_id, found = struct.unpack("<HHH10x", self.receive(16))
        assert (status, command_id) == (0, fields.get("command_id", 0x1234))
        return int(found)

    def control(self, opcode: int, select: int = 0, value: int = 0) -> int:
        """Execute a control command that succeeds; return its value."""
        status, result = self.try_control(opcode, select, value)
        assert status == 0, status
        return result

    def try_control(self, opcode: int, select: int = 0, value: int = 0) -> tuple[int, int]:
        self.send(command_bytes(opcode, 0x4321, select, value))
        answer = self.completion()
        assert (answer.command_id, answer.ndesc) == (0x4321, 0), answer
        return answer.status, answer.value

    def config(self, offset: int, width: int) -> int:
        return self.control(0x100A, offset | width << 16)

    def vring_completion(self, writable: Sequence[Descriptor], command_id: int = 1) -> bytes:
        """Receive the completion of a request with these device-writable descriptors; return their
        bytes.

        The checks are the Linux initiator's needs: as many descriptors as the request has, none of
        them empty, the used length in the value; and ours, that everything comes back in full.
        """
        answer = self.completion()
        assert answer.status == 0
        assert answer.command_id == command_id
        assert answer.ndesc == len(writable)
        total = sum(length for length, _id, _flags in writable)
        assert answer.value == total
        offset = 0
        for expected in writable:
            addr, *returned, key, pad = struct.unpack("<QIHHII", self.receive(24))
            assert (addr, tuple(returned), key, pad) == (offset, expected, 0, 0)
            offset += expected[0]
        return self.receive(total)

    def request(
        self,
        kind: int,
        sector: int = 0,
        data: bytes = b"",
        room: int = 0,
        *,
        opcode: int = 0x2000,
    ) -> tuple[int, bytes]:
        """Execute a block request; return the status byte and the data that came back."""
        self.send(request_bytes(kind, sector, data, room, opcode=opcode))
        ident = 1 + bool(data)
        writable = [(room, ident, 2), (1, ident + 1, 2)] if room else [(1, ident, 2)]
        answer = self.vring_completion(writable)
        return answer[-1], answer[:-1]

    def half_close(self) -> Self:
        self.sock.shutdown(socket.SHUT_WR)
        return self

    def is_closed(self) -> bool:
        """Wait for the end of the connection; False where data comes instead."""
        try:
            return not self.sock.recv(1)
        except ConnectionError:
            return True

    def drain(self) -> int:
        """Receive until the end of the connection; return how many bytes came."""
        count = 0
        try:
            while data := self.sock.recv(1 << 20):
                count += len(data)
        except ConnectionError:
            pass
        return count

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Association:
    """A control queue and virtqueues, attached as the Linux initiator does it where ``features`` is
    given.
    """

    def __init__(
        self,
        address: tuple[str, int],
        tvqn: str = BLOCK0,
        *,
        queues: int = 1,
        features: int | None = None,
        oftype: int = 0,
        v5: bool = False,
    ) -> None:
        self.address = address
        self.tvqn = tvqn
        self.oftype = oftype
        self.v5 = v5
        self.queues: list[Peer] = []
        self.control = Peer(address)
        try:
            self._attach(queues, features)
        except BaseException:
            self.close()
            raise

    def _attach(self, queues: int, features: int | None) -> None:
        # As the Linux initiator does: the id to use is the one from the last Connect, whichever
        # queue's.
        self.target_id = self._connect(self.control)
        if features is not None:
            self.negotiate(features)
        for index in range(queues):
            self.add_queue(index)

    def negotiate(self, features: int) -> None:
        for status in (0, 1, 3):
            self.control.control(0x1004, select=status)
            assert self.control.control(0x1003) == status
        self.control.control(0x1006, value=features)
        for status in (0xB, 0xF):
            self.control.control(0x1004, select=status)
            assert self.control.control(0x1003) == status

    def add_queue(self, index: int) -> Peer:
        peer = self.adopt(Peer(self.address))
        self.target_id = self._connect(peer, self.target_id, index)
        return peer

    def _connect(self, peer: Peer, target_id: int = CONTROL, index: int = 0) -> int:
        if self.v5:
            return peer.connect_v5(target_id, index, tvqn=self.tvqn)
        return peer.connect(target_id, index, tvqn=self.tvqn, oftype=self.oftype)

    def adopt(self, peer: Peer) -> Peer:
        """Close ``peer`` with the others."""
        self.queues.append(peer)
        return peer

    @property
    def queue(self) -> Peer:
        return self.queues[0]

    def is_closed(self) -> bool:
        return all(peer.is_closed() for peer in (self.control, *self.queues))

    def close(self) -> None:
        for peer in (self.control, *self.queues):
            peer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
