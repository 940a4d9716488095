# SPDX-License-Identifier: BSD-3-Clause
"""One direction of a reliable connection: packets of a requester in, RDMA operations out.

Owns packet sequence numbers, and with them what was sent twice and what is missing (InfiniBand
Architecture Specification, volume 1, §9.7). A READ is complete with its answers, which have the
sequence numbers that its request took; they come in order, so that one with a later number says
that an earlier one is missing. Must not know what is carried.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from vof.decode.budget import MAX_DATA
from vof.decode.message import Bytes
from vof.decode.rocev2 import PSNS, Operation, RocePacket

MAX_READS = 256
"""READs without a complete answer that are remembered: more than an adapter has outstanding."""

_HALF = PSNS // 2


class Done(NamedTuple):
    """An operation."""

    operation: Operation
    """SEND, WRITE, or READ_RESPONSE for a READ with its answer."""
    data: Bytes
    addr: int = 0
    key: int = 0


class Missing(NamedTuple):
    """Packets that are not in the capture."""

    packets: int


@dataclass
class _Read:
    """A READ whose answer is not complete."""

    packet: RocePacket
    mtu: int
    parts: dict[int, Bytes] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Packets of the answer."""
        return max(1, -(-self.packet.length // self.mtu))

    def done(self) -> Done:
        """Return it with what there is of its answer."""
        length = self.packet.length
        sizes = (min(self.mtu, length - start) for start in range(0, length, self.mtu))
        whole = _joined(
            [self.parts.get(index) or _nothing(size) for index, size in enumerate(sizes)]
        )
        return Done(Operation.READ_RESPONSE, whole, self.packet.addr, self.packet.key)


class Requester:
    """An end of a connection, and what it asks of the other."""

    def __init__(self, psn: int, mtu: int) -> None:
        """``psn`` is the first packet sequence number; ``mtu`` the bytes of data in a packet."""
        self._expected = psn
        self._mtu = mtu
        self._parts: list[Bytes] | None = None  # of the message that has begun
        self._size = 0  # bytes of these
        self._first: RocePacket | None = None
        self._reads: list[_Read] = []

    def request(self, packet: RocePacket) -> Iterator[Done | Missing]:
        """Take a packet of its own; yield what that completes."""
        ahead = (packet.psn - self._expected) % PSNS
        if ahead >= _HALF:
            return  # sent once more
        if ahead:
            self._parts = None
            yield Missing(ahead)
        self._expected = (packet.psn + 1) % PSNS
        operation = packet.opcode.operation
        if operation is Operation.READ_REQUEST:
            read = _Read(packet, self._mtu)
            self._expected = (packet.psn + read.count) % PSNS
            if packet.length <= MAX_DATA:
                self._reads.append(read)
            if len(self._reads) > MAX_READS:
                yield self._reads.pop(0).done()
            return
        if packet.opcode.begins:
            self._parts, self._first, self._size = [], packet, 0
        if self._parts is None or self._first is None:
            return  # the beginning is missing
        self._size += len(packet.payload.data)
        if self._size > MAX_DATA:
            self._parts = None
            return
        self._parts.append(packet.payload)
        if packet.opcode.ends:
            data = _joined(self._parts)
            self._parts = None
            yield Done(operation, data, self._first.addr, self._first.key)

    def answer(self, packet: RocePacket) -> Iterator[Done]:
        """Take a packet that answers a READ; yield what that completes."""
        for place, read in enumerate(self._reads):
            index = (packet.psn - read.packet.psn) % PSNS
            if index < read.count:
                read.parts[index] = packet.payload
                if len(read.parts) == read.count:
                    done, self._reads = self._reads[: place + 1], self._reads[place + 1 :]
                    yield from (each.done() for each in done)
                break

    def end(self) -> Iterator[Done]:
        """Yield what is not complete, now that nothing comes any more."""
        reads, self._reads = self._reads, []
        for read in reads:
            yield read.done()


def _nothing(size: int) -> Bytes:
    return Bytes(bytes(size), (range(size),))


def _joined(parts: list[Bytes]) -> Bytes:
    data = bytearray()
    missing = []
    for part in parts:
        missing += [range(hole.start + len(data), hole.stop + len(data)) for hole in part.missing]
        data += part.data
    return Bytes(bytes(data), tuple(missing))
