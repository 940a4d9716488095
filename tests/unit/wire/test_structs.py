# SPDX-License-Identifier: BSD-3-Clause
"""The records against bytes written by hand from the published structures, and back again."""

from __future__ import annotations

import struct
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vof.wire.layout import layout_of
from vof.wire.structs import (
    COMMAND_SIZE,
    COMPLETION_SIZE,
    CONNECT_BODY_SIZE,
    DESCRIPTOR_SIZE,
    HEAD,
    CommonCommand,
    Completion,
    ConfigCommand,
    ConnectBody,
    ConnectCommand,
    FeatureCommand,
    QueueCommand,
    SegmentDescriptor,
    StatusCommand,
    VringCommand,
    pack,
    unpack,
)

GOLDEN: list[tuple[NamedTuple, str]] = [
    (
        ConnectCommand(0x0201, 0x0403, 0x0605, 0x0807, 0x0A09, 0x0B, b"\x0c\x0d\x0e\x0f\x10"),
        "01 02  03 04  05 06  07 08  09 0a  0b  0c 0d 0e 0f 10",
    ),
    (
        ConnectCommand(0, 7, 0xFFFF, 0, 1, 1),
        "00 00  07 00  ff ff  00 00  01 00  01  00 00 00 00 00",
    ),
    (
        FeatureCommand(0x1005, 0x0102, 0x11223344, 0x0102030405060708),
        "05 10  02 01  44 33 22 11  08 07 06 05 04 03 02 01",
    ),
    (
        FeatureCommand(3, 1, 0),
        "03 00  01 00  00 00 00 00  00 00 00 00 00 00 00 00",
    ),
    (
        QueueCommand(0x1009, 0x0102, 0x0304, b"\x55\x66", 0x0102030405060708),
        "09 10  02 01  04 03  55 66  08 07 06 05 04 03 02 01",
    ),
    (
        QueueCommand(0x1008, 9, 2),
        "08 10  09 00  02 00  00 00  00 00 00 00 00 00 00 00",
    ),
    (
        ConfigCommand(0x100B, 0x0102, 0x0304, 8, b"\x77", 0x0102030405060708),
        "0b 10  02 01  04 03  08  77  08 07 06 05 04 03 02 01",
    ),
    (
        ConfigCommand(0x100A, 9, 32, 1),
        "0a 10  09 00  20 00  01  00  00 00 00 00 00 00 00 00",
    ),
    (
        CommonCommand(0x1002, 0x0102, b"\x21\x22\x23\x24", 0x0102030405060708),
        "02 10  02 01  21 22 23 24  08 07 06 05 04 03 02 01",
    ),
    (
        CommonCommand(0x1000, 9),
        "00 10  09 00  00 00 00 00  00 00 00 00 00 00 00 00",
    ),
    (
        StatusCommand(0x1004, 0x0102, 0x0B0A0908, b"\x21\x22\x23\x24\x25\x26\x27\x28"),
        "04 10  02 01  08 09 0a 0b  21 22 23 24 25 26 27 28",
    ),
    (
        StatusCommand(0x1004, 9, 15),
        "04 10  09 00  0f 00 00 00  00 00 00 00 00 00 00 00",
    ),
    (
        VringCommand(0x2000, 10, 8208, 4, b"\x31\x32\x33\x34\x35\x36"),
        "00 20  0a 00  10 20 00 00  04 00  31 32 33 34 35 36",
    ),
    (
        VringCommand(0x2000, 14, 16, 4),
        "00 20  0e 00  10 00 00 00  04 00  00 00 00 00 00 00",
    ),
    (
        Completion(0x0102, 0x0304, 0x0506, b"\x41\x42", 0x0102030405060708),
        "02 01  04 03  06 05  41 42  08 07 06 05 04 03 02 01",
    ),
    (
        Completion(19, 0),
        "13 00  00 00  00 00  00 00  00 00 00 00 00 00 00 00",
    ),
    (
        SegmentDescriptor(0xFFFF012345671000, 4096, 11, 3, 0x12345678, b"\x51\x52\x53\x54"),
        "00 10 67 45 23 01 ff ff  00 10 00 00  0b 00  03 00  78 56 34 12  51 52 53 54",
    ),
    (
        SegmentDescriptor(8192, 1, 17, 2),
        "00 20 00 00 00 00 00 00  01 00 00 00  11 00  02 00  00 00 00 00  00 00 00 00",
    ),
    (
        ConnectBody(b"i".ljust(256, b"I"), b"t".ljust(256, b"T"), b"p".ljust(512, b"P")),
        "69" + "49" * 255 + "74" + "54" * 255 + "70" + "50" * 511,
    ),
    (
        ConnectBody(b"a" + bytes(255), b"b" + bytes(255)),
        "61" + "00" * 255 + "62" + "00" * 255 + "00" * 512,
    ),
]

