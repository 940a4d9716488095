# SPDX-License-Identifier: BSD-3-Clause
"""docs/protocol.md against the codecs: structures, opcodes, dialects, numbers; whose they are."""

from __future__ import annotations

import contextlib
import errno
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, cast

import pytest

from tests.meta.drawings import drawings, table
from tests.meta.tree import ROOT
from vof.wire import structs, v5
from vof.wire.constants import (
    DEFAULT_PORT,
    V5_PORT,
    AsyncEvent,
    Command,
    DescriptorFlag,
    Transport,
    TransportFeature,
)
from vof.wire.dialect import DIALECTS, PROPOSAL, V2, V5, Dialect, keyed_flag, next_flag
from vof.wire.layout import layout_of
from vof.wire.status import OTHER, SENTENCES, Reason
from vof.wire.structs import CONNECT_BODY_SIZE

TEXT = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")

RESERVED = {"padding", "pad", "rsvd", "reserved"}

Laid = dict[str, tuple[int, int]]
"""Offset and size of each field."""


def structures(*modules: object) -> dict[str, type[NamedTuple]]:
    """Return every structure that goes over the network."""
    found = {}
    for module in modules:
        for name, kind in vars(module).items():
            if inspect.isclass(kind) and kind.__module__ == getattr(module, "__name__", None):
                # A NamedTuple of another kind has no layout.
                with contextlib.suppress(KeyError):
                    layout_of(cast(type[NamedTuple], kind))
                    found[name] = cast(type[NamedTuple], kind)
    return found


def laid_out(kind: type[NamedTuple]) -> Laid:
    return {
        "reserved" if name in RESERVED else name: (field.offset, field.size)
        for name, field in layout_of(kind).fields.items()
    }


EARLIER, LATER = structures(structs), structures(v5)
IN_A_TABLE = "ConnectBody"
DRAWN = sorted(set(EARLIER) - {IN_A_TABLE})


def test_every_structure_is_there() -> None:
    assert len(EARLIER) >= 10
    assert sorted(drawings(TEXT)) == DRAWN
    assert {row[0] for row in table(TEXT, "structure", "layout")} == set(LATER)


@pytest.mark.parametrize("name", DRAWN)
def test_drawing(name: str) -> None:
    size, fields = drawings(TEXT)[name]
    kind = EARLIER[name]
    assert size == layout_of(kind).size
    assert fields == laid_out(kind)
    assert list(fields) == list(laid_out(kind))


def listed(layout: str) -> Laid:
    """Read ``0 le16 opcode, 2 u8[4] reserved``."""
    fields = {}
    for field in layout.split(", "):
        found = re.fullmatch(r"(\d+) (?:le(\d+)|u8(?:\[(\d+)\])?) (\w+)", field)
        assert found, field
        offset, bits, count, name = found.groups()
        fields[name] = int(offset), int(bits) // 8 if bits else int(count or 1)
    return fields


@pytest.mark.parametrize(("name", "layout"), table(TEXT, "structure", "layout"))
def test_layout_of_v5(name: str, layout: str) -> None:
    assert listed(layout) == laid_out(LATER[name])


def test_connect_body() -> None:
    rows = table(TEXT, "offset", "bytes", "field")
    kind = EARLIER[IN_A_TABLE]
    assert {name: (int(offset), int(size)) for offset, size, name, _ in rows} == laid_out(kind)
    assert f"{IN_A_TABLE}, {layout_of(kind).size} bytes" in TEXT


each_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda item: item.name)


@each_dialect
def test_commands(dialect: Dialect) -> None:
    rows = table(TEXT, "command", "`proposal`", "`v2`", "`v5`")
    place = 1 + DIALECTS.index(dialect)
    told = {row[0]: int(row[place], 16) for row in rows if row[place]}
    assert told == {command.value: form.opcode for command, form in dialect.forms.items()}
    assert {row[0] for row in rows} == {command.value for command in Command}


def forms(heading: str, dialect: Dialect) -> dict[str, list[str]]:
    """Return the other cells of each command's row in the table of its dialect."""
    found = {}
    for commands, *cells in table(TEXT, "command", "structure", heading):
        names, _of, only = commands.partition(" of ")
        if only in {"", dialect.name}:
            found.update(dict.fromkeys(names.split(", "), cells))
    return {name: cells for name, cells in found.items() if dialect.has(Command(name))}


@pytest.mark.parametrize("dialect", [PROPOSAL, V2], ids=lambda item: item.name)
def test_structures_of_the_earlier_commands(dialect: Dialect) -> None:
    told = forms("`value` of the completion", dialect)
    found = {command.value: form.command.__name__ for command, form in dialect.forms.items()}
    assert {name: structure for name, (structure, _value) in told.items()} == found
    assert {form.completion for form in dialect.forms.values()} == {structs.Completion}


def test_structures_of_the_commands_of_v5() -> None:
    assert forms("completion", V5) == {
        command.value: [form.command.__name__, form.completion.__name__]
        for command, form in V5.forms.items()
    }


def side_by_side() -> dict[str, list[str]]:
    return {row[0]: row[1:] for row in table(TEXT, "", "`proposal`", "`v2`", "`v5`")}


def names_of(dialect: Dialect, *commands: Command) -> str:
    return ", or ".join(command.value for command in commands if dialect.has(command))


