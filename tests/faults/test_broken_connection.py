# SPDX-License-Identifier: BSD-3-Clause
"""Connections that end, stall or lie at an exact byte, during the handshake and under requests."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Iterator

import pytest

from tests.faults.victim import Victim, fails, victim_of
from tests.support.fault_proxy import Direction, Fault, FaultProxy, Kind
from tests.support.loopback import Background
from tests.support.protocol_numbers import (
    F_SEG_MAX,
    F_SIZE_MAX,
    F_VERSION_1,
    VRING,
    block_config,
)
from tests.support.scripted_target import Device, Hold, ScriptedTarget, on, silence
from tests.support.sessions import parameters_for
from tests.support.target_fixtures import Serve
from vof.drivers.block import BlockDriver
from vof.errors import SessionLost, VofError

TO_TARGET, TO_INITIATOR = Direction


@pytest.fixture
def target(serve: Serve) -> ScriptedTarget:
    return serve()


@pytest.fixture
def proxy(target: ScriptedTarget) -> Iterator[FaultProxy]:
    with FaultProxy(target.port) as proxy:
        yield proxy


class TestHandshake:
    """Few features make it short: what is cut is still every kind of message there is."""

    @pytest.fixture
    def target(self, serve: Serve) -> ScriptedTarget:
        return serve(Device(features=F_SIZE_MAX | F_SEG_MAX | F_VERSION_1))

    @staticmethod
    def lengths(proxy: FaultProxy) -> dict[tuple[int, Direction], int]:
        """Return how many bytes the whole handshake takes, by connection and direction."""
        driver = BlockDriver.open(parameters_for(proxy.port), 1)
        passed = dict(proxy.passed)
        driver.close()
        assert set(passed) == {(conn, way) for conn in (0, 1) for way in Direction}
        return passed

    @pytest.mark.parametrize("connection", [0, 1], ids=["control queue", "virtqueue"])
    @pytest.mark.parametrize("direction", Direction, ids=lambda each: each.value)
    def test_cut_at_every_byte(
        self, proxy: FaultProxy, connection: int, direction: Direction
    ) -> None:
        length = self.lengths(proxy)[connection, direction]
        assert length >= 16
        offsets = list(range(length))
        if length >= 1064:
            # Within the connect body one byte is as good as another; all others count.
            offsets = [*range(45), *range(60, 1060, 250), *range(1060, length)]
        for offset in offsets:
            number = proxy.connections + connection
            fault = proxy.add(Fault(Kind.CUT, direction, offset, number))
            with fails(VofError):
                BlockDriver.open(parameters_for(proxy.port), 1)
            assert fault.hit.is_set()

    @pytest.mark.parametrize("kind", [Kind.RESET, Kind.TRUNCATE])
    def test_other_ends(self, proxy: FaultProxy, kind: Kind) -> None:
        for connection, offset in ((0, 0), (0, 7), (0, 16), (0, 40), (1, 0), (1, 15)):
            number = proxy.connections + connection
            proxy.add(Fault(kind, TO_INITIATOR, offset, number))
            with fails(VofError):
                BlockDriver.open(parameters_for(proxy.port), 1)

    @pytest.mark.parametrize("connection", [0, 1], ids=["control queue", "virtqueue"])
    @pytest.mark.parametrize("offset", [0, 7])
    def test_stall(self, proxy: FaultProxy, connection: int, offset: int) -> None:
        proxy.add(Fault(Kind.STALL, TO_INITIATOR, offset, connection))
        with fails(VofError, r"no answer to connect within 0\.3 s"):
            BlockDriver.open(parameters_for(proxy.port, connect_timeout=0.3), 1)


READ = 1024
ANSWER = 16 + 2 * 24 + READ + 1
"""Bytes of the completion of a read."""

HANDSHAKE = 16
"""Bytes a virtqueue's connection brings before any request: the completion of its Connect."""


def offsets_in_an_answer() -> list[int]:
    """Every byte of head and descriptors, the ends of the data, and some within."""
    return [*range(67), 500, ANSWER - 2, ANSWER - 1]


@pytest.mark.parametrize("kind", [Kind.CUT, Kind.RESET, Kind.TRUNCATE])
def test_end_within_an_answer(proxy: FaultProxy, kind: Kind) -> None:
    for offset in offsets_in_an_answer():
        fault = proxy.add(Fault(kind, TO_INITIATOR, HANDSHAKE + offset, proxy.connections + 1))
        with victim_of(proxy.port) as victim:
            with fails(SessionLost, "connection lost"):
                victim.read(READ)
            assert fault.hit.is_set()
            assert victim.errnos == [errno.ESHUTDOWN]
            victim.is_lost()


