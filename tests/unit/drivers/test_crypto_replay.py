# SPDX-License-Identifier: BSD-3-Clause
"""The crypto driver against the reference target's recorded answers."""

from __future__ import annotations

import dataclasses
import struct

import pytest

from tests.support.protocol_numbers import DISCONNECT, GET_STATUS, SET_STATUS, VRING
from tests.support.replay_target import Exchange, ReplayTarget, exchanges
from tests.support.scripted_target import Command
from tests.support.sessions import parameters_for
from tests.vectors.recordings import load
from vof.drivers.crypto import CryptoDriver
from vof.wire.crypto import Config, Feature
from vof.wire.crypto_requests import parse_data_request
from vof.wire.crypto_sessions import CreateSession, parse_control_request

CRYPTO0 = "virtio-target/crypto/crypto0.service"
RECORDING = "kernel-tcp-crypto"
CONTROL_CONN = 2


class CryptoReplay(ReplayTarget):
    """The recorded device says its status at once; which one depends on what was set before."""

    def __init__(self) -> None:
        super().__init__(RECORDING)
        self._status = 0
        self.hooks.insert(0, self._keep_status)

    def _keep_status(self, command: Command) -> bool:
        if command.opcode == SET_STATUS:
            self._status = command.raw[4]
        elif command.opcode == GET_STATUS:
            command.reply(self._status)
            return True
        return False


def recorded() -> list[Exchange]:
    return [each for each in exchanges(load(RECORDING)) if each.opcode == VRING]


def room(exchange: Exchange) -> int:
    return sum(each.length for each in exchange.descriptors if each.writable)


def work(driver: CryptoDriver, shift: int = 0) -> int:
    """Do once more what the recording did; return how many operations it was."""
    done = 0
    session = -1
    config = Config(*driver.config)
    for exchange in recorded():
        if exchange.conn == CONTROL_CONN:
            parsed = parse_control_request(exchange.payload, room(exchange), Feature(0), config)
            if isinstance(parsed, CreateSession):
                session = driver.create_session(parsed.parameters)
                assert session == struct.unpack_from("<Q", exchange.data)[0]
            else:
                driver.destroy_session(parsed.service, session)
        else:
            request = parse_data_request(exchange.payload, room(exchange), Feature(0), config)
            request = dataclasses.replace(request, session_id=session)
            assert driver.execute(request) == exchange.data[:-1]
            done += 1
    return done


def test_the_recorded_requests_have_the_recorded_results() -> None:
    with CryptoReplay() as target:
        driver = CryptoDriver.open(parameters_for(target, tvqn=CRYPTO0))
        assert (driver.depth, driver.control_depth) == (1, 1)
        assert driver.features == Feature(0)
        assert work(driver) == 7
        driver.close()
    assert target.unknown == []
    assert target.unanswered == 0
    assert DISCONNECT not in target.opcodes()
    assert {command.command_id for command in target.requests()} == {0}


def test_an_unrecorded_request_ends_it() -> None:
    """So that the test above cannot pass by answering just anything."""
    with CryptoReplay() as target:
        driver = CryptoDriver.open(parameters_for(target, tvqn=CRYPTO0))
        work(driver)
        with pytest.raises(Exception, match="connection lost"):
            work(driver)
        driver.close()
    assert target.unknown
