# SPDX-License-Identifier: BSD-3-Clause
"""Which dialect a session speaks, what it sends in it, and the events that later ones have."""

from __future__ import annotations

import errno
import threading

import pytest

from tests.support.loopback import unused_ports
from tests.support.protocol_numbers import (
    CONNECT,
    GET_CONFIG,
    GET_FEATURE,
    GET_QUEUE_SIZE,
    SET_STATUS,
    VQ,
    VRING,
)
from tests.support.scripted_target import (
    Command,
    Device,
    ScriptedTarget,
    completion,
    on,
    wait_until,
)
from tests.support.sessions import parameters_for
from tests.support.target_fixtures import Serve
from vof.drivers.block import BlockDriver
from vof.errors import ConnectError, RemoteProtocolError
from vof.initiator.session import Session

CONFIG_CHANGE = completion(0, 0xFFFE)


def ready(target: ScriptedTarget, dialect: str) -> Session:
    session = Session.open(parameters_for(target, dialect=dialect))
    session.negotiate((1 << 64) - 1)
    session.open_virtqueues(1)
    session.driver_ok()
    return session


def written(target: ScriptedTarget, offset: int) -> list[int]:
    return [each.raw[offset] for each in target.commands if each.opcode == SET_STATUS]


class TestAuto:
    def test_begins_as_the_latest(self, serve: Serve) -> None:
        target = serve(Device(oftype=1))
        with Session.open(parameters_for(target, dialect="auto")) as session:
            assert session.dialect == "v5"
            assert len(target.connections) == 1

    def test_goes_back_to_the_proposal(self, serve: Serve) -> None:
        target = serve()
        with Session.open(parameters_for(target, dialect="auto")) as session:
            assert session.dialect == "proposal"
            # The refused one leaves no trace there: see the scripted target.
            assert [command.raw[10] for command in target.commands[:1]] == [0]

    def test_from_the_same_port(self, serve: Serve) -> None:
        """The refused connection does not hold the port that the user wants."""
        iport = unused_ports(2)
        target = serve()
        with Session.open(parameters_for(target, dialect="auto", iport=iport)) as session:
            assert session.dialect == "proposal"
            assert target.connections[0].peer[1] == iport

    def test_does_not_try_again_what_was_refused_for_another_reason(self, serve: Serve) -> None:
        target = serve(Device(oftype=1, tvqn="another"))
        with pytest.raises(ConnectError, match="has no device") as caught:
            Session.open(parameters_for(target, dialect="auto"))
        assert caught.value.errno == errno.ENODEV
        assert len(target.connections) == 1


@pytest.mark.parametrize(("dialect", "oftype"), [("proposal", 1), ("v2", 0), ("v5", 0)], ids=str)
def test_a_dialect_that_the_target_does_not_speak(serve: Serve, dialect: str, oftype: int) -> None:
    target = serve(Device(oftype=oftype))
    with pytest.raises(ConnectError, match=f"refused dialect {dialect} over tcp") as caught:
        Session.open(parameters_for(target, dialect=dialect))
    assert caught.value.errno == errno.EPROTO
    assert str(caught.value).endswith("use dialect=auto")


@pytest.mark.parametrize("dialect", ["v2", "v5"])
def test_what_is_sent_in_a_later_one(serve: Serve, dialect: str) -> None:
    target = serve(Device(oftype=1))
    ready(target, dialect).close()
    connects = [each for each in target.commands if each.opcode == CONNECT]
    assert [each.raw[10] for each in connects] == [1, 1]
    assert GET_FEATURE not in target.opcodes()
    assert written(target, 8) == [0, 1, 3, 0xB, 0xF]
    assert set(written(target, 4)) == {0}


@pytest.mark.parametrize(("dialect", "opcode"), [("v2", VRING), ("v5", VQ)])
def test_requests_of_a_later_one(serve: Serve, dialect: str, opcode: int) -> None:
    target = serve(Device(oftype=1))
    driver = BlockDriver.open(parameters_for(target, dialect=dialect), 1)
    with driver.session as session:
        target.device.disk[512:1024] = b"v" * 512
        data = bytearray(512)
        request = driver.start_read(512, memoryview(data))
        assert request is not None
        driver.finish(request)
        assert data == b"v" * 512
        assert session.max_segs == (128 if opcode == VRING else 0xFEFF)
        assert [each.opcode for each in target.requests()] == [opcode]


