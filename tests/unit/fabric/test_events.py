# SPDX-License-Identifier: BSD-3-Clause
"""Asynchronous events: completions that belong to no command (v2, "Command ID")."""

from __future__ import annotations

import struct

import pytest

from tests.unit.fabric.conftest import MakeRig
from tests.unit.fabric.queue_rig import QueueRig, command
from vof.errors import RemoteProtocolError

KEEPALIVE, CONFIG_CHANGE = 0xFFFF, 0xFFFE


def event(ident: int, *, status: int = 0, ndesc: int = 0) -> bytes:
    return struct.pack("<HHHHQ", status, ident, ndesc, 0, 0)


@pytest.fixture
def listening(rig: QueueRig) -> QueueRig:
    rig.queue.accept_events()
    return rig


def test_config_changes_are_counted(listening: QueueRig) -> None:
    assert listening.queue.config_changes == 0
    listening.far.sendall(event(CONFIG_CHANGE) + event(KEEPALIVE) + event(CONFIG_CHANGE))
    listening.queue.look()
    assert listening.queue.config_changes == 2
    assert listening.queue.error is None


def test_they_are_nobody_s_answer(listening: QueueRig) -> None:
    """Commands before and after are answered, and the books are right."""
    one, two = command(0), command(1)
    listening.queue.submit(one)
    listening.queue.submit(two)
    listening.far.sendall(
        event(CONFIG_CHANGE) + event(1) + event(KEEPALIVE) + event(0) + event(CONFIG_CHANGE)
    )
    assert listening.queue.wait(one).completion.command_id == 0
    assert listening.queue.wait(two).completion.command_id == 1
    assert listening.queue.config_changes == 2
    assert listening.queue.activity().in_flight == 0
    assert listening.queue.statistics().completed == 2


def test_in_pieces(listening: QueueRig) -> None:
    data = event(CONFIG_CHANGE)
    for place in range(len(data)):
        listening.far.sendall(data[place : place + 1])
        listening.queue.look()
    assert listening.queue.config_changes == 1


def test_a_connection_that_ends_within_one(listening: QueueRig) -> None:
    listening.far.sendall(event(CONFIG_CHANGE)[:9])
    listening.queue.look()
    listening.far.close()
    listening.queue.look()
    assert "closed by the target" in str(listening.queue.error)
    assert [list(in_flight) for _error, in_flight in listening.losses] == [[]]


@pytest.mark.parametrize("ident", [KEEPALIVE, CONFIG_CHANGE, 0xFF00, 0xFFFD])
def test_without_having_been_asked_for(rig: QueueRig, ident: int) -> None:
    rig.far.sendall(event(ident))
    rig.queue.look()
    assert isinstance(rig.queue.error, RemoteProtocolError)
    assert f"completion for command id {ident}, which is not in flight" in str(rig.queue.error)


@pytest.mark.parametrize("ident", [0xFF00, 0xFFFD])
def test_the_ids_that_are_reserved(listening: QueueRig, ident: int) -> None:
    listening.far.sendall(event(ident))
    listening.queue.look()
    assert isinstance(listening.queue.error, RemoteProtocolError)


def test_with_descriptors(listening: QueueRig) -> None:
    listening.far.sendall(event(CONFIG_CHANGE, ndesc=1))
    listening.queue.look()
    assert isinstance(listening.queue.error, RemoteProtocolError)
    assert listening.queue.config_changes == 0


def test_a_flood_holds_up_nothing(make_rig: MakeRig) -> None:
    rig = make_rig(timeout=20)
    rig.queue.accept_events()
    pending = command(3)
    rig.queue.submit(pending)
    rig.far.sendall(event(CONFIG_CHANGE) * 3000 + event(3))
    assert rig.queue.wait(pending).completion.command_id == 3
    assert rig.queue.config_changes == 3000
