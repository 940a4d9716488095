# SPDX-License-Identifier: BSD-3-Clause
"""Made-up RoCEv2 connections: the packets of what two ends do by RDMA.

The connection manager's datagrams, SEND, READ and WRITE, divided into packets, with sequence
numbers and acknowledgements as an adapter makes them; the checksums at the end are zero. Nothing of
ours that reads packets is used here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from tests.support.capture_files import I2T, T2I, datagram

UDP_PORT = 4791
MTU_CODES = {256: 1, 512: 2, 1024: 3, 2048: 4, 4096: 5}

SEND_FIRST, SEND_MIDDLE, SEND_LAST, SEND_ONLY = 0x00, 0x01, 0x02, 0x04
SEND_ONLY_INVALIDATE = 0x17
WRITE_FIRST, WRITE_MIDDLE, WRITE_LAST, WRITE_ONLY = 0x06, 0x07, 0x08, 0x0A
READ_REQUEST = 0x0C
ANSWER_FIRST, ANSWER_MIDDLE, ANSWER_LAST, ANSWER_ONLY = 0x0D, 0x0E, 0x0F, 0x10
ACKNOWLEDGE = 0x11
UD_SEND_ONLY = 0x64

REQ, REJ, REP, RTU, DREQ, DREP = 0x10, 0x12, 0x13, 0x14, 0x15, 0x16

PSNS = 1 << 24


def transport(
    opcode: int, queue_pair: int, psn: int, payload: bytes, extended: bytes = b""
) -> bytes:
    """Return what stands behind a UDP header."""
    pad = -len(payload) % 4
    head = struct.pack(">BBHII", opcode, 0x40 | pad << 4, 0xFFFF, queue_pair, psn % PSNS)
    return head + extended + payload + bytes(pad) + bytes(4)


@dataclass
class Talk:
    """A made-up RDMA connection."""

    initiator: str = "192.0.2.1"
    target: str = "192.0.2.2"
    port: int = 15771
    queue_pairs: dict[str, int] = field(default_factory=lambda: {I2T: 0x11, T2I: 0x22})
    """Of each end: the initiator's, and the target's."""
    comm_ids: dict[str, int] = field(default_factory=lambda: {I2T: 0x1111, T2I: 0x2222})
    mtu: int = 1024
    start: dict[str, int] = field(default_factory=lambda: {I2T: 100, T2I: PSNS - 3})
    """The first sequence number of each end: one wraps around soon."""

    def __post_init__(self) -> None:
        self._psn = dict(self.start)

    # The connection manager.

    def opened(self) -> list[bytes]:
        """Return the three datagrams that make it."""
        request = bytearray(232)
        struct.pack_into(">I", request, 0, self.comm_ids[I2T])
        struct.pack_into(">Q", request, 8, 0x0106_0000 | self.port)
        struct.pack_into(">I", request, 32, self.queue_pairs[I2T] << 8 | 1)
        struct.pack_into(">I", request, 44, self.start[I2T] << 8)
        request[50] = MTU_CODES[self.mtu] << 4
        reply = bytearray(232)
        struct.pack_into(">IIII", reply, 0, *self._ids(T2I), 0, self.queue_pairs[T2I] << 8)
        struct.pack_into(">I", reply, 20, self.start[T2I] << 8)
        ready = bytearray(232)
        struct.pack_into(">II", ready, 0, *self._ids(I2T))
        return [
            self._manage(I2T, REQ, bytes(request)),
            self._manage(T2I, REP, bytes(reply)),
            self._manage(I2T, RTU, bytes(ready)),
        ]

    def closes(self, direction: str, attribute: int = DREQ) -> bytes:
        """Return the datagram by which an end ends it."""
        return self._manage(direction, attribute, struct.pack(">II", *self._ids(direction)))

    def _ids(self, direction: str) -> tuple[int, int]:
        other = T2I if direction == I2T else I2T
        return self.comm_ids[direction], self.comm_ids[other]

    def _manage(self, direction: str, attribute: int, data: bytes) -> bytes:
        mad = struct.pack(">BBBBHHQHHI", 1, 7, 2, 3, 0, 0, 0, attribute, 0, 0)
        mad += data.ljust(232, b"\0")
        return self._packet(direction, transport(UD_SEND_ONLY, 1, 0, mad, bytes(8)))

    # Operations.

    def sends(self, direction: str, data: bytes) -> list[bytes]:
        """Return the packets of a SEND, and that which acknowledges it."""
        opcodes = (SEND_FIRST, SEND_MIDDLE, SEND_LAST, SEND_ONLY)
        return [*self._message(direction, opcodes, data, b""), self.acknowledges(direction)]

    def writes(self, direction: str, addr: int, key: int, data: bytes) -> list[bytes]:
        """Return the packets of a WRITE."""
        opcodes = (WRITE_FIRST, WRITE_MIDDLE, WRITE_LAST, WRITE_ONLY)
        return self._message(direction, opcodes, data, struct.pack(">QII", addr, key, len(data)))

    def reads(self, direction: str, addr: int, key: int, data: bytes) -> list[bytes]:
        """Return the packet of a READ, and those of its answer, which comes from the other end."""
        first = self._psn[direction]
        parts = self._parts(data)
        self._psn[direction] += len(parts)
        head = struct.pack(">QII", addr, key, len(data))
        packets = [self._operation(direction, READ_REQUEST, first, b"", head)]
        other = T2I if direction == I2T else I2T
        for place, part in enumerate(parts):
            opcode = _place(place, parts, (ANSWER_FIRST, ANSWER_MIDDLE, ANSWER_LAST, ANSWER_ONLY))
            extended = b"" if opcode == ANSWER_MIDDLE else bytes(4)
            packets.append(self._operation(other, opcode, first + place, part, extended))
        return packets

    def acknowledges(self, direction: str, syndrome: int = 0) -> bytes:
        """Return the other end's answer to what came last from an end."""
        other = T2I if direction == I2T else I2T
        psn = self._psn[direction] - 1
        return self._operation(other, ACKNOWLEDGE, psn, b"", struct.pack(">I", syndrome << 24))

    def only(self, direction: str, opcode: int, data: bytes, extended: bytes = b"") -> bytes:
        """Return one packet of any kind, with the next sequence number."""
        self._psn[direction] += 1
        return self._operation(direction, opcode, self._psn[direction] - 1, data, extended)

    def _message(
        self, direction: str, opcodes: tuple[int, int, int, int], data: bytes, head: bytes
    ) -> list[bytes]:
        parts = self._parts(data)
        return [
            self.only(direction, _place(place, parts, opcodes), part, b"" if place else head)
            for place, part in enumerate(parts)
        ]

    def _parts(self, data: bytes) -> list[bytes]:
        return [data[place : place + self.mtu] for place in range(0, len(data), self.mtu)] or [b""]

    def _operation(
        self, direction: str, opcode: int, psn: int, payload: bytes, extended: bytes
    ) -> bytes:
        other = T2I if direction == I2T else I2T
        queue_pair = self.queue_pairs[other]
        return self._packet(direction, transport(opcode, queue_pair, psn, payload, extended))

    def _packet(self, direction: str, payload: bytes) -> bytes:
        ends = (self.initiator, self.target) if direction == I2T else (self.target, self.initiator)
        return datagram(payload, *ends, UDP_PORT)


def _place(place: int, parts: list[bytes], opcodes: tuple[int, int, int, int]) -> int:
    """Return which of the opcodes for first, middle, last and only it is."""
    if len(parts) == 1:
        return opcodes[3]
    return opcodes[0 if not place else 2 if place == len(parts) - 1 else 1]
