# SPDX-License-Identifier: BSD-3-Clause
"""Every opcode of every dialect has a name and a structure."""

from __future__ import annotations

import pytest

from vof.decode.commands import dialects_with, fields_of, foreign_form, form_of, numbers_in
from vof.wire import crypto_sessions
from vof.wire.constants import LaterOpcode, Opcode
from vof.wire.crypto import Service
from vof.wire.dialect import DIALECTS, PROPOSAL, V2, V5, Dialect
from vof.wire.layout import layout_of
from vof.wire.structs import COMMAND_SIZE, COMPLETION_SIZE, ConfigCommand, StatusCommand, pack


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda item: item.name)
def test_all_opcodes_have_forms(dialect: Dialect) -> None:
    requests = {LaterOpcode.VQ, LaterOpcode.VQ_KEYED_EAGER_BUF} if dialect is V5 else {Opcode.VRING}
    opcodes = dialect.plain_opcodes | requests | {Opcode.CONNECT}
    forms = {opcode: form_of(opcode, [dialect]) for opcode in range(0x3000)}
    assert {opcode for opcode, form in forms.items() if form} == opcodes
    for opcode, form in forms.items():
        if form:
            assert form.opcode == opcode
            assert layout_of(form.command).size == COMMAND_SIZE
            assert layout_of(form.completion).size == COMPLETION_SIZE


@pytest.mark.parametrize("kind", [Opcode, LaterOpcode])
def test_names_are_the_specifications(kind: type[Opcode | LaterOpcode]) -> None:
    for opcode in kind:
        form = foreign_form(opcode)
        assert form
        assert form.name == opcode.name.lower()


def test_the_transport_feature_has_another_opcode_in_the_proposal() -> None:
    found = {
        dialect.name: [
            form.name if (form := form_of(opcode, [dialect])) else "" for opcode in (3, 4, 5)
        ]
        for dialect in DIALECTS
    }
    later = ["", "get_feature", "set_feature"]
    assert found == {"proposal": ["get_feature", "set_feature", ""], "v2": later, "v5": later}


def test_dialects_with_an_opcode() -> None:
    assert dialects_with(Opcode.VRING, DIALECTS) == (PROPOSAL, V2)
    assert dialects_with(LaterOpcode.VQ, DIALECTS) == (V5,)
    assert dialects_with(3, DIALECTS) == (PROPOSAL,)
    assert dialects_with(Opcode.CONNECT, DIALECTS) == DIALECTS
    assert dialects_with(0x4000, DIALECTS) == ()


def test_the_latest_dialect_counts() -> None:
    form = form_of(Opcode.SET_STATUS, DIALECTS)
    assert form
    assert form.command is not StatusCommand
    form = form_of(Opcode.SET_STATUS, [PROPOSAL])
    assert form
    assert form.command is StatusCommand
    assert form_of(Opcode.VRING, [V5]) is None
    form = form_of(Opcode.VRING, [V2, V5])
    assert form
    assert form.name == "vring"


def test_fields_have_the_specifications_names_and_no_reserved_bytes() -> None:
    command = ConfigCommand(Opcode.GET_CONFIG, 7, 20, 4, b"?", 9)
    assert fields_of(ConfigCommand, b"xx" + pack(command), 2) == {
        "opcode": Opcode.GET_CONFIG, "command_id": 7, "offset": 20, "bytes": 4, "value": 9,
    }  # fmt: skip


def test_a_field_is_not_reserved_because_of_how_its_name_begins() -> None:
    layout = crypto_sessions.SESSION_LAYOUTS[Service.AKCIPHER]
    assert "padding_algo" in numbers_in(layout, bytes(layout.size))
