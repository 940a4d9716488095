# SPDX-License-Identifier: BSD-3-Clause
"""Our initiator against the reference target's recorded answers: the recorded work gets done."""

from __future__ import annotations

import struct

import pytest

from tests.support.loopback import nothing_left_open
from tests.support.protocol_numbers import CONNECT, DISCONNECT, GET_ID, IN, OUT, VRING
from tests.support.replay_target import TARGET_ID, ReplayTarget, exchanges
from tests.support.sessions import parameters_for
from tests.vectors.recordings import load
from vof.drivers.block import BlockDriver

BLOCK0 = "virtio-target/block/block0.service"

ATTACH = "kernel-tcp-blk-basic"
"""The recorded attach that our initiator's commands are all found in."""


@pytest.mark.parametrize(
    ("recording", "kinds"),
    [
        ("kernel-tcp-blk-basic", {IN, OUT, GET_ID}),
        ("kernel-tcp-blk-bufwrite", {IN, OUT}),
        ("vinitiator-tcp-blk", {IN, OUT}),
        ("vinitiator-tcp-blk-64seg", {IN, OUT}),
    ],
)
def test_the_recorded_requests_have_the_recorded_results(recording: str, kinds: set[int]) -> None:
    requests = [each for each in exchanges(load(recording)) if each.opcode == VRING]
    done = set()
    with nothing_left_open(), ReplayTarget(recording, ATTACH) as target:
        driver = BlockDriver.open(parameters_for(target, tvqn=BLOCK0), 4)
        for exchange in requests:
            kind, _ioprio, sector = struct.unpack_from("<IIQ", exchange.payload)
            if kind == OUT:
                request = driver.start_write(sector * 512, exchange.payload[16:])
            elif kind == IN and len(exchange.data) % 512 == 1:
                data = bytearray(len(exchange.data) - 1)
                request = driver.start_read(sector * 512, memoryview(data))
                assert request is not None
                driver.finish(request)
                assert data == exchange.data[:-1]
                request = None
            elif kind == GET_ID and len(exchange.data) == 21:
                assert driver.get_id() == "vtgt-000001"
                request = None
            else:
                continue  # the sample's reads of 32 bytes, its get-id of 127
            if request is not None:
                driver.finish(request)
            done.add(kind)
        driver.close()
    assert done == kinds
    assert target.unknown == []
    assert DISCONNECT not in target.opcodes()


def test_the_get_id_of_the_sample_has_its_serial() -> None:
    """The sample's buffer is larger; the target fills it, the string is the same."""
    [exchange] = [
        each
        for each in exchanges(load("vinitiator-tcp-blk"))
        if each.opcode == VRING and each.payload[:4] == struct.pack("<I", GET_ID)
    ]
    assert exchange.data.split(b"\0")[0] == b"vtgt-000001"


def test_geometry_as_it_was_recorded() -> None:
    with ReplayTarget(ATTACH) as target:
        driver = BlockDriver.open(parameters_for(target, tvqn=BLOCK0), 4)
        assert driver.geometry.capacity == 256 << 20
        assert driver.geometry.size_max == 1 << 20
        assert driver.geometry.max_transfer == 32 << 20
        assert len(driver.session.virtqueues) == 4
        assert {queue.size for queue in driver.session.virtqueues} == {1024}
        assert not driver.read_only
        driver.close()
    assert target.unknown == []


def test_the_target_id_is_that_of_the_control_queue() -> None:
    """The recorded completions of virtqueue Connects carry 0, which is not to be stored."""
    with ReplayTarget(ATTACH) as target:
        driver = BlockDriver.open(parameters_for(target, tvqn=BLOCK0), 4)
        driver.close()
    ids = [
        struct.unpack_from("<H", command.raw, 4)[0]
        for command in target.commands
        if command.opcode == CONNECT
    ]
    assert ids == [0xFFFF, TARGET_ID, TARGET_ID, TARGET_ID, TARGET_ID]
    assert target.unknown == []
