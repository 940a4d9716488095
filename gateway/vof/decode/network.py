# SPDX-License-Identifier: BSD-3-Clause
"""Finds TCP segments and UDP datagrams in the packets of a capture.

Owns the headers of the link layers that a capture on Linux has, of IPv4 and IPv6, TCP and UDP.
Fragments of datagrams are not put together: nobody who carries this protocol makes any. Must not
know streams, queue pairs, or what is carried.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import NamedTuple

from vof.decode.capture import Packet
from vof.errors import ConfigError

_IPV4, _IPV6 = 0x0800, 0x86DD
_VLANS = frozenset({0x8100, 0x88A8})

_TCP, _UDP = 6, 17

_EXTENSIONS = frozenset({0, 43, 60})
"""IPv6 extension headers that can be stepped over: hop-by-hop, routing, destination options."""
_FRAGMENT = 44

_FIN, _SYN, _RST, _ACK = 0x01, 0x02, 0x04, 0x10

# LINKTYPE_*
_ETHERNET, _LOOPBACK_BIG, _COOKED, _COOKED_2 = 1, 108, 113, 276
_LOOPBACK, _RAW, _RAW_4, _RAW_6 = 0, {12, 14, 101}, 228, 229

_U16 = struct.Struct(">H")
_IPV4_HEADER = struct.Struct(">BxHxxHxB2x4s4s")
_IPV6_HEADER = struct.Struct(">B3xHBx16s16s")
_TCP_HEADER = struct.Struct(">HHIIBB")
_UDP_HEADER = struct.Struct(">HHH2x")


class Endpoint(NamedTuple):
    """An address and a port."""

    address: bytes
    port: int

    def __str__(self) -> str:
        text = str(ip_address(self.address))
        return f"[{text}]:{self.port}" if ":" in text else f"{text}:{self.port}"


class Segment(NamedTuple):
    """A TCP segment."""

    source: Endpoint
    destination: Endpoint
    sequence: int
    acknowledged: int | None
    syn: bool
    fin: bool
    rst: bool
    payload: bytes
    size: int
    """Bytes of payload it had, of which ``payload`` may be the first only."""


class Datagram(NamedTuple):
    """A UDP datagram."""

    source: Endpoint
    destination: Endpoint
    payload: bytes
    size: int
    """Bytes of payload it had, of which ``payload`` may be the first only."""


def dissect(packet: Packet) -> Segment | Datagram | None:
    """Return what a packet carries; None where that is neither, or not enough of it is there.

    Raises ConfigError for a link type that is not known: then none of the packets can be read.
    """
    try:
        place, kind = _network_header(packet)
        if kind == _IPV4:
            return _ipv4(packet.data, place, packet.size)
        if kind == _IPV6:
            return _ipv6(packet.data, place, packet.size)
    except struct.error:  # cut off, or nothing that was meant for us
        pass
    return None


def _network_header(packet: Packet) -> tuple[int, int]:
    """Return where the network layer's header is, and its EtherType."""
    data, link = packet.data, packet.link_type
    if link == _ETHERNET:
        place = 12
    elif link == _COOKED:
        place = 14
    elif link == _COOKED_2:
        return 20, _U16.unpack_from(data)[0]
    elif link in _RAW or link in {_RAW_4, _RAW_6}:
        return 0, _by_version(data, 0)
    elif link in {_LOOPBACK, _LOOPBACK_BIG}:
        return 4, _by_version(data, 4)
    else:
        raise ConfigError(
            f"link type {link} is not known; Ethernet, Linux cooked captures, raw IP and loopback "
            "are"
        )
    (kind,) = _U16.unpack_from(data, place)
    while kind in _VLANS:
        place += 4
        (kind,) = _U16.unpack_from(data, place)
    return place + 2, kind


def _by_version(data: bytes, place: int) -> int:
    version = data[place] >> 4 if len(data) > place else 0
    return {4: _IPV4, 6: _IPV6}.get(version, 0)


def _ipv4(data: bytes, place: int, size: int) -> Segment | Datagram | None:
    first, length, fragment, protocol, source, destination = _IPV4_HEADER.unpack_from(data, place)
    if fragment & 0x3FFF:  # its offset, or that more follow
        return None
    # A segment that the network card was to divide says 0.
    end = place + (length or size - place)
    return _transport(data, place + (first & 15) * 4, end, protocol, (source, destination))


def _ipv6(data: bytes, place: int, size: int) -> Segment | Datagram | None:
    _first, length, protocol, source, destination = _IPV6_HEADER.unpack_from(data, place)
    place += _IPV6_HEADER.size
    end = place + length if length else size
    while protocol in _EXTENSIONS or protocol == _FRAGMENT:
        following, units = struct.unpack_from(">BB", data, place)
        if protocol == _FRAGMENT:
            if _U16.unpack_from(data, place + 2)[0] & ~6:
                return None
            units = 0
        protocol, place = following, place + 8 + units * 8
    return _transport(data, place, end, protocol, (source, destination))


def _transport(
    data: bytes, place: int, end: int, protocol: int, addresses: tuple[bytes, bytes]
) -> Segment | Datagram | None:
    if protocol == _TCP:
        source, destination, sequence, acknowledged, offset, flags = _TCP_HEADER.unpack_from(
            data, place
        )
        place += (offset >> 4) * 4
        return Segment(
            Endpoint(addresses[0], source),
            Endpoint(addresses[1], destination),
            sequence,
            acknowledged if flags & _ACK else None,
            bool(flags & _SYN),
            bool(flags & _FIN),
            bool(flags & _RST),
            data[place:end],
            max(0, end - place),
        )
    if protocol == _UDP:
        source, destination, length = _UDP_HEADER.unpack_from(data, place)
        end = min(end, place + length) if length else end
        place += _UDP_HEADER.size
        return Datagram(
            Endpoint(addresses[0], source),
            Endpoint(addresses[1], destination),
            data[place:end],
            max(0, end - place),
        )
    return None
