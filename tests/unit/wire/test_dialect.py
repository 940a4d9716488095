# SPDX-License-Identifier: BSD-3-Clause
"""The numbers and forms of each dialect, and how a user or a peer says which."""

from __future__ import annotations

import pytest

from vof.errors import ConfigError
from vof.wire.constants import LaterOpcode, Opcode, Transport
from vof.wire.dialect import (
    DIALECT_NAMES,
    DIALECTS,
    FEATURE_SELECT_BITS,
    FEATURE_SELECT_MAX_SEGS,
    PROPOSAL,
    V2,
    V5,
    Dialect,
    Framing,
    dialects_by_name,
    dialects_by_oftype,
)


@pytest.mark.parametrize(
    ("dialect", "name", "tcp", "rdma", "get", "set_"),
    [(PROPOSAL, "proposal", 0, 1, 3, 4), (V2, "v2", 1, 2, 4, 5), (V5, "v5", 1, 2, 4, 5)],
)
def test_numbers(dialect: Dialect, name: str, tcp: int, rdma: int, get: int, set_: int) -> None:
    assert dialect.name == name
    assert dialect.oftype(Transport.TCP) == tcp
    assert dialect.oftype(Transport.RDMA) == rdma
    assert (dialect.get_feature, dialect.set_feature) == (get, set_)
    assert FEATURE_SELECT_MAX_SEGS == FEATURE_SELECT_BITS == 0


def test_forms() -> None:
    assert [item.framing for item in DIALECTS] == [
        Framing.SEGMENTS,
        Framing.SEGMENTS,
        Framing.LENGTHS,
    ]
    assert [item.has_async_events for item in DIALECTS] == [False, True, True]
    assert [item.transport_features for item in DIALECTS] == [0, 0, 3]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda item: item.name)
def test_set_status_is_read_as_it_is_written(dialect: Dialect) -> None:
    head = dialect.encode_set_status(0x1234, 0x8F)
    assert len(head) == 16
    assert dialect.decode_set_status(head) == 0x8F


def test_where_set_status_has_its_value() -> None:
    """v2, struct virtio_of_command_common; before it, as the recorded programs have it."""
    assert PROPOSAL.encode_set_status(2, 7) == bytes.fromhex("0410 0200 07") + bytes(11)
    for later in (V2, V5):
        assert later.encode_set_status(2, 7) == bytes.fromhex("0410 0200 00000000 07") + bytes(7)


def test_the_opcodes_that_stand_alone() -> None:
    common = set(map(int, Opcode)) - {Opcode.CONNECT, Opcode.VRING}
    assert PROPOSAL.plain_opcodes == common | {3, 4}
    assert V2.plain_opcodes == common | {4, 5}
    keyed = {LaterOpcode.GET_KEYED_NUM_DESCS, LaterOpcode.GET_KEYED_EAGER_BUF}
    assert V5.plain_opcodes == common | {4, 5} | keyed


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda item: item.name)
def test_by_name(dialect: Dialect) -> None:
    assert dialects_by_name(dialect.name) == (dialect,)


def test_auto_begins_as_the_latest() -> None:
    assert dialects_by_name("auto") == (V5, PROPOSAL)
    assert DIALECT_NAMES == ("auto", "proposal", "v2", "v5")


@pytest.mark.parametrize("name", ["", "Proposal", "v1", "auto "])
def test_unknown_name(name: str) -> None:
    with pytest.raises(ConfigError, match="use one of auto, proposal, v2, v5") as caught:
        dialects_by_name(name)
    assert f"dialect={name}:" in str(caught.value)


def test_by_oftype() -> None:
    """v2 numbers what proposal numbered, so that the same number means another transport."""
    assert dialects_by_oftype(Transport.TCP, 0) == (PROPOSAL,)
    assert dialects_by_oftype(Transport.TCP, 1) == (V2, V5)
    assert dialects_by_oftype(Transport.RDMA, 1) == (PROPOSAL,)
    assert dialects_by_oftype(Transport.RDMA, 2) == (V2, V5)
    assert dialects_by_oftype(Transport.TCP, 2) == ()
    assert dialects_by_oftype(Transport.RDMA, 0) == ()


def test_opcodes() -> None:
    assert PROPOSAL.request_opcodes == V2.request_opcodes == {0x2000}
    assert V5.request_opcodes == {0x0FFE, 0x0FFF}
    assert V5.opcodes - V2.opcodes == {0x0100, 0x0102, 0x0FFE, 0x0FFF}
    assert V2.opcodes - V5.opcodes == {0x2000}
    assert V2.opcodes - PROPOSAL.opcodes == {5}
    assert PROPOSAL.opcodes - V2.opcodes == {3}