class TestEvents:
    @pytest.fixture
    def target(self, serve: Serve) -> ScriptedTarget:
        return serve(Device(oftype=1))

    def test_a_config_change_is_told(self, target: ScriptedTarget) -> None:
        told = threading.Event()
        with ready(target, "v2") as session:
            session.watch_config(told.set)
            assert not told.is_set()
            target.connections[0].send(CONFIG_CHANGE)
            assert told.wait(20)

    def test_one_that_comes_along_with_an_answer(self, target: ScriptedTarget) -> None:
        """Whoever waits for the answer receives it, not the thread that watches."""
        told = threading.Event()

        def answer(command: object) -> bool:
            target.connections[0].send(CONFIG_CHANGE)
            return False

        with ready(target, "v2") as session:
            session.watch_config(told.set)
            target.hooks.append(answer)
            session.control.get_status()
            assert told.wait(20)
            target.hooks.clear()

    def test_a_keepalive_is_ignored(self, target: ScriptedTarget) -> None:
        told = threading.Event()
        with ready(target, "v2") as session:
            session.watch_config(told.set)
            target.connections[0].send(completion(0, 0xFFFF) + CONFIG_CHANGE)
            assert told.wait(20)
            assert session.error is None

    def test_an_idle_session_notices_its_end(self, target: ScriptedTarget) -> None:
        with ready(target, "v2") as session:
            session.watch_config(lambda: None)
            target.connections[0].close()
            wait_until(lambda: session.error is not None, "the end")

    def test_on_a_virtqueue_it_is_a_violation(self, target: ScriptedTarget) -> None:
        with ready(target, "v2") as session:
            target.connections[1].send(CONFIG_CHANGE)
            wait_until(session.is_lost, "the end")
            assert isinstance(session.error, RemoteProtocolError)

    def test_in_the_proposal_it_is_a_violation(self, serve: Serve) -> None:
        target = serve()
        with ready(target, "proposal") as session:
            session.watch_config(lambda: None)
            target.connections[0].send(CONFIG_CHANGE)
            wait_until(session.is_lost, "the end")
            assert isinstance(session.error, RemoteProtocolError)

    def test_nothing_is_left_of_it(self, target: ScriptedTarget) -> None:
        for _ in range(3):
            session = ready(target, "v2")
            session.watch_config(lambda: None)
            session.close()
        wait_until(
            lambda: not any(each.name == "vof-config-watch" for each in threading.enumerate()),
            "the watching threads' end",
        )


class TestResize:
    def open(self, target: ScriptedTarget) -> tuple[BlockDriver, list[tuple[int, int]]]:
        driver = BlockDriver.open(parameters_for(target, dialect="v2"), 1)
        seen: list[tuple[int, int]] = []
        driver.on_resize = lambda before, now: seen.append((before, now))
        return driver, seen

    def set_capacity(self, target: ScriptedTarget, sectors: int) -> None:
        config = target.device.config
        target.device.config = sectors.to_bytes(8, "little") + config[8:]
        target.device.generation += 1
        target.connections[0].send(CONFIG_CHANGE)

    @pytest.mark.parametrize("sectors", [4096, 8])
    def test_is_taken_over(self, serve: Serve, sectors: int) -> None:
        target = serve(Device(oftype=1))
        driver, seen = self.open(target)
        with driver.session:
            before = driver.size
            self.set_capacity(target, sectors)
            wait_until(lambda: bool(seen), "the resize")
            assert seen == [(before, sectors * 512)]
            assert driver.size == driver.geometry.capacity == sectors * 512

    def test_while_the_device_is_opened(self, serve: Serve) -> None:
        """The capacity was read already, and nobody watched yet."""
        target = serve(Device(oftype=1))

        def resize(command: Command) -> None:
            target.hooks.clear()
            self.set_capacity(target, 4096)
            command.reply(128)

        target.hooks.append(on(GET_QUEUE_SIZE, resize))
        driver, _seen = self.open(target)
        with driver.session:
            wait_until(lambda: driver.size == 4096 * 512, "the resize")

    def test_of_something_else_changes_nothing(self, serve: Serve) -> None:
        target = serve(Device(oftype=1))
        driver, seen = self.open(target)
        with driver.session:
            reads = target.opcodes().count(GET_CONFIG)
            self.set_capacity(target, driver.size // 512)
            target.wait_for(lambda: target.opcodes().count(GET_CONFIG) > reads)
            self.set_capacity(target, 16)
            wait_until(lambda: bool(seen), "the resize")
            assert [now for _before, now in seen] == [16 * 512]

    def test_to_what_cannot_be_ends_the_session(self, serve: Serve) -> None:
        target = serve(Device(oftype=1))
        driver, seen = self.open(target)
        with driver.session as session:
            self.set_capacity(target, 1 << 60)
            wait_until(lambda: session.error is not None, "the end")
            assert "capacity of 1152921504606846976 sectors" in str(session.error)
            assert seen == []