def oftype(dialect: Dialect, transport: Transport) -> str:
    return str(dialect.oftypes[transport]) if dialect.oftypes else "none"


def events(dialect: Dialect) -> str:
    ids = [f"{event:#06x}" for event in sorted(AsyncEvent, reverse=True)]
    return ", ".join(ids) if dialect.has_async_events else "none"


def first_flag(dialect: Dialect) -> str:
    flags = {"NEXT": next_flag(dialect.framing), "KEYED": keyed_flag(dialect.framing)}
    return "".join(name for name, flag in flags.items() if flag) or "there are none"


ASPECTS: dict[str, Callable[[Dialect], str]] = {
    "bytes 8 and 9 of a Connect": lambda it: "1" if it.oftypes else f"{CONNECT_BODY_SIZE}, or 0",
    "`oftype` over TCP": lambda it: oftype(it, Transport.TCP),
    "`oftype` over RDMA": lambda it: oftype(it, Transport.RDMA),
    "a request over TCP": lambda it: names_of(it, Command.VRING, Command.VQ),
    "a request over RDMA": lambda it: names_of(
        it, Command.VRING, Command.VQ, Command.VQ_KEYED_EAGER_BUF
    ),
    "flag 1 of a segment descriptor": first_flag,
    "a queue's size counts": lambda it: "descriptors" if it.framing.has_descriptors else "commands",
    "reset of the device": lambda it: names_of(it, Command.RESET_DEVICE) or "set_status 0",
    "transport features": lambda it: "numbers" if it.has_max_segs else "bits",
    "status values": lambda it: "a list of its own" if it.has_status_list else "errnos",
    "an opcode that there is not": lambda it: (
        f"status {it.status_of(Reason.UNKNOWN_COMMAND):#06x}"
        if it.has_status_list
        else "a violation"
    ),
    "events on the control queue": events,
    "virtqueues are disconnected before the control queue": lambda it: (
        "yes" if it.disconnects_virtqueues else "no"
    ),
}


@pytest.mark.parametrize("aspect", ASPECTS)
def test_dialects(aspect: str) -> None:
    assert side_by_side()[aspect] == [ASPECTS[aspect](dialect) for dialect in DIALECTS]


def test_numbers_in_the_text() -> None:
    ports = side_by_side()["ports"]
    assert (ports[0].split()[0], ports[2]) == (str(DEFAULT_PORT), str(V5_PORT))
    told = [f"{feature.name}, bit {feature.bit_length() - 1}" for feature in TransportFeature]
    assert f"**Transport features** (v5) are {', and '.join(told)};" in " ".join(TEXT.split())
    assert f"KEYED {DescriptorFlag.KEYED:d} where" in TEXT
    assert f"WRITE {DescriptorFlag.WRITE:d} where" in " ".join(TEXT.split())


def test_events() -> None:
    rows = table(TEXT, "command id", "event")
    assert {(int(row[0], 16), row[1]) for row in rows} == {
        (int(event), event.name.lower()) for event in AsyncEvent
    }


def test_status_of_v5() -> None:
    rows = {int(row[0], 16): row[1:3] for row in table(TEXT, "status", "says", "errno")}
    assert rows.pop(0) == ["success", ""]
    told = {status: (words, getattr(errno, name)) for status, (words, name) in rows.items()}
    assert told == {
        status: (sentence, V5.refused("", status).errno) for status, sentence in SENTENCES.items()
    }


def earlier_statuses() -> dict[int, str]:
    return {int(row[0]): row[1] for row in table(TEXT, "status", "name") if int(row[0])}


def test_status_of_the_earlier_dialects() -> None:
    rows = earlier_statuses()
    assert rows.pop(OTHER) == "other"
    assert rows == {number: errno.errorcode[number] for number in rows}
    assert set(rows) <= {reason.errno for reason in Reason}


# Whose it is.


def test_whose_a_command_is() -> None:
    rows = table(TEXT, "command", "in `v2`", "in `v5`")
    later = [command.value for command in Command if V2.has(command) or V5.has(command)]
    assert sorted(row[0] for row in rows) == sorted(later)
    for name, *whose in rows:
        for dialect, origin in zip((V2, V5), whose, strict=True):
            assert bool(origin) == dialect.has(Command(name))
            assert origin in {"", "text", "branch", "ours"}


def test_whose_a_field_is() -> None:
    """Each field is the text's: what is ours is only what some of them are used for."""
    rows = table(TEXT, "structure", "fields of the text", "ours")
    assert {name: fields.split(", ") for name, fields, _ours in rows} == {
        name: [field for field in laid_out(kind) if field != "reserved"]
        for name, kind in (EARLIER | LATER).items()
    }


def test_whose_a_status_is() -> None:
    rows = table(TEXT, "status", "in `v2`", "in `v5`", "ours")
    told = {
        name: bool(before) for name, before, after, _ours in rows if bool(before) != bool(after)
    }
    assert len(told) == len(rows)
    later = {f"{status:#06x}": False for status in SENTENCES}
    assert told == later | {str(status): True for status in earlier_statuses()}


def test_links() -> None:
    assert "docs/protocol.md" in (ROOT / "README.md").read_text(encoding="utf-8")
    for name in ("../gateway/vof/wire", "../man/vofctl-decode.8", "../wireshark/vof.lua"):
        assert f"({name})" in TEXT
        assert Path(ROOT / "docs" / name).exists()
