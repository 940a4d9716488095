# SPDX-License-Identifier: BSD-3-Clause
"""What packets carry, behind every link layer and both internet protocols."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import capture_files as files
from vof.decode.capture import Packet
from vof.decode.network import Datagram, Endpoint, Segment, dissect
from vof.errors import ConfigError

LINKS = [files.ETHERNET, files.NULL, files.LOOP, files.RAW, files.COOKED, files.COOKED_2]
FOUR, SIX = ("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")


def packet(data: bytes, link_type: int = files.ETHERNET, size: int | None = None) -> Packet:
    return Packet(1, 0, link_type, data, len(data) if size is None else size)


@pytest.mark.parametrize("link_type", LINKS)
@pytest.mark.parametrize("addresses", [FOUR, SIX])
def test_a_segment(link_type: int, addresses: tuple[str, str]) -> None:
    talk = files.Talk(*addresses, link_type=link_type)
    syn, *_rest = talk.opened()
    (data,) = talk.says(files.I2T, b"hello")
    found = dissect(packet(syn, link_type))
    assert isinstance(found, Segment)
    assert (found.syn, found.fin, found.rst, found.acknowledged, found.size) == (
        True, False, False, None, 0,
    )  # fmt: skip
    found = dissect(packet(data, link_type))
    assert isinstance(found, Segment)
    assert (found.payload, found.size, found.sequence) == (b"hello", 5, 1001)
    assert found.acknowledged == 0xFFFF_FF01
    brackets = ("[", "]") if addresses == SIX else ("", "")
    assert str(found.source) == f"{brackets[0]}{addresses[0]}{brackets[1]}:40000"
    assert str(found.destination).endswith(f"{addresses[1]}{brackets[1]}:15771")


@pytest.mark.parametrize("link_type", LINKS)
@pytest.mark.parametrize("addresses", [FOUR, SIX])
def test_a_datagram(link_type: int, addresses: tuple[str, str]) -> None:
    data = files.datagram(b"hello", *addresses, 4791, link_type)
    found = dissect(packet(data, link_type))
    assert isinstance(found, Datagram)
    assert (found.payload, found.size, found.destination.port) == (b"hello", 5, 4791)


@pytest.mark.parametrize("flag", [files.FIN, files.RST])
def test_ends(flag: int) -> None:
    found = dissect(packet(files.Talk().closes(files.T2I, flag)))
    assert isinstance(found, Segment)
    assert (found.fin, found.rst) == (flag == files.FIN, flag == files.RST)


def test_padding_of_the_link_layer_is_not_data() -> None:
    (data,) = files.Talk().says(files.I2T, b"x")
    found = dissect(packet(data + bytes(5)))
    assert isinstance(found, Segment)
    assert (found.payload, found.size) == (b"x", 1)


def test_the_first_bytes_of_a_packet() -> None:
    (data,) = files.Talk().says(files.I2T, b"hello")
    found = dissect(packet(data[:-3], size=len(data)))
    assert isinstance(found, Segment)
    assert (found.payload, found.size) == (b"he", 5)


def test_a_segment_that_the_network_card_is_to_divide() -> None:
    """Its IP header has no length."""
    (data,) = files.Talk(mss=1 << 20).says(files.I2T, b"x" * 60000)
    data = data[:16] + bytes(2) + data[18:]
    found = dissect(packet(data))
    assert isinstance(found, Segment)
    assert found.size == len(found.payload) == 60000


def test_vlan_tags_are_stepped_over() -> None:
    (data,) = files.Talk().says(files.I2T, b"hello")
    tagged = data[:12] + bytes.fromhex("88a80001 81000002") + data[12:]
    assert isinstance(dissect(packet(tagged)), Segment)


def test_ipv6_extension_headers() -> None:
    talk = files.Talk(*SIX)
    (data,) = talk.says(files.I2T, b"hello")
    ip, tcp = data[14:54], data[54:]

    def with_header(kind: int, header: bytes) -> Packet:
        head = bytearray(ip)
        struct.pack_into(">HB", head, 4, len(header) + len(tcp), kind)
        return packet(data[:14] + bytes(head) + header + tcp)

    hops = with_header(0, bytes([6, 1]) + bytes(14))
    whole = with_header(44, bytes([6, 0, 0, 0]) + bytes(4))
    part = with_header(44, bytes([6, 0, 0, 9]) + bytes(4))
    for each in (hops, whole):
        found = dissect(each)
        assert isinstance(found, Segment)
        assert found.payload == b"hello"
    assert dissect(part) is None


def test_what_is_neither() -> None:
    icmp = files.framed(b"ping", *FOUR, 1)
    fragment = bytearray(files.datagram(b"part", *FOUR, 4791))
    fragment[20] = 0x20
    for data in (icmp, bytes(fragment), b"", bytes(12) + b"\x08\x06" + bytes(28)):
        assert dissect(packet(data)) is None


def test_an_unknown_link_type() -> None:
    with pytest.raises(ConfigError, match="link type 147"):
        dissect(packet(bytes(60), 147))


@given(data=st.binary(max_size=90), link_type=st.sampled_from(LINKS))
def test_whatever_is_in_a_packet(data: bytes, link_type: int) -> None:
    dissect(packet(data, link_type))


@given(data=st.data(), six=st.booleans())
def test_a_packet_cut_anywhere(data: st.DataObject, six: bool) -> None:
    (whole,) = files.Talk(*(SIX if six else FOUR)).says(files.I2T, b"hello")
    end = data.draw(st.integers(0, len(whole)))
    found = dissect(packet(whole[:end], size=len(whole)))
    if isinstance(found, Segment):
        assert found.size == 5
        assert b"hello".startswith(found.payload)


def test_names_of_ends() -> None:
    assert str(Endpoint(bytes([127, 0, 0, 1]), 1)) == "127.0.0.1:1"
    assert str(Endpoint(bytes(15) + b"\1", 2)) == "[::1]:2"
