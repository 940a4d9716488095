# SPDX-License-Identifier: BSD-3-Clause
"""Messages are taken for such, and data for data."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.decode import said
from vof.decode.plausible import (
    looks_returned,
    may_be_command,
    may_be_completion,
    may_be_connect,
)
from vof.wire.constants import Opcode
from vof.wire.dialect import DIALECTS, PROPOSAL, V2, V5, Dialect, Framing
from vof.wire.structs import COMMAND_SIZE, DESCRIPTOR_SIZE, ConnectCommand, pack

ALL = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda item: item.name)

sizes = st.lists(st.integers(1, 5000), max_size=4)


@ALL
@given(readable=sizes, writable=sizes, end=st.integers(0, 200))
def test_requests(dialect: Dialect, readable: list[int], writable: list[int], end: int) -> None:
    """A segment may end anywhere behind the command."""
    if not readable + writable:
        return
    message = said.request(dialect, 7, [bytes(size) for size in readable], writable)
    assert may_be_command(message[: COMMAND_SIZE + end], [dialect])
    others = [each for each in DIALECTS if each.framing is not dialect.framing]
    assert not may_be_command(message, others)


@ALL
@given(readable=st.integers(0, 3), writable=st.lists(st.integers(1, 500), min_size=1, max_size=4))
def test_completions(dialect: Dialect, readable: int, writable: list[int]) -> None:
    answer = said.answer(dialect, 7, readable, writable, [bytes(size) for size in writable])
    assert may_be_completion(answer, by_length=dialect.framing is Framing.LENGTHS)


@ALL
def test_control_commands(dialect: Dialect) -> None:
    for opcode in dialect.plain_opcodes:
        command = said.common(opcode, 9)
        assert may_be_command(command, [dialect])
        assert not may_be_command(command + b"x", [dialect])
    assert may_be_command(said.connect(dialect, 1), [dialect])
    assert may_be_completion(said.done(9, 1 << 40, 22), by_length=dialect is V5)


@pytest.mark.parametrize("oftype", [0, 1, 2])
def test_connects(oftype: int) -> None:
    connect = said.connect(V2, oftype=oftype)
    assert may_be_connect(connect)
    assert may_be_connect(connect[: COMMAND_SIZE + DESCRIPTOR_SIZE])
    assert not may_be_connect(connect[: COMMAND_SIZE + DESCRIPTOR_SIZE - 1])


def test_no_connects() -> None:
    good = ConnectCommand(Opcode.CONNECT, 0, 0xFFFF, 0, 1, 1)
    table = struct.pack("<QIHHI4x", 0, 1024, 0, 0, 0)
    assert may_be_connect(pack(good) + table)
    for bad in (
        pack(good._replace(oftype=3)) + table,
        pack(good._replace(ndesc=2)) + table,
        pack(good._replace(opcode=1)) + table,
        pack(good) + struct.pack("<QIHHI4x", 0, 1023, 0, 0, 0),
        pack(good) + struct.pack("<QIHHI4x", 0, 1024, 0, 2, 0),
        bytes(60),
    ):
        assert not may_be_connect(bad)


def test_reserved_ids_and_unknown_opcodes() -> None:
    assert not may_be_command(said.common(Opcode.GET_STATUS, 0xFF00), DIALECTS)
    assert not may_be_command(said.common(0x3000), DIALECTS)
    assert not may_be_completion(said.done(1, status=134), by_length=False)
    assert may_be_completion(said.done(1, status=4096), by_length=False)


def test_descriptors_that_no_chain_has() -> None:
    def vring(*flags: int, length: int = 1) -> bytes:
        table = b"".join(struct.pack("<QIHHI4x", 0, length, 0, each, 0) for each in flags)
        return struct.pack("<HHIH6x", Opcode.VRING, 1, 0, len(flags)) + table

    assert may_be_command(vring(1, 2), [PROPOSAL])
    for bad in (vring(1, 3), vring(0, 2), vring(5, 2), vring(1, 2, length=0), vring()):
        assert not may_be_command(bad, [PROPOSAL])


def test_returned_descriptors_that_nobody_sends() -> None:
    def completion(*fields: tuple[int, int, int]) -> bytes:
        table = b"".join(struct.pack("<QIHHI4x", a, b, 0, c, 0) for a, b, c in fields)
        return struct.pack("<HHH10x", 0, 1, len(fields)) + table

    assert may_be_completion(completion((0, 5, 3), (5, 1, 2)), by_length=False)
    for bad in (completion((1, 5, 2)), completion((0, 5, 3), (4, 1, 2)), completion((0, 5, 1))):
        assert not may_be_completion(bad, by_length=False)


def test_random_data_are_hardly_ever_taken_for_messages() -> None:
    source = random.Random(1)
    blocks = [source.randbytes(512) for _ in range(20000)]
    taken = sum(
        may_be_command(each, DIALECTS)
        or may_be_completion(each, by_length=False)
        or may_be_completion(each, by_length=True)
        for each in blocks
    )
    assert taken <= 2


@pytest.mark.parametrize("data", [bytes(512), b"\xff" * 512, b"\1\0" * 256, b"text " * 100])
def test_neither_are_these(data: bytes) -> None:
    assert not may_be_command(data, DIALECTS)
    assert not may_be_completion(data, by_length=False)


def test_what_comes_back_for_a_command() -> None:
    asked = [{"id": 4, "flags": 2, "length": 10, "addr": 0, "key": 0}]

    def head(length: int, ident: int, flags: int) -> bytes:
        return struct.pack("<QIHH", 0, length, ident, flags)

    assert looks_returned(head(10, 4, 2), asked)
    for other in (head(11, 4, 2), head(1, 5, 2), head(1, 4, 3), said.done(1, 1)):
        assert not looks_returned(other, asked)
