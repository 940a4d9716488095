# SPDX-License-Identifier: BSD-3-Clause
"""Config reads whose fields belong together, whatever the device does meanwhile."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.protocol_numbers import GET_CONFIG, GET_GENERATION
from tests.support.scripted_target import Command, Device, ScriptedTarget
from tests.support.sessions import parameters_for
from tests.support.target_fixtures import Serve
from vof.errors import CompletionError, RemoteProtocolError
from vof.initiator.config import ATTEMPTS, read_config
from vof.initiator.session import Session
from vof.wire.layout import record

LAYOUT = record("QIHBB", 16, large=0, word=8, half=12, byte=14, other=15)
CONFIG = struct.pack("<QIHBB", 1 << 40, 70000, 300, 9, 8)


@contextmanager
def session_with(target: ScriptedTarget) -> Iterator[Session]:
    with Session.open(parameters_for(target)) as session:
        target.commands.clear()
        yield session


def test_each_field_is_read_at_its_own_place_and_width(serve: Serve) -> None:
    target = serve(Device(config=CONFIG))
    with session_with(target) as session:
        values = read_config(session.control, LAYOUT, ["large", "word", "half", "byte"])
    assert values == {"large": 1 << 40, "word": 70000, "half": 300, "byte": 9}
    reads = [
        struct.unpack_from("<HB", command.raw, 4)
        for command in target.commands
        if command.opcode == GET_CONFIG
    ]
    assert reads == [(0, 8), (8, 4), (12, 2), (14, 1)]
    assert target.opcodes() == [GET_GENERATION, *[GET_CONFIG] * 4, GET_GENERATION]


class Changing:
    """A hook: the first field is answered, then everything changes, ``times`` times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self, command: Command) -> bool:
        if command.opcode != GET_CONFIG or not self.left:
            return False
        offset, _width = struct.unpack_from("<HB", command.raw, 4)
        if offset == 0:
            device = command.connection.target.device
            command.reply(device.generation)
            self.left -= 1
            device.generation += 1
            new = device.generation
            device.config = struct.pack("<QIHBB", new, new, new, new, new)
            return True
        return False


@pytest.mark.parametrize("times", [1, 2, ATTEMPTS - 1])
def test_fields_of_two_states_are_never_mixed(serve: Serve, times: int) -> None:
    target = serve(Device(config=bytes(16)), Changing(times))
    with session_with(target) as session:
        values = read_config(session.control, LAYOUT, LAYOUT.fields)
    assert values == dict.fromkeys(LAYOUT.fields, times)


def test_a_config_that_never_holds_still_is_given_up(serve: Serve) -> None:
    target = serve(Device(config=bytes(16)), Changing(10**9))
    with (
        session_with(target) as session,
        pytest.raises(RemoteProtocolError, match=f"changed under each of {ATTEMPTS} reads"),
    ):
        read_config(session.control, LAYOUT, LAYOUT.fields)
    assert target.opcodes().count(GET_GENERATION) == ATTEMPTS + 1


def test_a_generation_that_wraps_is_a_change_like_any_other(serve: Serve) -> None:
    target = serve(Device(config=CONFIG, generation=0xFFFF_FFFF))
    with session_with(target) as session:
        assert read_config(session.control, LAYOUT, ["byte"]) == {"byte": 9}


def test_a_read_that_is_refused(serve: Serve) -> None:
    def refuse(command: Command) -> bool:
        if command.opcode != GET_CONFIG:
            return False
        command.reply(status=22)
        return True

    target = serve(Device(config=CONFIG), refuse)
    with (
        session_with(target) as session,
        pytest.raises(CompletionError, match="refused get_config with status 22"),
    ):
        read_config(session.control, LAYOUT, ["byte"])
