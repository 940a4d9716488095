# SPDX-License-Identifier: BSD-3-Clause
"""Every command of every dialect has its opcode and its fields, by the names that the texts give
them."""

from __future__ import annotations

import struct

import pytest

from tests.unit.decode import said
from vof.decode.fields import (
    command_fields,
    completion_fields,
    event_fields,
    fields_of,
    numbers_in,
)
from vof.wire import crypto_sessions
from vof.wire.constants import Command
from vof.wire.crypto import Service
from vof.wire.dialect import DIALECTS, V2, V5, Dialect
from vof.wire.structs import ConfigCommand

PATTERN = bytes(range(16))
"""Any 16 bytes, whose every field is another number."""


def le(start: int, size: int) -> int:
    return int.from_bytes(PATTERN[start : start + size], "little")


HEAD = {"opcode": le(0, 2), "command_id": le(2, 2)}
ANSWER = {"status": le(0, 2), "command_id": le(2, 2)}

# By command: what stands where, of the command and of its completion.
V5_LAYOUTS = {
    "connect": (
        {"device_instance_id": (4, 2), "vq_index": (6, 2), "length": (8, 4), "queue_size": (12, 2)},
        {"device_instance_id": (4, 2)},
    ),
    "disconnect": ({}, {}),
    "keepalive": ({}, {}),
    "reset_device": ({}, {}),
    "get_feature": ({"feature_select": (4, 4)}, {"feature": (8, 8)}),
    "set_feature": ({"feature_select": (4, 4), "feature": (8, 8)}, {}),
    "get_keyed_num_descs": ({}, {"descs": (4, 1)}),
    "get_keyed_eager_buf": ({"vq_index": (4, 2), "descs": (6, 1)}, {"descs": (4, 1)}),
    "vq_keyed_eager_buf": (
        {"out_offset": (4, 4), "out_length": (8, 4), "in_length": (12, 4)},
        {"length": (4, 4)},
    ),
    "vq": (
        {"out_length": (8, 4), "in_length": (12, 4)},
        {"length": (8, 4), "in_length": (12, 4)},
    ),
    "get_vendor_id": ({}, {"value": (4, 4)}),
    "get_device_id": ({}, {"value": (4, 4)}),
    "get_status": ({}, {"dev_status": (4, 4)}),
    "set_status": ({"status": (4, 4)}, {}),
    "get_device_feature": ({"feature_select": (4, 4)}, {"feature": (8, 8)}),
    "set_driver_feature": ({"feature_select": (4, 4), "feature": (8, 8)}, {}),
    "get_vq_size": ({"vq_index": (4, 2)}, {"size": (4, 2)}),
    "get_config": (
        {"offset": (4, 2), "bytes": (6, 1)},
        {"generation": (4, 4), "config": (8, 8)},
    ),
    "set_config": ({"offset": (4, 2), "bytes": (6, 1), "config": (8, 8)}, {}),
}


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda item: item.name)
def test_opcodes(dialect: Dialect) -> None:
    opcodes = said.OPCODES[dialect.name]
    assert {form.opcode: command.value for command, form in dialect.forms.items()} == {
        opcode: name for name, opcode in opcodes.items()
    }


@pytest.mark.parametrize("name", said.OPCODES["v5"])
def test_layouts_of_the_last_dialect(name: str) -> None:
    asked, answered = V5_LAYOUTS[name]
    command = Command(name)
    assert command_fields(V5, command, PATTERN) == HEAD | {
        field: le(*place) for field, place in asked.items()
    }
    assert completion_fields(V5, command, PATTERN) == ANSWER | {
        field: le(*place) for field, place in answered.items()
    }


def test_what_no_dialect_has() -> None:
    for dialect in DIALECTS:
        assert command_fields(dialect, None, PATTERN) == HEAD
    assert completion_fields(V5, None, PATTERN) == ANSWER
    assert completion_fields(V2, None, PATTERN) == ANSWER | {"ndesc": le(4, 2), "value": le(8, 8)}


def test_events() -> None:
    change = struct.pack("<HHI8x", 0, 0xFFFE, 7)
    assert event_fields(V5, 0xFFFE, change) == {"status": 0, "command_id": 0xFFFE, "generation": 7}
    assert "generation" not in event_fields(V5, 0xFFFF, change)
    assert event_fields(V2, 0xFFFE, change)["value"] == 0


def test_the_value_of_set_status_in_the_second_dialect() -> None:
    assert command_fields(V2, Command.SET_STATUS, PATTERN) == HEAD | {"value": le(8, 8)}


def test_fields_that_do_not_begin_the_buffer() -> None:
    command = struct.pack("<HHHBcQ", 0x100A, 7, 20, 4, b"?", 9)
    assert fields_of(ConfigCommand, b"xx" + command, 2) == {
        "opcode": 0x100A, "command_id": 7, "offset": 20, "bytes": 4, "value": 9,
    }  # fmt: skip


def test_a_field_is_not_reserved_because_of_how_its_name_begins() -> None:
    layout = crypto_sessions.SESSION_LAYOUTS[Service.AKCIPHER]
    assert "padding_algo" in numbers_in(layout, bytes(layout.size))
