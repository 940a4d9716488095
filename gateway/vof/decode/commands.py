# SPDX-License-Identifier: BSD-3-Clause
"""Which command an opcode is, and which structure it and its completion have, in each dialect.

Must not know a conversation: where the dialect is not known yet, whoever asks gives those that it
may be, and gets the latest of them that has the opcode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vof.wire.constants import LaterOpcode, Opcode
from vof.wire.dialect import DIALECTS, Dialect, Framing
from vof.wire.keyed import (
    GetKeyedEagerBufCommand,
    GetKeyedEagerBufCompletion,
    VqKeyedEagerBufCommand,
)
from vof.wire.layout import Layout, layout_of
from vof.wire.structs import (
    Buffer,
    CommonCommand,
    Completion,
    ConfigCommand,
    ConnectCommand,
    FeatureCommand,
    QueueCommand,
    StatusCommand,
    VringCommand,
)
from vof.wire.vq import VqCommand, VqCompletion


class Form(NamedTuple):
    """How a command looks."""

    name: str
    """As the specification spells it, without its prefix."""
    opcode: int
    command: type[NamedTuple] = CommonCommand
    completion: type[NamedTuple] = Completion
    bits: int = 64
    """Of the completion's value, those that mean something."""
    is_request: bool = False
    """A virtqueue's."""


_FORMS = [
    Form("connect", Opcode.CONNECT, ConnectCommand, bits=16),
    Form("disconnect", Opcode.DISCONNECT, bits=0),
    Form("keepalive", Opcode.KEEPALIVE, bits=0),
    Form("get_vendor_id", Opcode.GET_VENDOR_ID, bits=32),
    Form("get_device_id", Opcode.GET_DEVICE_ID, bits=32),
    Form("get_generation", Opcode.GET_GENERATION, bits=32),
    Form("get_status", Opcode.GET_STATUS, bits=32),
    Form("set_status", Opcode.SET_STATUS, bits=0),
    Form("get_device_feature", Opcode.GET_DEVICE_FEATURE, FeatureCommand),
    Form("set_driver_feature", Opcode.SET_DRIVER_FEATURE, FeatureCommand, bits=0),
    Form("get_num_queues", Opcode.GET_NUM_QUEUES, bits=16),
    Form("get_queue_size", Opcode.GET_QUEUE_SIZE, QueueCommand, bits=16),
    Form("set_queue_size", Opcode.SET_QUEUE_SIZE, QueueCommand, bits=0),
    Form("get_config", Opcode.GET_CONFIG, ConfigCommand),
    Form("set_config", Opcode.SET_CONFIG, ConfigCommand, bits=0),
    Form("get_config_changed", Opcode.GET_CONFIG_CHANGED, bits=32),
]

_VRING = Form("vring", Opcode.VRING, VringCommand, bits=32, is_request=True)

_VQ = [
    Form("vq", LaterOpcode.VQ, VqCommand, VqCompletion, is_request=True),
    Form(
        "vq_keyed_eager_buf",
        LaterOpcode.VQ_KEYED_EAGER_BUF,
        VqKeyedEagerBufCommand,
        VqCompletion,
        is_request=True,
    ),
]

_KEYED = [
    Form("get_keyed_num_descs", LaterOpcode.GET_KEYED_NUM_DESCS, QueueCommand, bits=16),
    Form(
        "get_keyed_eager_buf",
        LaterOpcode.GET_KEYED_EAGER_BUF,
        GetKeyedEagerBufCommand,
        GetKeyedEagerBufCompletion,
    ),
]


def _forms(dialect: Dialect) -> dict[int, Form]:
    forms = [
        *_FORMS,
        Form("get_feature", dialect.get_feature, FeatureCommand),
        Form("set_feature", dialect.set_feature, FeatureCommand, bits=0),
        *([_VRING] if dialect.framing is Framing.SEGMENTS else _VQ),
        *(_KEYED if dialect.keyed_opcodes else ()),
    ]
    found = {int(form.opcode): form for form in forms}
    if dialect.status_after_id:
        set_status = int(Opcode.SET_STATUS)
        found[set_status] = found[set_status]._replace(command=StatusCommand)
    return found


_BY_DIALECT = {dialect.name: _forms(dialect) for dialect in DIALECTS}


def form_of(opcode: int, dialects: Sequence[Dialect]) -> Form | None:
    """Return what an opcode is in the latest of these dialects that has it; None if none does."""
    for dialect in reversed(dialects):
        if form := _BY_DIALECT[dialect.name].get(opcode):
            return form
    return None


def dialects_with(opcode: int, dialects: Sequence[Dialect]) -> tuple[Dialect, ...]:
    """Return those of the dialects that have an opcode."""
    return tuple(dialect for dialect in dialects if opcode in _BY_DIALECT[dialect.name])


def foreign_form(opcode: int) -> Form | None:
    """Return what an opcode is in any dialect, for where the right ones do not have it."""
    return form_of(opcode, DIALECTS)


_RESERVED = frozenset({"pad", "padding", "reserved", "rsvd"})


def fields_of(kind: type[NamedTuple], buffer: Buffer, start: int = 0) -> dict[str, int]:
    """Return the numbers in a structure by the specification's names, but for reserved bytes."""
    return numbers_in(layout_of(kind), buffer, start)


def numbers_in(layout: Layout, buffer: Buffer, start: int = 0) -> dict[str, int]:
    """The same for a layout."""
    values = zip(layout.fields, layout.unpack_from(buffer, start), strict=True)
    return {
        name: value for name, value in values if isinstance(value, int) and name not in _RESERVED
    }