SIZES: dict[type[NamedTuple], int] = {
    ConnectCommand: 16,
    FeatureCommand: 16,
    QueueCommand: 16,
    ConfigCommand: 16,
    CommonCommand: 16,
    StatusCommand: 16,
    VringCommand: 16,
    Completion: 16,
    SegmentDescriptor: 24,
    ConnectBody: 1024,
}

OFFSETS: dict[type[NamedTuple], list[int]] = {
    ConnectCommand: [0, 2, 4, 6, 8, 10, 11],
    FeatureCommand: [0, 2, 4, 8],
    QueueCommand: [0, 2, 4, 6, 8],
    ConfigCommand: [0, 2, 4, 6, 7, 8],
    CommonCommand: [0, 2, 4, 8],
    StatusCommand: [0, 2, 4, 8],
    VringCommand: [0, 2, 4, 8, 10],
    Completion: [0, 2, 4, 6, 8],
    SegmentDescriptor: [0, 8, 12, 14, 16, 20],
    ConnectBody: [0, 256, 512],
}

RECORDS = sorted(SIZES, key=lambda kind: kind.__name__)


@pytest.mark.parametrize(("item", "golden"), GOLDEN)
def test_golden_bytes(item: NamedTuple, golden: str) -> None:
    assert pack(item) == bytes.fromhex(golden)
    assert unpack(type(item), bytes.fromhex(golden)) == item


def test_every_record_has_golden_bytes() -> None:
    assert {type(item) for item, _golden in GOLDEN} == SIZES.keys()


def test_sizes() -> None:
    assert {kind: layout_of(kind).size for kind in SIZES} == SIZES
    assert (COMMAND_SIZE, COMPLETION_SIZE, DESCRIPTOR_SIZE, CONNECT_BODY_SIZE) == (16, 16, 24, 1024)


def test_offsets() -> None:
    found = {kind: [field.offset for field in layout_of(kind).fields.values()] for kind in OFFSETS}
    assert found == OFFSETS


def test_fields_are_called_as_published() -> None:
    """So that none can have changed places with a neighbour of its size."""
    ours = {"padding": "reserved", "rsvd": "reserved", "bytes": "width"}
    for kind in RECORDS:
        published = layout_of(kind).fields
        assert [ours.get(name, name) for name in published] == list(kind._fields)


def test_head_is_the_beginning_of_every_command() -> None:
    for kind in RECORDS:
        if kind.__name__.endswith("Command"):
            assert kind._fields[:2] == ("opcode", "command_id")
    assert HEAD.size == 4
    assert HEAD.unpack_from(bytes.fromhex("00 20 0e 00 10")) == (0x2000, 14)


@given(kind=st.sampled_from(RECORDS), data=st.data())
def test_round_trip_from_bytes(kind: type[NamedTuple], data: st.DataObject) -> None:
    size = layout_of(kind).size
    raw = data.draw(st.binary(min_size=size, max_size=size))
    before = data.draw(st.integers(0, 5))
    item = unpack(kind, bytes(before) + raw + b"rest", before)
    assert type(item) is kind
    assert pack(item) == raw


def values(size: int, *, is_bytes: bool) -> st.SearchStrategy[int | bytes]:
    if is_bytes:
        return st.binary(min_size=size, max_size=size)
    return st.integers(0, (1 << 8 * size) - 1)


@given(kind=st.sampled_from(RECORDS), data=st.data())
def test_round_trip_from_values(kind: type[NamedTuple], data: st.DataObject) -> None:
    layout = layout_of(kind)
    zeros = layout.unpack(bytes(layout.size))
    drawn = [
        data.draw(values(field.size, is_bytes=isinstance(zero, bytes)))
        for field, zero in zip(layout.fields.values(), zeros, strict=True)
    ]
    item = kind._make(drawn)
    packed = pack(item)
    assert unpack(kind, packed) == item
    # Each value stands at its offset, little-endian.
    for value, field in zip(drawn, layout.fields.values(), strict=True):
        raw = packed[field.offset : field.offset + field.size]
        assert raw == (value if isinstance(value, bytes) else value.to_bytes(field.size, "little"))


@pytest.mark.parametrize("kind", RECORDS)
def test_reserved_bytes_of_a_new_record_are_zero(kind: type[NamedTuple]) -> None:
    defaults = kind._field_defaults
    assert all(not any(value) for value in defaults.values() if isinstance(value, bytes))
    assert "reserved" not in kind._fields or "reserved" in defaults


def test_too_short() -> None:
    with pytest.raises(struct.error):
        unpack(Completion, bytes(15))
    with pytest.raises(struct.error):
        unpack(Completion, bytes(20), 5)


def test_a_value_that_does_not_fit() -> None:
    with pytest.raises(struct.error):
        pack(Completion(status=0x10000, command_id=0))
