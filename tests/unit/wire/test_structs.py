# SPDX-License-Identifier: BSD-3-Clause
"""Records to bytes and back again, whatever is in them; ``test_v5`` has their bytes."""

from __future__ import annotations

import contextlib
import inspect
import struct
from typing import NamedTuple, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vof.wire import structs, v5
from vof.wire.layout import layout_of
from vof.wire.structs import (
    COMMAND_SIZE,
    COMPLETION_SIZE,
    CONNECT_BODY_SIZE,
    DESCRIPTOR_SIZE,
    HEAD,
    Completion,
    pack,
    unpack,
)
from vof.wire.v5 import KEYED_DESCRIPTOR_SIZE


def records() -> list[type[NamedTuple]]:
    """Return every record of the protocol that has a layout."""
    found = []
    for module in (structs, v5):
        for kind in vars(module).values():
            if inspect.isclass(kind) and kind.__module__ == module.__name__:
                with contextlib.suppress(KeyError):
                    layout_of(cast(type[NamedTuple], kind))
                    found.append(cast(type[NamedTuple], kind))
    return found


RECORDS = records()


def test_sizes() -> None:
    assert (COMMAND_SIZE, COMPLETION_SIZE, CONNECT_BODY_SIZE) == (16, 16, 1024)
    assert (DESCRIPTOR_SIZE, KEYED_DESCRIPTOR_SIZE) == (24, 16)
    commands = [kind for kind in RECORDS if kind.__name__.endswith(("Command", "Completion"))]
    assert len(commands) == 22
    assert {layout_of(kind).size for kind in commands} == {16}


def test_head_is_the_beginning_of_every_command() -> None:
    for kind in RECORDS:
        if kind.__name__.endswith("Command"):
            assert kind._fields[:2] == ("opcode", "command_id")
        if kind.__name__.endswith("Completion"):
            assert kind._fields[:2] == ("status", "command_id")
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
