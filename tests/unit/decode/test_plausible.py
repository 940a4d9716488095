# SPDX-License-Identifier: BSD-3-Clause
"""Messages are taken for such, and data for data."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.decode import said
from vof.decode.association import Association
from vof.decode.plausible import (
    looks_returned,
    may_be_connect,
    of_command,
    of_completion,
)
from vof.wire.constants import Transport
from vof.wire.dialect import DIALECTS, PROPOSAL, V2, V5, Dialect
from vof.wire.structs import COMMAND_SIZE, DESCRIPTOR_SIZE

TCP, RDMA = Transport.TCP, Transport.RDMA

ALL = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda item: item.name)

sizes = st.lists(st.integers(1, 5000), max_size=4)


@ALL
@given(
    readable=sizes,
    writable=st.lists(st.integers(1, 5000), min_size=1, max_size=4),
    end=st.integers(0, 200),
)
def test_requests(dialect: Dialect, readable: list[int], writable: list[int], end: int) -> None:
    """A segment may end anywhere behind the command."""
    message = said.request(dialect, 7, [bytes(size) for size in readable], writable)
    assert of_command(message[: COMMAND_SIZE + end], [dialect])
    # And it is told from those of the others, though two have the same opcode.
    assert of_command(message, DIALECTS) == (dialect,)


@ALL
@given(readable=st.integers(0, 3), writable=st.lists(st.integers(1, 500), min_size=1, max_size=4))
def test_completions(dialect: Dialect, readable: int, writable: list[int]) -> None:
    answer = said.answer(dialect, 7, readable, writable, [bytes(size) for size in writable])
    assert of_completion(answer, [dialect])
    assert (V5 in of_completion(answer, DIALECTS)) == (dialect is V5)


@ALL
def test_control_commands(dialect: Dialect) -> None:
    bodies = {"connect", "vring", "vq"}
    for name in set(said.OPCODES[dialect.name]) - bodies:
        command = said.common(dialect, name, 9)
        assert of_command(command, [dialect])
        assert not of_command(command + b"x", [dialect])
    assert of_command(said.connect(dialect, 1), DIALECTS) == (
        (V5,) if dialect is V5 else (PROPOSAL, V2)
    )
    assert of_completion(
        said.answered(dialect, 9, 15, 22 if dialect is not V5 else 0x1001), [dialect]
    )


def test_connects_without_a_body() -> None:
    head = said.connect_head(V5, 1, length=0)
    assert of_command(head, DIALECTS) == (V5,)
    assert not of_command(head + b"x", DIALECTS)
    assert not may_be_connect(head, TCP)  # on any port


@pytest.mark.parametrize("oftype", [0, 1, 2])
def test_connects(oftype: int) -> None:
    connect = said.connect(V2, oftype=oftype)
    for whole in (connect, said.connect(V5)):
        assert may_be_connect(whole, TCP)
        assert may_be_connect(whole[: COMMAND_SIZE + DESCRIPTOR_SIZE], TCP)
        assert not may_be_connect(whole[: COMMAND_SIZE + DESCRIPTOR_SIZE - 1], TCP)


def test_keyed_connects() -> None:
    for dialect, rest in (
        (PROPOSAL, said.segment(1024, 0, 0, 0x9000, 9)),
        (V2, said.segment(1024, 0, 1, 0x9000, 9)),
        (V5, struct.pack("<QII", 0x9000, 1024, 9)),
    ):
        head = said.connect_head(dialect, rdma=True)
        assert may_be_connect(head + rest, RDMA)
        assert not may_be_connect(head + rest[:-9], RDMA)
    head = said.connect_head(V5, rdma=True)
    assert not may_be_connect(head + struct.pack("<QII", 0x9000, 1023, 9), RDMA)


def test_no_connects() -> None:
    good = said.connect_head(PROPOSAL)
    table = said.segment(1024, 0, 0)
    later = said.connect_head(V5)
    assert may_be_connect(good + table, TCP)
    for bad in (
        good[:10] + b"\3" + good[11:] + table,  # oftype
        good[:8] + b"\2" + good[9:] + table,  # ndesc
        b"\1" + good[1:] + table,
        good + said.segment(1023, 0, 0),
        good + said.segment(1024, 0, 2),
        later + bytes(24),  # nobody's name
        later[:14] + b"\1\0" + b"name" * 9,
        later[:8] + b"\1\4" + later[10:] + b"name" * 9,
        bytes(60),
    ):
        assert not may_be_connect(bad, TCP)


def test_reserved_ids_and_unknown_opcodes() -> None:
    assert not of_command(said.common(V5, "get_status", 0xFF00), DIALECTS)
    assert not of_command(said.unknown(0x3000), DIALECTS)


def test_statuses() -> None:
    """Errnos before the last dialect, and its list in that."""
    for status, dialects in (
        (0, DIALECTS), (1, DIALECTS), (133, (PROPOSAL, V2)), (134, ()), (4096, (PROPOSAL, V2)),
        (0x1001, (V5,)), (0x20F1, (V5,)), (0x1004, ()),
    ):  # fmt: skip
        assert of_completion(said.done(1, status=status), DIALECTS) == dialects


def test_widths_and_reserved_bytes_tell_dialects_from_each_other() -> None:
    get_config = struct.pack("<HHHBxQ", 0x100A, 1, 20, 4, 0)
    association = Association()
    association.admit(get_config)
    assert association.dialects == (PROPOSAL,)
    # What cannot be is not stuck to.
    association.admit(said.common(V5, "reset_device"))
    assert association.dialects == (PROPOSAL,)
    association.admit(struct.pack("<HHIH6x", 0x0FFF, 1, 16, 2))
    assert association.dialects == (V2,)
    association.admit(struct.pack("<HH4xII", 0x0FFF, 1, 16, 1))
    assert association.dialects == (V2,)
    certain = Association(dialects=(V5,), certain=True)
    certain.admit(get_config)
    assert certain.dialects == (V5,)


def test_descriptors_that_no_command_has() -> None:
    def vring(*flags: int, length: int = 1) -> bytes:
        table = b"".join(said.segment(length, 0, each) for each in flags)
        return struct.pack("<HHIH6x", opcode, 1, 0, len(flags)) + table

    opcode = 0x2000
    assert of_command(vring(1, 2), [PROPOSAL])
    for bad in (vring(1, 3), vring(0, 2), vring(5, 2), vring(1, 2, length=0), vring()):
        assert not of_command(bad, [PROPOSAL])
    opcode = 0x0FFF
    assert of_command(vring(0, 2), [V2])
    for bad in (vring(1, 2), vring(0, 4), vring(0, 2, length=0), vring()):
        assert not of_command(bad, [V2])


def test_returned_descriptors_that_nobody_sends() -> None:
    def completion(*fields: tuple[int, int, int]) -> bytes:
        table = b"".join(struct.pack("<QIHHI4x", a, b, 0, c, 0) for a, b, c in fields)
        return struct.pack("<HHH10x", 0, 1, len(fields)) + table

    assert of_completion(completion((0, 5, 3), (5, 1, 2)), [V2])
    for bad in (completion((1, 5, 2)), completion((0, 5, 3), (4, 1, 2)), completion((0, 5, 1))):
        assert not of_completion(bad, [V2])


def test_random_data_are_hardly_ever_taken_for_messages() -> None:
    source = random.Random(1)
    blocks = [source.randbytes(512) for _ in range(20000)]
    taken = sum(
        bool(of_command(each, DIALECTS) or of_completion(each, DIALECTS)) for each in blocks
    )
    assert taken <= 2


@pytest.mark.parametrize("data", [bytes(512), b"\xff" * 512, b"\1\0" * 256, b"text " * 100])
def test_neither_are_these(data: bytes) -> None:
    assert not of_command(data, DIALECTS)
    assert not of_completion(data, DIALECTS)


def test_what_comes_back_for_a_command() -> None:
    asked = [{"id": 4, "flags": 2, "length": 10, "addr": 0, "key": 0}]

    def head(length: int, ident: int, flags: int) -> bytes:
        return struct.pack("<QIHH", 0, length, ident, flags)

    assert looks_returned(head(10, 4, 2), asked)
    for other in (head(11, 4, 2), head(1, 5, 2), head(1, 4, 3), said.done(1, 1)):
        assert not looks_returned(other, asked)