@pytest.mark.parametrize("offset", [1, 15, 16, 40, 63, 64, 100, 600])
def test_end_within_a_command(proxy: FaultProxy, offset: int) -> None:
    proxy.add(Fault(Kind.CUT, TO_TARGET, 1064 + offset, 1))
    with victim_of(proxy.port) as victim:
        with fails(SessionLost, "connection lost"):
            victim.write(bytes(1024))
        victim.is_lost()


@pytest.mark.parametrize("offset", [0, 10, 16, 30, 64, 100, ANSWER - 1])
def test_stall_within_an_answer(proxy: FaultProxy, offset: int) -> None:
    proxy.add(Fault(Kind.STALL, TO_INITIATOR, HANDSHAKE + offset, 1))
    with victim_of(proxy.port, timeout=0.2) as victim:
        with fails(SessionLost, r"no answer to VIRTIO_BLK_T_IN within 0\.2 s"):
            victim.read(READ)
        victim.is_lost()


def test_what_arrives_after_the_deadline_lands_nowhere(proxy: FaultProxy) -> None:
    proxy.add(Fault(Kind.STALL, TO_INITIATOR, HANDSHAKE + 64 + 100, 1))
    data = bytearray(READ)
    with victim_of(proxy.port, timeout=0.2) as victim:
        with fails(SessionLost):
            victim.export.pread(memoryview(data), 0)
        data[:] = b"\x55" * READ
        proxy.resume()
        victim.is_lost()
    assert data == b"\x55" * READ


def test_a_target_that_stops_reading(serve: Serve) -> None:
    """With a timeout, a write that cannot be sent ends in time; so do those queued behind it."""
    target = serve(Device(config=block_config(capacity=1 << 20, size_max=16 << 20)))
    stall = Fault(Kind.STALL, TO_TARGET, 1064 + 5000, 1)
    with FaultProxy(target.port, stall) as proxy, victim_of(proxy.port, timeout=0.5) as victim:
        writers = [Background(victim.write, bytes(32 << 20)) for _ in range(3)]
        for writer in writers:
            with fails(SessionLost):
                writer.result(5)
        victim.is_lost()


@pytest.mark.parametrize("place", range(64))
def test_one_byte_that_lies(proxy: FaultProxy, target: ScriptedTarget, place: int) -> None:
    """Head and descriptors of a completion, byte by byte: the data, or one clear error."""
    data = random.Random("lie").randbytes(READ)
    target.device.disk[:READ] = data
    for value in (0x01, 0x7F, 0xFF):
        number = proxy.connections + 1
        fault = Fault(Kind.REPLACE, TO_INITIATOR, HANDSHAKE + place, number, bytes([value]))
        proxy.add(fault)
        with victim_of(proxy.port, timeout=5) as victim:
            start = time.monotonic()
            try:
                assert victim.read(READ) == data
            except VofError:
                assert victim.errnos[0] in (errno.ESHUTDOWN, errno.EIO, errno.EPERM)
            assert time.monotonic() - start < 4
            assert fault.hit.is_set()


def test_a_target_that_dies_under_load(proxy: FaultProxy, target: ScriptedTarget) -> None:
    hold = Hold()
    with victim_of(proxy.port, queues=4) as victim:
        victim.works()
        target.hooks.append(hold)
        threads = [Background(call) for call in [*victim.calls().values()] * 4]
        hold.take(8)  # reads and flushes at least; of the writes some wait for each other
        proxy.cut_all()
        for thread in threads:
            with fails(SessionLost):
                thread.result(5)
        assert set(victim.errnos) == {errno.ESHUTDOWN}
        victim.is_lost()


def test_the_end_of_the_control_queue_alone(target: ScriptedTarget) -> None:
    """Requests need it not; whatever needs it next finds out, and then all ends."""
    with victim_of(target.port) as victim:
        target.connections[0].close()
        with fails(SessionLost, "control queue: connection lost"):
            victim.driver.set_writeback(True)
        victim.is_lost()


def test_closing_while_requests_are_in_flight(target: ScriptedTarget) -> None:
    victim = Victim(target.port, queues=2)
    hold = Hold()
    target.hooks.append(hold)
    readers = [Background(victim.read) for _ in range(6)]
    hold.take(6)
    Background(victim.driver.close).result(5)
    for reader in readers:
        with fails(SessionLost):
            reader.result(5)
    victim.is_lost()


def test_closing_towards_a_target_that_does_not_answer_any_more(
    target: ScriptedTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vof.initiator.association.DISCONNECT_TIMEOUT", 0.1)
    victim = Victim(target.port)
    target.hooks += [on(VRING, silence), on(1, silence)]
    reader = Background(victim.read)
    target.wait_for(lambda: VRING in target.opcodes())
    Background(victim.driver.close).result(5)
    with fails(SessionLost):
        reader.result(5)
