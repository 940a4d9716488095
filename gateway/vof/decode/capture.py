# SPDX-License-Identifier: BSD-3-Clause
"""Packets out of a capture file: pcap in its four forms, and pcapng.

Sources: the file formats as the IETF drafts draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng
have them. A reader of our own, because what exists in Python and is small (dpkt) loses what is
needed here: how long a packet was before it was cut to the snapshot length, the link type of any
interface but the first, and that the file ends in the middle of a packet.

Must not know what is in a packet. Every length is checked before anything of that length is read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from vof.errors import ConfigError

MAX_PACKET = 16 << 20
"""Bytes of the largest packet believed; beyond, the file is damaged."""

_NANOSECONDS = 1_000_000_000

# Magic number of a pcap file, as it stands there: byte order, and units of a second.
_PCAP_MAGIC = {
    b"\xd4\xc3\xb2\xa1": ("<", 1_000_000),
    b"\xa1\xb2\xc3\xd4": (">", 1_000_000),
    b"\x4d\x3c\xb2\xa1": ("<", _NANOSECONDS),
    b"\xa1\xb2\x3c\x4d": (">", _NANOSECONDS),
}
_PCAPNG_MAGIC = b"\x0a\x0d\x0d\x0a"  # the type of a section header block, the same either way

_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _PACKET = 0x0A0D0D0A, 1, 2, 3, 6
_OPTION_TSRESOL, _OPTION_TSOFFSET = 9, 14
_BYTE_ORDER_MAGIC = 0x1A2B3C4D


class Packet(NamedTuple):
    """One packet."""

    number: int
    """Counted from 1, as Wireshark does."""
    time: int | None
    """Nanoseconds since 1970."""
    link_type: int
    """LINKTYPE_*: what ``data`` begins with."""
    data: bytes
    size: int
    """Bytes it had on the wire, of which ``data`` may be the first only."""


def is_capture(beginning: bytes) -> bool:
    """True if a file that begins so is a capture; 4 bytes suffice."""
    return beginning[:4] == _PCAPNG_MAGIC or beginning[:4] in _PCAP_MAGIC


def read_capture(file: BinaryIO) -> Iterator[Packet]:
    """Yield the packets of a file whose beginning ``is_capture`` knows.

    Raises ConfigError where the file ends too early or is damaged, after what could be read.
    """
    magic = file.read(4)
    if magic == _PCAPNG_MAGIC:
        return _Pcapng(file).packets()
    return _pcap(file, *_PCAP_MAGIC[magic])


def _pcap(file: BinaryIO, order: str, units: int) -> Iterator[Packet]:
    header = struct.Struct(order + "HHiIII")  # version, time zone, accuracy, snapshot length, link
    packet_header = struct.Struct(order + "IIII")
    *_rest, link_type = header.unpack(_exactly(file, header.size, 0))
    number = 0
    while beginning := file.read(packet_header.size):
        if len(beginning) < packet_header.size:
            raise _cut(number)
        seconds, fraction, captured, size = packet_header.unpack(beginning)
        _check_size(captured, number + 1)
        data = _exactly(file, captured, number)
        number += 1
        time = seconds * _NANOSECONDS + fraction * _NANOSECONDS // units
        # The upper bits say whether a checksum follows the packet.
        yield Packet(number, time, link_type & 0xFFFF, data, max(size, captured))


class _Interface(NamedTuple):
    link_type: int
    snapshot: int
    units: int
    """Of a second, in which its times are."""
    offset: int
    """Seconds."""


class _Pcapng:
    """A reader of blocks. A section has its own byte order and interfaces."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._order = "<"
        self._interfaces: list[_Interface] = []
        self._number = 0

    def packets(self) -> Iterator[Packet]:
        self._section(_PCAPNG_MAGIC)
        while beginning := self._file.read(4):
            if beginning == _PCAPNG_MAGIC:
                self._section(beginning)
                continue
            if len(beginning) < 4:
                raise _cut(self._number)
            (kind,) = self._unpack("I", beginning)
            body = self._body()
            try:
                packet = self._block(kind, body)
            except (struct.error, IndexError):
                raise _damaged(self._number + 1) from None
            if packet:
                yield packet

    def _section(self, magic: bytes) -> None:
        length, order_magic = _exactly(self._file, 4, self._number), self._file.read(4)
        for self._order in "<>":
            if order_magic == struct.pack(self._order + "I", _BYTE_ORDER_MAGIC):
                break
        else:
            raise _damaged(self._number + 1)
        (size,) = self._unpack("I", length)
        taken = len(magic) + len(length) + len(order_magic)
        if size < taken:
            raise _damaged(self._number + 1)
        _check_size(size, self._number + 1)
        _exactly(self._file, size - taken, self._number)
        self._interfaces = []

    def _body(self) -> bytes:
        """Return the body of the block whose type was read."""
        (size,) = self._unpack("I", _exactly(self._file, 4, self._number))
        if size < 12 or size % 4:
            raise _damaged(self._number + 1)
        _check_size(size, self._number + 1)
        return _exactly(self._file, size - 8, self._number)[:-4]

    def _block(self, kind: int, body: bytes) -> Packet | None:
        if kind == _INTERFACE:
            self._interfaces.append(self._interface(body))
            return None
        if kind == _PACKET:
            index, high, low, captured, size = self._unpack("IIIII", body)
            start = 20
        elif kind == _OLD_PACKET:
            index, _drops, high, low, captured, size = self._unpack("HHIIII", body)
            start = 20
        elif kind == _SIMPLE_PACKET:
            (size,) = self._unpack("I", body)
            index, start = 0, 4
            captured = min(size, self._interfaces[0].snapshot or size, len(body) - start)
            high = low = -1
        else:
            return None  # statistics, names, comments
        interface = self._interfaces[index]
        if captured > len(body) - start:
            raise _damaged(self._number + 1)
        self._number += 1
        time = None
        if high >= 0:
            time = (high << 32 | low) * _NANOSECONDS // interface.units
            time += interface.offset * _NANOSECONDS
        data = body[start : start + captured]
        return Packet(self._number, time, interface.link_type, data, max(size, captured))

    def _interface(self, body: bytes) -> _Interface:
        link_type, _reserved, snapshot = self._unpack("HHI", body)
        units, offset, place = 1_000_000, 0, 8
        while place + 4 <= len(body):
            code, length = self._unpack("HH", body[place : place + 4])
            value = body[place + 4 : place + 4 + length]
            if code == _OPTION_TSRESOL and length == 1:
                exponent = value[0] & 0x7F
                units = 2**exponent if value[0] & 0x80 else 10**exponent
            elif code == _OPTION_TSOFFSET and length == 8:
                (offset,) = self._unpack("q", value)
            place += 4 + (length + 3) // 4 * 4
        return _Interface(link_type, snapshot, units, offset)

    def _unpack(self, fmt: str, data: bytes) -> tuple[int, ...]:
        return struct.unpack_from(self._order + fmt, data)


def _exactly(file: BinaryIO, size: int, packets: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise _cut(packets)
    return data


def _check_size(size: int, number: int) -> None:
    if size > MAX_PACKET:
        raise _damaged(number)


def _cut(packets: int) -> ConfigError:
    after = f"after packet {packets}" if packets else "before its first packet"
    return ConfigError(f"the capture is cut off {after}")


def _damaged(number: int) -> ConfigError:
    return ConfigError(f"the capture is damaged where packet {number} should be")
