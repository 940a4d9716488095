# SPDX-License-Identifier: BSD-3-Clause
"""The numbers in structures, by the names that the texts give them.

Reserved bytes are not told. Where *v5* uses the layout of an earlier revision, or one layout for
several commands, the names of its text are here. Must not know what a number means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from vof.wire.constants import AsyncEvent, Command
from vof.wire.dialect import Dialect, Framing
from vof.wire.layout import Layout, layout_of
from vof.wire.structs import Buffer, Completion
from vof.wire.v5 import NumberCompletion, PlainCommand, PlainCompletion

Fields = dict[str, int]

_RESERVED = frozenset({"pad", "padding", "reserved", "rsvd"})

_VALUE = "value"

_V5_COMMANDS = {
    Command.SET_FEATURE: "feature",
    Command.SET_DRIVER_FEATURE: "feature",
    Command.SET_CONFIG: "config",
}
"""What *v5* calls the value of a command; that of the others is reserved there."""

_V5_COMPLETIONS = {
    Command.GET_STATUS: "dev_status",
    Command.VQ_KEYED_EAGER_BUF: "length",
}
"""What it calls the number in a completion, where it has a name for it."""


def fields_of(kind: type[NamedTuple], buffer: Buffer, start: int = 0) -> Fields:
    """Return the numbers in a structure."""
    return numbers_in(layout_of(kind), buffer, start)


def numbers_in(layout: Layout, buffer: Buffer, start: int = 0) -> Fields:
    """The same for a layout."""
    values = zip(layout.fields, layout.unpack_from(buffer, start), strict=True)
    return {
        name: value for name, value in values if isinstance(value, int) and name not in _RESERVED
    }


def command_fields(dialect: Dialect, command: Command | None, head: Buffer) -> Fields:
    """Return those in the 16 bytes of a command; None for one that the dialect does not have."""
    fields = fields_of(dialect.forms[command].command if command else PlainCommand, head)
    if _is_v5(dialect) and _VALUE in fields:
        value = fields.pop(_VALUE)
        if command in _V5_COMMANDS:
            fields[_V5_COMMANDS[command]] = value
    return fields


def completion_form(dialect: Dialect, command: Command | None) -> type[NamedTuple]:
    """Return what the completion of a command is; None for one that is not known."""
    if form := command and dialect.forms.get(command):
        return form.completion
    return PlainCompletion if _is_v5(dialect) else Completion


def completion_fields(dialect: Dialect, command: Command | None, head: Buffer) -> Fields:
    """Return those in the 16 bytes of a completion."""
    fields = fields_of(completion_form(dialect, command), head)
    if _is_v5(dialect) and command in _V5_COMPLETIONS:
        fields[_V5_COMPLETIONS[command]] = fields.pop(_VALUE)
    return fields


def event_fields(dialect: Dialect, event: int, head: Buffer) -> Fields:
    """Return those in the 16 bytes of an event."""
    if not _is_v5(dialect) or event != AsyncEvent.CONFIG_CHANGE:
        return completion_fields(dialect, None, head)
    fields = fields_of(NumberCompletion, head)
    fields["generation"] = fields.pop(_VALUE)
    return fields


def value_in(fields: Mapping[str, int]) -> int:
    """Return the value of a command, whatever it is called."""
    return next(fields[name] for name in (_VALUE, "feature", "config", "status") if name in fields)


def _is_v5(dialect: Dialect) -> bool:
    return dialect.framing is Framing.LENGTHS
