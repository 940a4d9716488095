# SPDX-License-Identifier: BSD-3-Clause
"""The numbers and forms of each dialect, and how a user says which."""

from __future__ import annotations

import pytest

from tests.support.protocol_numbers import OPCODES
from vof.errors import ConfigError
from vof.wire.constants import Command, Transport
from vof.wire.dialect import (
    DIALECT_NAMES,
    DIALECTS,
    FEATURE_SELECT_BITS,
    FEATURE_SELECT_MAX_SEGS,
    FEATURE_SELECT_STREAM_SIZE,
    PROPOSAL,
    V2,
    V5,
    Dialect,
    Framing,
    dialect_by_name,
    keyed_flag,
    next_flag,
    vring_of,
)
from vof.wire.structs import Completion, pack

each_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda item: item.name)


@each_dialect
def test_opcodes(dialect: Dialect) -> None:
    found = {command.value: form.opcode for command, form in dialect.forms.items()}
    assert found == OPCODES[dialect.name]
    for command in Command:
        assert dialect.has(command) == (command.value in found)


@each_dialect
def test_an_opcode_that_there_is_not(dialect: Dialect) -> None:
    known = set(OPCODES[dialect.name].values())
    for opcode in range(0x10000):
        head = opcode.to_bytes(2, "little") + bytes(14)
        assert (dialect.command_of(head) is None) == (opcode not in known)


def test_oftypes() -> None:
    """v2 numbers what proposal numbered, so that the same number means another transport."""
    assert PROPOSAL.oftypes == {Transport.TCP: 0, Transport.RDMA: 1}
    assert V2.oftypes == {Transport.TCP: 1, Transport.RDMA: 2}
    assert V5.oftypes is None


def test_forms() -> None:
    assert [item.framing for item in DIALECTS] == [
        Framing.CHAINS,
        Framing.SEGMENTS,
        Framing.LENGTHS,
    ]
    assert [item.framing.has_descriptors for item in DIALECTS] == [True, True, False]
    assert [item.has_async_events for item in DIALECTS] == [False, True, True]
    assert [item.has_max_segs for item in DIALECTS] == [True, True, False]
    assert [item.transport_features for item in DIALECTS] == [0, 0, 3]
    assert [item.disconnects_virtqueues for item in DIALECTS] == [False, False, True]
    assert [item.has_status_list for item in DIALECTS] == [False, False, True]


def test_what_feature_select_means() -> None:
    assert (FEATURE_SELECT_MAX_SEGS, FEATURE_SELECT_STREAM_SIZE, FEATURE_SELECT_BITS) == (0, 1, 0)


@pytest.mark.parametrize(
    ("framing", "chained", "keyed"),
    [(Framing.CHAINS, 1, 0), (Framing.SEGMENTS, 0, 1), (Framing.LENGTHS, 0, 0)],
)
def test_flags_of_segment_descriptors(framing: Framing, chained: int, keyed: int) -> None:
    assert (next_flag(framing), keyed_flag(framing)) == (chained, keyed)


def test_the_vring_command() -> None:
    assert vring_of(Framing.CHAINS) == 0x2000
    assert vring_of(Framing.SEGMENTS) == 0x0FFF


@each_dialect
def test_the_opcodes_that_stand_alone(dialect: Dialect) -> None:
    """Without data behind them, on a stream."""
    carrying = {"connect", "vring", "vq", "vq_keyed_eager_buf"}
    alone = {opcode for name, opcode in OPCODES[dialect.name].items() if name not in carrying}
    assert dialect.plain_opcodes == alone


@each_dialect
def test_by_name(dialect: Dialect) -> None:
    assert dialect_by_name(dialect.name) is dialect


def test_auto_is_none_of_them() -> None:
    assert dialect_by_name("auto") is None
    assert DIALECT_NAMES == ("auto", "proposal", "v2", "v5")


@pytest.mark.parametrize("name", ["", "Proposal", "v1", "auto "])
def test_unknown_name(name: str) -> None:
    with pytest.raises(ConfigError, match="use one of auto, proposal, v2, v5") as caught:
        dialect_by_name(name)
    assert f"dialect={name}:" in str(caught.value)


def test_reserved_bytes_of_a_completion_mean_nothing() -> None:
    """v5 has a form for each; what stands behind its fields may be anything."""
    arrived = Completion(0, 1, 0xEEEE, b"\xee\xee", (1 << 64) - 1)
    raw = pack(arrived)
    wanted = {
        Command.CONNECT: 0xEEEE,
        Command.GET_KEYED_NUM_DESCS: 0xEE,
        Command.GET_VQ_SIZE: 0xEEEE,
        Command.GET_STATUS: 0xEEEEEEEE,
        Command.GET_DEVICE_FEATURE: (1 << 64) - 1,
        Command.VQ: 0xFFFFFFFF,
    }
    for command, value in wanted.items():
        found = V5.decode_completion(command, arrived)
        assert (found.value, pack(found)) == (value, raw)
