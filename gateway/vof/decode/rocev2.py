# SPDX-License-Identifier: BSD-3-Clause
"""Packets of RoCEv2: the headers behind UDP port 4791.

Source: InfiniBand Architecture Specification, volume 1, §9.2 (base transport header), §9.3
(extended ones), table 38 (opcodes), and annex A17 (RoCEv2). The checksum at the end is not looked
at. Must not know queue pairs or messages.
"""

from __future__ import annotations

import struct
from enum import Enum, IntEnum
from typing import NamedTuple

from vof.decode.message import Bytes
from vof.decode.network import Datagram

PORT = 4791

PSNS = 1 << 24
"""How many packet sequence numbers there are."""

_BTH = struct.Struct(">BBHII")
_RETH = struct.Struct(">QII")
_ICRC_SIZE = 4
_DETH_SIZE, _AETH_SIZE, _IMMEDIATE_SIZE = 8, 4, 4


class Operation(Enum):
    """The operations that a packet may be part of."""

    SEND = "send"
    WRITE = "write"
    READ_REQUEST = "read request"
    READ_RESPONSE = "read response"
    ACKNOWLEDGE = "acknowledge"
    MANAGEMENT = "management"


class Opcode(IntEnum):
    """Of reliable connections, and the one datagram that management uses."""

    SEND_FIRST = 0x00
    SEND_MIDDLE = 0x01
    SEND_LAST = 0x02
    SEND_LAST_IMMEDIATE = 0x03
    SEND_ONLY = 0x04
    SEND_ONLY_IMMEDIATE = 0x05
    WRITE_FIRST = 0x06
    WRITE_MIDDLE = 0x07
    WRITE_LAST = 0x08
    WRITE_LAST_IMMEDIATE = 0x09
    WRITE_ONLY = 0x0A
    WRITE_ONLY_IMMEDIATE = 0x0B
    READ_REQUEST = 0x0C
    READ_RESPONSE_FIRST = 0x0D
    READ_RESPONSE_MIDDLE = 0x0E
    READ_RESPONSE_LAST = 0x0F
    READ_RESPONSE_ONLY = 0x10
    ACKNOWLEDGE = 0x11
    SEND_LAST_INVALIDATE = 0x16
    SEND_ONLY_INVALIDATE = 0x17
    UD_SEND_ONLY = 0x64

    @property
    def operation(self) -> Operation:
        """The operation that it is part of."""
        if self is Opcode.UD_SEND_ONLY:
            return Operation.MANAGEMENT
        if self is Opcode.READ_REQUEST:
            return Operation.READ_REQUEST
        if self is Opcode.ACKNOWLEDGE:
            return Operation.ACKNOWLEDGE
        word = self.name.partition("_")[0]
        return {"SEND": Operation.SEND, "WRITE": Operation.WRITE}.get(word, Operation.READ_RESPONSE)

    @property
    def begins(self) -> bool:
        """It is the first or the only packet of its message."""
        return "_FIRST" in self.name or "_ONLY" in self.name

    @property
    def ends(self) -> bool:
        """It is the last or the only packet of its message."""
        return "_LAST" in self.name or "_ONLY" in self.name


_WITH_RETH = frozenset(
    {
        Opcode.WRITE_FIRST,
        Opcode.WRITE_ONLY,
        Opcode.WRITE_ONLY_IMMEDIATE,
        Opcode.READ_REQUEST,
    }
)
_WITH_AETH = frozenset(
    {
        Opcode.READ_RESPONSE_FIRST,
        Opcode.READ_RESPONSE_LAST,
        Opcode.READ_RESPONSE_ONLY,
        Opcode.ACKNOWLEDGE,
    }
)


class RocePacket(NamedTuple):
    """A packet."""

    opcode: Opcode
    queue_pair: int
    """At the destination."""
    psn: int
    payload: Bytes
    addr: int = 0
    key: int = 0
    length: int = 0
    """Bytes of the whole read or write."""
    syndrome: int = 0
    """Of an acknowledgement."""


def parse(datagram: Datagram) -> RocePacket | None:
    """Return a packet; None where it is of a kind that this protocol does not use.

    Raises struct.error where not even its headers are there.
    """
    data = datagram.payload
    number, flags, _partition, queue_pair, psn = _BTH.unpack_from(data)
    try:
        opcode = Opcode(number)
    except ValueError:
        return None
    place = _BTH.size
    addr = key = length = syndrome = 0
    if opcode is Opcode.UD_SEND_ONLY:
        place += _DETH_SIZE
    if opcode in _WITH_RETH:
        addr, key, length = _RETH.unpack_from(data, place)
        place += _RETH.size
    if opcode in _WITH_AETH:
        syndrome = struct.unpack_from(">I", data, place)[0] >> 24
        place += _AETH_SIZE
    if opcode.name.endswith(("_IMMEDIATE", "_INVALIDATE")):
        place += _IMMEDIATE_SIZE
    size = max(0, datagram.size - place - _ICRC_SIZE - (flags >> 4 & 3))
    payload = data[place : place + size]
    missing = (range(len(payload), size),) if len(payload) < size else ()
    return RocePacket(
        opcode,
        queue_pair & 0xFF_FFFF,
        psn & 0xFF_FFFF,
        Bytes(payload.ljust(size, b"\0"), missing),
        addr,
        key,
        length,
        syndrome,
    )
