# SPDX-License-Identifier: BSD-3-Clause
"""Packets out of every form of capture, and what is said of a damaged one."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import capture_files as files
from tests.support.capture_files import Made
from vof.decode.capture import MAX_PACKET, Packet, is_capture, read_capture
from vof.errors import ConfigError


def until_error(content: bytes) -> tuple[list[Packet], str]:
    """Return the packets, and what is wrong behind them."""
    found: list[Packet] = []
    reader = read_capture(io.BytesIO(content))
    while True:
        try:
            packet = next(reader, None)
        except ConfigError as error:
            return found, str(error)
        if packet is None:
            return found, ""
        found.append(packet)


packets = st.lists(
    st.builds(
        lambda data, time, more: Made(data, time * 1000, len(data) + more),
        st.binary(max_size=70),
        st.integers(0, (1 << 32) * 1_000_000 - 1),
        st.integers(0, 2000),
    ),
    max_size=5,
)

ORDERS = st.sampled_from("<>")


def read(content: bytes) -> list[Packet]:
    assert is_capture(content)
    return list(read_capture(io.BytesIO(content)))


def expected(made: list[Made], link_type: int = files.ETHERNET) -> list[Packet]:
    return [
        Packet(place + 1, each.time, link_type, each.data, each.size or len(each.data))
        for place, each in enumerate(made)
    ]


@given(made=packets, order=ORDERS, nano=st.booleans())
def test_pcap(made: list[Made], order: str, nano: bool) -> None:
    content = files.pcap(made, files.RAW, order=order, nano=nano)
    assert read(content) == expected(made, files.RAW)


@given(made=packets, order=ORDERS)
def test_pcapng(made: list[Made], order: str) -> None:
    assert read(files.pcapng(made, files.COOKED, order=order)) == expected(made, files.COOKED)


def test_nanoseconds() -> None:
    made = [Made(b"x", files.START + 7)]
    assert read(files.pcap(made, nano=True)) == expected(made)


def test_the_upper_bits_of_a_link_type_are_not_its_own() -> None:
    """They tell of a checksum."""
    content = bytearray(files.pcap([Made(b"x", 0)]))
    content[20:24] = struct.pack("<I", 0xF400_0000 | files.ETHERNET)
    assert [each.link_type for each in read(bytes(content))] == [files.ETHERNET]


@pytest.mark.parametrize("order", "<>")
def test_interfaces_have_their_own_link_types_and_times(order: str) -> None:
    time = files.START + 5
    options = (
        files.option(9, b"\x09", order)  # nanoseconds
        + files.option(14, struct.pack(order + "q", 100), order)  # seconds to be added
        + files.option(0, b"", order)
    )
    content = (
        files.section(order)
        + files.interface(files.ETHERNET, order)
        + files.interface(files.RAW, order, options)
        + files.block(5, b"statistics..", order)
        + files.enhanced(Made(b"first", time), 1, order, unit=1)
        + files.enhanced(Made(b"second", time), 0, order)
    )
    first, second = read(content)
    assert (first.link_type, first.time) == (files.RAW, time + 100 * 10**9)
    assert (second.link_type, second.time) == (files.ETHERNET, time - 5)


def test_times_in_powers_of_two() -> None:
    content = (
        files.section()
        + files.interface(options=files.option(9, b"\x8a"))  # 1024 a second
        + files.block(6, struct.pack("<IIIII", 0, 0, 1536, 1, 1) + b"x")
    )
    assert [each.time for each in read(content)] == [1_500_000_000]


def test_simple_and_old_packet_blocks() -> None:
    content = (
        files.section()
        + files.interface(files.RAW)
        + files.block(3, struct.pack("<I", 5) + b"abcde")
        + files.block(2, struct.pack("<HHIIII", 0, 0, 0, 2_000_000, 3, 9) + b"xyz")
    )
    assert read(content) == [
        Packet(1, None, files.RAW, b"abcde", 5),
        Packet(2, 2_000_000_000, files.RAW, b"xyz", 9),
    ]


def test_a_second_section_begins_anew() -> None:
    one, two = [Made(b"one", 1000)], [Made(b"two", 2000)]
    content = files.pcapng(one, files.RAW) + files.pcapng(two, files.COOKED, order=">")
    assert [(each.data, each.link_type, each.number) for each in read(content)] == [
        (b"one", files.RAW, 1),
        (b"two", files.COOKED, 2),
    ]


@given(made=packets, ng=st.booleans(), data=st.data())
def test_a_cut_file_gives_what_is_there_and_says_so(
    made: list[Made], ng: bool, data: st.DataObject
) -> None:
    content = files.pcapng(made) if ng else files.pcap(made)
    end = data.draw(st.integers(4, len(content)))
    found, error = until_error(content[:end])
    assert found == expected(made)[: len(found)]
    if not error:  # between two packets nothing shows it
        whole = (files.pcapng if ng else files.pcap)(made[: len(found)])
        assert content[:end] in {whole, files.section()}
    elif found:
        assert error == f"the capture is cut off after packet {len(found)}"


def test_a_file_that_is_cut_before_its_first_packet() -> None:
    found, error = until_error(files.pcap([Made(b"first", 0)])[:30])
    assert not found
    assert error == "the capture is cut off before its first packet"


HUGE = struct.pack("<I", MAX_PACKET + 1)


@pytest.mark.parametrize(
    "content",
    [
        files.pcap([]) + bytes(8) + HUGE * 2,
        files.pcapng([]) + struct.pack("<I", 6) + HUGE,
        files.pcapng([]) + struct.pack("<II", 6, 8) + bytes(4),  # shorter than a block
        files.pcapng([]) + struct.pack("<II", 6, 13) + bytes(9),  # not a multiple of 4
        files.pcapng([]) + files.enhanced(Made(b"x", 0), 1),  # no such interface
        files.section() + files.block(3, bytes(8)),
        files.pcapng([]) + files.block(6, bytes(8)),  # no room for its fields
        files.pcapng([]) + files.block(6, struct.pack("<IIIII", 0, 0, 0, 9, 9) + b"x"),
        files.section()[:8] + b"what?" + files.section()[13:],
        files.section()[:4] + bytes(4) + files.section()[8:],
    ],
)
def test_a_damaged_file(content: bytes) -> None:
    with pytest.raises(ConfigError, match=r"damaged where packet 1 should be"):
        read(content)


@given(content=st.binary(max_size=200), ng=st.booleans())
def test_whatever_is_in_a_file(content: bytes, ng: bool) -> None:
    beginning = files.pcapng([]) if ng else files.pcap([])
    try:
        read(beginning + content)
    except ConfigError:
        pass


@pytest.mark.parametrize("content", [b"", b"\xd4\xc3\xb2", b"{}", b"\x7fELF", bytes(100)])
def test_no_capture(content: bytes) -> None:
    assert not is_capture(content)
