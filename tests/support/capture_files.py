# SPDX-License-Identifier: BSD-3-Clause
"""Writes captures: files in each form, and the packets of made-up TCP connections and datagrams.

What a decoder is tested with when nobody has captured it, checked against tshark where that is at
hand. Nothing of ours that reads captures is used here.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

ETHERNET, NULL, RAW, COOKED, COOKED_2, LOOP = 1, 0, 101, 113, 276, 108

START = 1_700_000_000_000_000_000
"""Nanoseconds since 1970: when made-up captures begin."""

STEP = 1_000_000
"""Nanoseconds between their packets."""

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10

I2T, T2I = "i2t", "t2i"


@dataclass(frozen=True)
class Made:
    """A packet."""

    data: bytes
    time: int
    size: int | None = None
    """On the wire; None: all of it is there."""


def times(packets: Iterable[bytes], start: int = START, step: int = STEP) -> list[Made]:
    """Return the packets with times."""
    return [Made(data, start + step * place) for place, data in enumerate(packets)]


def cut(packets: Iterable[Made], snapshot: int) -> list[Made]:
    """Return the first bytes of each, as a capture with a snapshot length has them."""
    return [Made(each.data[:snapshot], each.time, len(each.data)) for each in packets]


# Files.


def pcap(
    packets: Iterable[Made], link_type: int = ETHERNET, *, order: str = "<", nano: bool = False
) -> bytes:
    """Return a pcap file."""
    magic, unit = (0xA1B23C4D, 1) if nano else (0xA1B2C3D4, 1000)
    content = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262144, link_type)]
    for packet in packets:
        seconds, rest = divmod(packet.time, 1_000_000_000)
        size = len(packet.data) if packet.size is None else packet.size
        content.append(struct.pack(order + "IIII", seconds, rest // unit, len(packet.data), size))
        content.append(packet.data)
    return b"".join(content)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """Return a block of a pcapng file."""
    body += bytes(-len(body) % 4)
    size = len(body) + 12
    return struct.pack(order + "II", kind, size) + body + struct.pack(order + "I", size)


def section(order: str = "<") -> bytes:
    """Return a section header block."""
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link_type: int = ETHERNET, order: str = "<", options: bytes = b"") -> bytes:
    """Return an interface description block."""
    return block(1, struct.pack(order + "HHI", link_type, 0, 262144) + options, order)


def option(code: int, value: bytes, order: str = "<") -> bytes:
    """Return an option of a block."""
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def enhanced(packet: Made, index: int = 0, order: str = "<", unit: int = 1000) -> bytes:
    """Return an enhanced packet block; ``unit`` is that of the interface's time, in ns."""
    ticks = packet.time // unit
    size = len(packet.data) if packet.size is None else packet.size
    head = struct.pack(
        order + "IIIII", index, ticks >> 32, ticks & 0xFFFF_FFFF, len(packet.data), size
    )
    return block(6, head + packet.data, order)


def pcapng(packets: Iterable[Made], link_type: int = ETHERNET, *, order: str = "<") -> bytes:
    """Return a pcapng file of one section and interface."""
    blocks = [section(order), interface(link_type, order)]
    blocks += (enhanced(each, 0, order) for each in packets)
    return b"".join(blocks)


# Packets.


def framed(
    payload: bytes, source: str, destination: str, protocol: int, link_type: int = ETHERNET
) -> bytes:
    """Return an IP packet with the header of its link layer."""
    ends = [ipaddress.ip_address(each) for each in (source, destination)]
    six = ends[0].version == 6
    if six:
        head = struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64)
    else:
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, protocol, 0)
    packet = head + b"".join(each.packed for each in ends) + payload
    if not six:
        packet = packet[:10] + struct.pack(">H", checksum(packet[:20])) + packet[12:]
    kind = 0x86DD if six else 0x0800
    link = {
        ETHERNET: bytes(12) + struct.pack(">H", kind),
        NULL: struct.pack("<I", 10 if six else 2),
        LOOP: struct.pack(">I", 10 if six else 2),
        RAW: b"",
        COOKED: struct.pack(">HHH8sH", 0, 1, 6, bytes(8), kind),
        COOKED_2: struct.pack(">HHIHBB8s", kind, 0, 1, 1, 0, 6, bytes(8)),
    }
    return link[link_type] + packet


def checksum(data: bytes) -> int:
    """Return the Internet checksum."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def datagram(
    payload: bytes, source: str, destination: str, port: int, link_type: int = ETHERNET
) -> bytes:
    """Return a UDP packet."""
    head = struct.pack(">HHHH", 50000, port, 8 + len(payload), 0)
    return framed(head + payload, source, destination, 17, link_type)


@dataclass
class Talk:
    """A made-up TCP connection: says what each end sends, and has the packets of it."""

    initiator: str = "192.0.2.1"
    target: str = "192.0.2.2"
    port: int = 15771
    from_port: int = 40000
    link_type: int = ETHERNET
    mss: int = 1448
    start: dict[str, int] = field(default_factory=lambda: {I2T: 1000, T2I: 0xFFFF_FF00})
    """The sequence number of each end's SYN: one wraps around soon."""

    def __post_init__(self) -> None:
        self._sent = dict.fromkeys((I2T, T2I), 0)

    def opened(self) -> list[bytes]:
        """Return the three packets that make it."""
        return [
            self._packet(I2T, SYN, b"", before=-1, acknowledges=False),
            self._packet(T2I, SYN | ACK, b"", before=-1),
            self.acknowledges(I2T),
        ]

    def says(self, direction: str, data: bytes) -> list[bytes]:
        """Return the segments of some data."""
        packets = []
        for place in range(0, len(data), self.mss):
            part = data[place : place + self.mss]
            packets.append(self._packet(direction, PSH | ACK, part))
            self._sent[direction] += len(part)
        return packets

    def acknowledges(self, direction: str) -> bytes:
        """Return a segment without data, by which an end says that it has all so far."""
        return self._packet(direction, ACK, b"")

    def closes(self, direction: str, flag: int = FIN) -> bytes:
        """Return the segment by which an end ends it."""
        return self._packet(direction, flag | ACK, b"")

    def _packet(
        self,
        direction: str,
        flags: int,
        payload: bytes,
        *,
        before: int = 0,
        acknowledges: bool = True,
    ) -> bytes:
        other = T2I if direction == I2T else I2T
        ends = [(self.initiator, self.from_port), (self.target, self.port)]
        (source, sport), (destination, dport) = ends if direction == I2T else ends[::-1]
        sequence = self.start[direction] + 1 + self._sent[direction] + before
        acknowledged = self.start[other] + 1 + self._sent[other] if acknowledges else 0
        head = struct.pack(
            ">HHIIBBHHH",
            sport,
            dport,
            sequence % (1 << 32),
            acknowledged % (1 << 32),
            5 << 4,
            flags,
            0xFFFF,
            0,
            0,
        )
        return framed(head + payload, source, destination, 6, self.link_type)


def talked(said: Sequence[tuple[str, bytes]], talk: Talk | None = None) -> Iterator[bytes]:
    """Yield the packets of a whole connection."""
    talk = talk or Talk()
    yield from talk.opened()
    for direction, data in said:
        yield from talk.says(direction, data)
    yield talk.closes(I2T)
    yield talk.closes(T2I)
