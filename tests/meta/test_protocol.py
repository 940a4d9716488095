# SPDX-License-Identifier: BSD-3-Clause
"""docs/protocol.md against the codecs: structures, opcodes, dialects, numbers."""

from __future__ import annotations

import contextlib
import errno
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, cast

import pytest

from tests.meta.drawings import drawings, table
from tests.meta.tree import ROOT
from vof.decode.commands import Form, form_of
from vof.wire import keyed, structs, vq
from vof.wire.constants import (
    STATUS_OTHER,
    AsyncEvent,
    LaterOpcode,
    Transport,
    TransportFeature,
)
from vof.wire.dialect import DIALECTS, Dialect
from vof.wire.layout import layout_of

TEXT = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")

RESERVED = {"padding", "pad", "rsvd"}


def structures() -> dict[str, type[NamedTuple]]:
    """Return every structure that goes over the network."""
    found = {}
    for module in (structs, vq, keyed):
        for name, kind in vars(module).items():
            if inspect.isclass(kind) and kind.__module__ == module.__name__:
                # A NamedTuple of another kind has no layout.
                with contextlib.suppress(KeyError):
                    layout_of(cast(type[NamedTuple], kind))
                    found[name] = cast(type[NamedTuple], kind)
    return found


def laid_out(kind: type[NamedTuple]) -> dict[str, tuple[int, int]]:
    fields = layout_of(kind).fields.items()
    return {
        "reserved" if name in RESERVED else name: (field.offset, field.size)
        for name, field in fields
    }


STRUCTURES = structures()
IN_A_TABLE = "ConnectBody"


def test_every_structure_is_drawn() -> None:
    assert len(STRUCTURES) >= 14
    assert set(drawings(TEXT)) == set(STRUCTURES) - {IN_A_TABLE}


@pytest.mark.parametrize("name", sorted(set(STRUCTURES) - {IN_A_TABLE}))
def test_drawing(name: str) -> None:
    size, fields = drawings(TEXT)[name]
    kind = STRUCTURES[name]
    assert size == layout_of(kind).size
    assert fields == laid_out(kind)
    assert list(fields) == list(laid_out(kind))


def test_connect_body() -> None:
    rows = table(TEXT, "offset", "bytes", "field")
    kind = STRUCTURES[IN_A_TABLE]
    assert {name: (int(offset), int(size)) for offset, size, name, _ in rows} == laid_out(kind)
    assert f"{IN_A_TABLE}, {layout_of(kind).size} bytes" in TEXT


def commands(dialect: Dialect) -> dict[int, list[str]]:
    """Return the rows of the commands that a dialect has, by opcode."""
    place = 1 + DIALECTS.index(dialect)
    rows = table(TEXT, "command", *(each.name for each in DIALECTS), "structure")
    found = {int(row[place], 16): row for row in rows if row[place]}
    assert len(found) == len([row for row in rows if row[place]])
    return found


each_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda item: item.name)


def known(opcode: int, dialect: Dialect) -> Form:
    form = form_of(opcode, [dialect])
    assert form
    return form


@each_dialect
def test_commands(dialect: Dialect) -> None:
    rows = commands(dialect)
    assert set(rows) == dialect.opcodes
    for opcode, row in rows.items():
        name, *_opcodes, structure, value = row
        form = known(opcode, dialect)
        assert (name, structure) == (form.name, form.command.__name__)
        if form.completion is not structs.Completion:
            assert value == form.completion.__name__
        else:
            width = {0: "none", 16: "le16", 32: "le32", 64: "le64"}[form.bits]
            assert value.split(":")[0].split(";")[0] == width


def side_by_side() -> dict[str, list[str]]:
    return {row[0]: row[1:] for row in table(TEXT, "", "`proposal`", "`v2`", "`v5`")}


def over_tcp(dialect: Dialect) -> str:
    [opcode] = dialect.request_opcodes - {LaterOpcode.VQ_KEYED_EAGER_BUF}
    return known(opcode, dialect).name


def over_rdma(dialect: Dialect) -> str:
    opcodes = sorted(dialect.request_opcodes, reverse=True)
    return ", or ".join(known(opcode, dialect).name for opcode in opcodes)


def events(dialect: Dialect) -> str:
    ids = [f"{event:#06x}" for event in sorted(AsyncEvent, reverse=True)]
    return ", ".join(ids) if dialect.has_async_events else "none"


ASPECTS: dict[str, Callable[[Dialect], str]] = {
    "`oftype` over TCP": lambda dialect: str(dialect.oftype(Transport.TCP)),
    "`oftype` over RDMA": lambda dialect: str(dialect.oftype(Transport.RDMA)),
    "get, set transport feature": lambda dialect: f"{dialect.get_feature}, {dialect.set_feature}",
    "set_status has its value at": lambda dialect: "4" if dialect.status_after_id else "8",
    "a request over TCP": over_tcp,
    "a request over RDMA": over_rdma,
    "events on the control queue": events,
}


@pytest.mark.parametrize("aspect", ASPECTS)
def test_dialects(aspect: str) -> None:
    told = [cell.removesuffix(" (ours)") for cell in side_by_side()[aspect]]
    assert told == [ASPECTS[aspect](dialect) for dialect in DIALECTS]


def test_transport_features() -> None:
    cells = side_by_side()["transport feature 0"]
    assert [("number" in cell) for cell in cells] == [item.has_max_segs for item in DIALECTS]
    told = [f"{feature.name} {feature.bit_length() - 1}" for feature in TransportFeature]
    assert cells[-1] == "bits: " + ", ".join(told)


def test_events() -> None:
    rows = table(TEXT, "command id", "event")
    assert {(int(row[0], 16), row[1]) for row in rows} == {
        (int(event), event.name.lower()) for event in AsyncEvent
    }


def test_status() -> None:
    rows = {int(row[0]): row[1] for row in table(TEXT, "status", "name")}
    assert rows.pop(0) == ""
    assert rows.pop(STATUS_OTHER) == "other"
    assert rows == {number: errno.errorcode[number] for number in rows}


def test_links() -> None:
    assert "docs/protocol.md" in (ROOT / "README.md").read_text(encoding="utf-8")
    for name in ("../gateway/vof/wire", "../man/vofctl-decode.8", "../wireshark/vof.lua"):
        assert f"({name})" in TEXT
        assert Path(ROOT / "docs" / name).exists()
