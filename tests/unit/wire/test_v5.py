# SPDX-License-Identifier: BSD-3-Clause
"""Every command and completion of each dialect against bytes written by hand from the texts.

Each byte of a field differs from its neighbours, so that none can stand in another's place; what
is reserved is zero.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from vof.wire.constants import AsyncEvent, Command
from vof.wire.dialect import DIALECTS, PROPOSAL, V2, V5, Dialect
from vof.wire.structs import (
    Completion,
    ConnectBody,
    SegmentDescriptor,
    pack,
    unpack,
)
from vof.wire.v5 import KeyedDescriptor

ID = 0x0201
STATUS = 0x0B0A

Fields = dict[str, int]


class Row(NamedTuple):
    """A command, and the completion that answers it."""

    dialect: Dialect
    command: Command
    sent: Fields
    head: str
    answered: Fields
    completion: str


NONE: Fields = {}

QUEUE = {"queue_id": 0x1211}
SELECT = {"feature_select": 0x14131211}
WORD = {"value": 0x2827262524232221}
SELECTED = {**SELECT, **WORD}
PLACE = {"offset": 0x1211, "width": 0x31}
WRITTEN = {**PLACE, **WORD}
NUMBER = {"value": 0x44434241}
SHORT = {"value": 0x4241}
COUNT = {"value": 0x41}
BUFFERS = {"out_length": 0x24232221, "in_length": 0x34333231}

EMPTY = "0a 0b  01 02  00 00 00 00  00 00 00 00  00 00 00 00"
"""v5: a completion that says nothing but its status."""
NUMBERED = "0a 0b  01 02  41 42 43 44  00 00 00 00  00 00 00 00"
COUNTED = "0a 0b  01 02  41  00 00 00  00 00 00 00  00 00 00 00"
SHORTENED = "0a 0b  01 02  41 42  00 00  00 00 00 00  00 00 00 00"
FEATURES = "0a 0b  01 02  00 00 00 00  21 22 23 24 25 26 27 28"

V5_ROWS = [
    (
        Command.CONNECT,
        {"target_id": 0xFFFF, "queue_id": 0, "length": 1024},
        "00 00  01 02  ff ff  00 00  00 04 00 00  00 00  00 00",
        SHORT,
        SHORTENED,
    ),
    (
        Command.CONNECT,
        {"target_id": 0x1211, "queue_id": 0x1413, "length": 0x24232221, "queue_size": 0x3231},
        "00 00  01 02  11 12  13 14  21 22 23 24  31 32  00 00",
        SHORT,
        SHORTENED,
    ),
    (Command.DISCONNECT, NONE, "01 00  01 02" + "00" * 12, NONE, EMPTY),
    (Command.KEEPALIVE, NONE, "02 00  01 02" + "00" * 12, NONE, EMPTY),
    (
        Command.GET_FEATURE,
        SELECT,
        "04 00  01 02  11 12 13 14  00 00 00 00 00 00 00 00",
        WORD,
        FEATURES,
    ),
    (
        Command.SET_FEATURE,
        SELECTED,
        "05 00  01 02  11 12 13 14  21 22 23 24 25 26 27 28",
        NONE,
        EMPTY,
    ),
    (Command.GET_KEYED_NUM_DESCS, NONE, "00 01  01 02" + "00" * 12, COUNT, COUNTED),
    (
        Command.GET_KEYED_EAGER_BUF,
        {**QUEUE, "descs": 0x31},
        "02 01  01 02  11 12  31  00 00 00 00 00 00 00 00 00",
        COUNT,
        COUNTED,
    ),
    (
        Command.VQ_KEYED_EAGER_BUF,
        {"out_offset": 0x14131211, **BUFFERS},
        "fe 0f  01 02  11 12 13 14  21 22 23 24  31 32 33 34",
        NUMBER,
        NUMBERED,
    ),
    (
        Command.VQ,
        BUFFERS,
        "ff 0f  01 02  00 00 00 00  21 22 23 24  31 32 33 34",
        {**NUMBER, "in_length": 0x34333231},
        "0a 0b  01 02  00 00 00 00  41 42 43 44  31 32 33 34",
    ),
    (Command.GET_VENDOR_ID, NONE, "00 10  01 02" + "00" * 12, NUMBER, NUMBERED),
    (Command.GET_DEVICE_ID, NONE, "01 10  01 02" + "00" * 12, NUMBER, NUMBERED),
    (Command.RESET_DEVICE, NONE, "03 10  01 02" + "00" * 12, NONE, EMPTY),
    (Command.GET_STATUS, NONE, "04 10  01 02" + "00" * 12, NUMBER, NUMBERED),
    (
        Command.SET_STATUS,
        NUMBER,
        "05 10  01 02  41 42 43 44  00 00 00 00 00 00 00 00",
        NONE,
        EMPTY,
    ),
    (
        Command.GET_DEVICE_FEATURE,
        SELECT,
        "06 10  01 02  11 12 13 14  00 00 00 00 00 00 00 00",
        WORD,
        FEATURES,
    ),
    (
        Command.SET_DRIVER_FEATURE,
        SELECTED,
        "09 10  01 02  11 12 13 14  21 22 23 24 25 26 27 28",
        NONE,
        EMPTY,
    ),
    (Command.GET_VQ_SIZE, QUEUE, "0a 10  01 02  11 12" + "00" * 10, SHORT, SHORTENED),
    (
        Command.GET_CONFIG,
        PLACE,
        "0c 10  01 02  11 12  31  00  00 00 00 00 00 00 00 00",
        {"generation": 0x54535251, **WORD},
        "0a 0b  01 02  51 52 53 54  21 22 23 24 25 26 27 28",
    ),
    (
        Command.SET_CONFIG,
        WRITTEN,
        "0d 10  01 02  11 12  31  00  21 22 23 24 25 26 27 28",
        NONE,
        EMPTY,
    ),
]

EARLIER = {"ndesc": 0x3231, **WORD}
EARLIER_COMPLETION = "0a 0b  01 02  31 32  00 00  21 22 23 24 25 26 27 28"
"""Of every command of proposal and v2."""

CONNECT = {"target_id": 0x1211, "queue_id": 0x1413, "ndesc": 0x2221, "oftype": 0x31}
VRING = {"length": 0x14131211, "ndesc": 0x2221}

EARLIER_ROWS = [
    (PROPOSAL, Command.CONNECT, CONNECT, "00 00  01 02  11 12  13 14  21 22  31  00 00 00 00 00"),
    (PROPOSAL, Command.DISCONNECT, NONE, "01 00  01 02" + "00" * 12),
    (PROPOSAL, Command.KEEPALIVE, NONE, "02 00  01 02" + "00" * 12),
    (PROPOSAL, Command.GET_FEATURE, SELECT, "03 00  01 02  11 12 13 14" + "00" * 8),
    (
        PROPOSAL,
        Command.SET_FEATURE,
        SELECTED,
        "04 00  01 02  11 12 13 14  21 22 23 24 25 26 27 28",
    ),
    (PROPOSAL, Command.GET_VENDOR_ID, NONE, "00 10  01 02" + "00" * 12),
    (PROPOSAL, Command.GET_DEVICE_ID, NONE, "01 10  01 02" + "00" * 12),
    (PROPOSAL, Command.GET_GENERATION, NONE, "02 10  01 02" + "00" * 12),
    (PROPOSAL, Command.GET_STATUS, NONE, "03 10  01 02" + "00" * 12),
    (PROPOSAL, Command.SET_STATUS, NUMBER, "04 10  01 02  41 42 43 44" + "00" * 8),
    (PROPOSAL, Command.GET_DEVICE_FEATURE, SELECT, "05 10  01 02  11 12 13 14" + "00" * 8),
    (
        PROPOSAL,
        Command.SET_DRIVER_FEATURE,
        SELECTED,
        "06 10  01 02  11 12 13 14  21 22 23 24 25 26 27 28",
    ),
    (PROPOSAL, Command.GET_NUM_QUEUES, NONE, "07 10  01 02" + "00" * 12),
    (PROPOSAL, Command.GET_QUEUE_SIZE, QUEUE, "08 10  01 02  11 12" + "00" * 10),
    (
        PROPOSAL,
        Command.SET_QUEUE_SIZE,
        {**QUEUE, **WORD},
        "09 10  01 02  11 12  00 00  21 22 23 24 25 26 27 28",
    ),
    (PROPOSAL, Command.GET_CONFIG, PLACE, "0a 10  01 02  11 12  31" + "00" * 9),
    (
        PROPOSAL,
        Command.SET_CONFIG,
        WRITTEN,
        "0b 10  01 02  11 12  31  00  21 22 23 24 25 26 27 28",
    ),
    (PROPOSAL, Command.GET_CONFIG_CHANGED, NONE, "0c 10  01 02" + "00" * 12),
    (PROPOSAL, Command.VRING, VRING, "00 20  01 02  11 12 13 14  21 22  00 00 00 00 00 00"),
    (V2, Command.CONNECT, CONNECT, "00 00  01 02  11 12  13 14  21 22  31  00 00 00 00 00"),
    (V2, Command.DISCONNECT, NONE, "01 00  01 02" + "00" * 12),
    (V2, Command.GET_FEATURE, SELECT, "02 00  01 02  11 12 13 14" + "00" * 8),
    (V2, Command.SET_FEATURE, SELECTED, "03 00  01 02  11 12 13 14  21 22 23 24 25 26 27 28"),
    (V2, Command.KEEPALIVE, NONE, "04 00  01 02" + "00" * 12),
    (V2, Command.VRING, VRING, "ff 0f  01 02  11 12 13 14  21 22  00 00 00 00 00 00"),
    (V2, Command.GET_VENDOR_ID, NONE, "00 10  01 02" + "00" * 12),
    (V2, Command.GET_DEVICE_ID, NONE, "01 10  01 02" + "00" * 12),
    (V2, Command.GET_GENERATION, NONE, "02 10  01 02" + "00" * 12),
    (V2, Command.GET_STATUS, NONE, "04 10  01 02" + "00" * 12),
    (V2, Command.SET_STATUS, WORD, "05 10  01 02  00 00 00 00  21 22 23 24 25 26 27 28"),
    (V2, Command.GET_DEVICE_FEATURE, SELECT, "06 10  01 02  11 12 13 14" + "00" * 8),
    (
        V2,
        Command.SET_DRIVER_FEATURE,
        SELECTED,
        "07 10  01 02  11 12 13 14  21 22 23 24 25 26 27 28",
    ),
    (V2, Command.GET_NUM_QUEUES, NONE, "08 10  01 02" + "00" * 12),
    (V2, Command.GET_QUEUE_SIZE, QUEUE, "0a 10  01 02  11 12" + "00" * 10),
    (V2, Command.GET_CONFIG, PLACE, "0c 10  01 02  11 12  31" + "00" * 9),
    (V2, Command.SET_CONFIG, WRITTEN, "0d 10  01 02  11 12  31  00  21 22 23 24 25 26 27 28"),
]

ROWS = [
    *(Row(V5, *fields) for fields in V5_ROWS),
    *(Row(*fields, EARLIER, EARLIER_COMPLETION) for fields in EARLIER_ROWS),
]

each_row = pytest.mark.parametrize(
    "row", ROWS, ids=lambda row: f"{row.dialect.name}-{row.command.value}"
)


def fields_of(record: NamedTuple, names: Fields) -> Fields:
    return {name: getattr(record, name) for name in names}


@each_row
def test_a_command(row: Row) -> None:
    golden = bytes.fromhex(row.head)
    assert row.dialect.encode(row.command, ID, **row.sent) == golden
    assert row.dialect.command_of(golden) is row.command
    found = row.dialect.decode(row.command, golden)
    assert (found.command_id, fields_of(found, row.sent)) == (ID, row.sent)


@each_row
def test_its_completion(row: Row) -> None:
    golden = bytes.fromhex(row.completion)
    assert row.dialect.complete(row.command, ID, STATUS, **row.answered) == golden
    found = row.dialect.decode_completion(row.command, unpack(Completion, golden))
    assert (found.status, found.command_id) == (STATUS, ID)
    assert fields_of(found, row.answered) == row.answered


def test_every_command_has_its_bytes() -> None:
    assert {(row.dialect.name, row.command) for row in ROWS} == {
        (dialect.name, command) for dialect in DIALECTS for command in dialect.forms
    }


@pytest.mark.parametrize(
    ("record", "golden"),
    [
        (
            SegmentDescriptor(0xFFFF012345671000, 4096, 11, 3, 0x12345678, b"\x51\x52\x53\x54"),
            "00 10 67 45 23 01 ff ff  00 10 00 00  0b 00  03 00  78 56 34 12  51 52 53 54",
        ),
        (
            SegmentDescriptor(8192, 1, 17, 2),
            "00 20 00 00 00 00 00 00  01 00 00 00  11 00  02 00  00 00 00 00  00 00 00 00",
        ),
        (
            KeyedDescriptor(0x0807060504030201, 0x14131211, 0x24232221),
            "01 02 03 04 05 06 07 08  11 12 13 14  21 22 23 24",
        ),
        (
            ConnectBody(b"i".ljust(256, b"I"), b"t".ljust(256, b"T")),
            "69" + "49" * 255 + "74" + "54" * 255 + "00" * 512,
        ),
    ],
)
def test_what_follows_a_command(record: NamedTuple, golden: str) -> None:
    assert pack(record) == bytes.fromhex(golden)
    assert unpack(type(record), bytes.fromhex(golden)) == record


@pytest.mark.parametrize(
    ("dialect", "event", "golden"),
    [
        (V2, AsyncEvent.CONFIG_CHANGE, "00 00  fe ff" + "00" * 12),
        (V2, AsyncEvent.KEEPALIVE, "00 00  ff ff" + "00" * 12),
        (V5, AsyncEvent.CONFIG_CHANGE, "00 00  fe ff  51 52 53 54" + "00" * 8),
        (V5, AsyncEvent.KEEPALIVE, "00 00  ff ff" + "00" * 12),
    ],
)
def test_an_event(dialect: Dialect, event: AsyncEvent, golden: str) -> None:
    """A generation of more than 32 bits goes round."""
    assert dialect.event(event, 0x0100_0000_54535251) == bytes.fromhex(golden)
