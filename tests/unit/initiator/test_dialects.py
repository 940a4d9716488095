# SPDX-License-Identifier: BSD-3-Clause
"""Which dialect a session speaks, what it sends in it, and the events that later ones have."""

from __future__ import annotations

import errno
import threading

import pytest

from tests.support.loopback import unused_ports
from tests.support.protocol_numbers import (
    CONNECT,
    DISCONNECT,
    GET_CONFIG,
    GET_GENERATION,
    GET_NUM_QUEUES,
    GET_QUEUE_SIZE,
    GET_VENDOR_ID,
    RESET_DEVICE,
    SET_QUEUE_SIZE,
    SET_STATUS,
    VQ,
    VRING,
)
from tests.support.scripted_target import (
    Command,
    Device,
    ScriptedTarget,
    completion,
    fragile,
    on,
    silence,
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


VENDOR_VOF = 0x564F4631


class TestAuto:
    def test_stays_with_the_proposal(self, serve: Serve) -> None:
        target = serve()
        with Session.open(parameters_for(target, dialect="auto")) as session:
            assert session.dialect == "proposal"
            assert len(target.connections) == 1

    def test_harms_nobody(self, serve: Serve) -> None:
        """A target that dies as the reference target does serves its device to the end."""
        target = serve(fragile(features=0x1006))
        driver = BlockDriver.open(parameters_for(target, dialect="auto"), 2)
        with driver.session as session:
            assert session.dialect == "proposal"
            data = bytearray(512)
            request = driver.start_read(0, memoryview(data))
            assert request is not None
            driver.finish(request)
        assert not target.died

    def test_goes_on_as_v5_where_the_target_is_ours(self, serve: Serve) -> None:
        """In the order of a good end: Disconnect, and the next Connect when the target has closed
        the connection."""
        targets: list[ScriptedTarget] = []

        def then_v5(command: Command) -> None:
            target = targets[0]
            target.device.dialect = "v5"
            command.connection.send(completion(0, command.command_id))
            command.connection.close()

        targets.append(serve(Device(vendor_id=VENDOR_VOF), on(DISCONNECT, then_v5)))
        with Session.open(parameters_for(targets[0], dialect="auto")) as session:
            assert session.dialect == "v5"
            first, second = targets[0].connections
            assert first.peer != second.peer
            sent = [each.opcode for each in targets[0].commands if each.connection is first]
            assert sent == [CONNECT, GET_VENDOR_ID, DISCONNECT]
            targets[0].hooks.clear()

    @pytest.mark.parametrize("foreign", ["refuse", "close", "reset"])
    def test_tries_v5_where_the_proposal_is_not_known(self, serve: Serve, foreign: str) -> None:
        target = serve(Device(dialect="v5", foreign=foreign))
        with Session.open(parameters_for(target, dialect="auto")) as session:
            assert session.dialect == "v5"
            # The refused one leaves no trace there: see the scripted target.
            assert len(target.connections) == 1

    def test_from_the_same_port(self, serve: Serve) -> None:
        """The first connection does not hold the port that the user wants."""
        iport = unused_ports(2)
        target = serve(Device(dialect="v5"))
        with Session.open(parameters_for(target, dialect="auto", iport=iport)) as session:
            assert session.dialect == "v5"
            assert target.connections[0].peer[1] == iport

    def test_a_refusal_of_the_device_is_the_answer(self, serve: Serve) -> None:
        target = serve(Device(tvqn="another"))
        with pytest.raises(ConnectError, match="has no device") as caught:
            Session.open(parameters_for(target, dialect="auto"))
        assert caught.value.errno == errno.ENODEV
        assert len(target.connections) == 1

    def test_so_it_is_in_v5(self, serve: Serve) -> None:
        target = serve(Device(dialect="v5", tvqn="another"))
        with pytest.raises(ConnectError, match="has no device") as caught:
            Session.open(parameters_for(target, dialect="auto"))
        assert caught.value.errno == errno.ENODEV

    def test_silence_is_not_tried_again(self, serve: Serve) -> None:
        target = serve(Device(), on(CONNECT, silence))
        parameters = parameters_for(target, dialect="auto")
        parameters.connect_timeout = 0.2
        with pytest.raises(ConnectError, match="no answer to connect"):
            Session.open(parameters)
        assert len(target.connections) == 1

    def test_neither(self, serve: Serve) -> None:
        """What was said to the proposal is told, where v5 brings no answer."""
        target = serve(Device(dialect="v2"))
        with pytest.raises(ConnectError, match="EPROTO") as caught:
            Session.open(parameters_for(target, dialect="auto"))
        assert caught.value.errno == errno.EPROTO


@pytest.mark.parametrize(
    ("dialect", "spoken"), [("proposal", "v2"), ("v2", "proposal"), ("v5", "proposal")], ids=str
)
def test_a_dialect_that_the_target_does_not_speak(serve: Serve, dialect: str, spoken: str) -> None:
    target = serve(Device(dialect=spoken))
    with pytest.raises(ConnectError, match=f"refused dialect {dialect} over tcp") as caught:
        Session.open(parameters_for(target, dialect=dialect))
    assert caught.value.errno == errno.EPROTO
    assert str(caught.value).endswith("use dialect=auto")


def test_where_v2_has_the_device_status(serve: Serve) -> None:
    target = serve(Device(dialect="v2"))
    ready(target, "v2").close()
    assert written(target, 8) == [0, 1, 3, 0xB, 0xF]
    assert set(written(target, 4)) == {0}


def test_what_is_sent_in_v5(serve: Serve) -> None:
    """A reset by the command there is for it, a Connect without names for the virtqueue, its size
    in that, and a Disconnect on each connection, the control queue's last."""
    target = serve(Device(dialect="v5"))
    parameters = parameters_for(target, dialect="v5")
    parameters.queue_size = 64
    session = Session.open(parameters)
    session.negotiate((1 << 64) - 1)
    session.open_virtqueues(2)
    session.driver_ok()
    session.close()
    assert written(target, 4) == [1, 3, 0xB, 0xF]
    sent = target.opcodes()
    assert sent.count(RESET_DEVICE) == 1
    assert not {GET_NUM_QUEUES, SET_QUEUE_SIZE, GET_GENERATION} & set(sent)
    connects = [each for each in target.commands if each.opcode == CONNECT]
    assert [len(each.payload) for each in connects] == [1024, 0, 0]
    assert [each.raw[12:14] for each in connects] == [b"\0\0", b"\x40\0", b"\x40\0"]
    ends = [each.connection.queue for each in target.commands if each.opcode == DISCONNECT]
    assert set(ends[:-1]) == {0, 1}
    assert len(ends) == 3
    assert ends[-1] == -1


@pytest.mark.parametrize(("dialect", "opcode"), [("v2", VRING), ("v5", VQ)])
def test_requests_of_a_later_one(serve: Serve, dialect: str, opcode: int) -> None:
    target = serve(Device(dialect=dialect))
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


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 9, 250])
def test_how_many_virtqueues_there_are_in_v5(serve: Serve, count: int) -> None:
    target = serve(Device(dialect="v5", num_queues=count))
    with Session.open(parameters_for(target, dialect="v5")) as session:
        assert session.queue_sizes.count() == count
        assert target.opcodes().count(GET_QUEUE_SIZE) <= 18
        assert session.queue_sizes.up_to(3) == min(count, 3)


class TestEvents:
    @pytest.fixture
    def target(self, serve: Serve) -> ScriptedTarget:
        return serve(Device(dialect="v2"))

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
        target = serve(Device(dialect="v2"))
        driver, seen = self.open(target)
        with driver.session:
            before = driver.size
            self.set_capacity(target, sectors)
            wait_until(lambda: bool(seen), "the resize")
            assert seen == [(before, sectors * 512)]
            assert driver.size == driver.geometry.capacity == sectors * 512

    def test_while_the_device_is_opened(self, serve: Serve) -> None:
        """The capacity was read already, and nobody watched yet."""
        target = serve(Device(dialect="v2"))

        def resize(command: Command) -> None:
            target.hooks.clear()
            self.set_capacity(target, 4096)
            command.reply(128)

        target.hooks.append(on(GET_QUEUE_SIZE, resize))
        driver, _seen = self.open(target)
        with driver.session:
            wait_until(lambda: driver.size == 4096 * 512, "the resize")

    def test_of_something_else_changes_nothing(self, serve: Serve) -> None:
        target = serve(Device(dialect="v2"))
        driver, seen = self.open(target)
        with driver.session:
            reads = target.opcodes().count(GET_CONFIG)
            self.set_capacity(target, driver.size // 512)
            target.wait_for(lambda: target.opcodes().count(GET_CONFIG) > reads)
            self.set_capacity(target, 16)
            wait_until(lambda: bool(seen), "the resize")
            assert [now for _before, now in seen] == [16 * 512]

    def test_to_what_cannot_be_ends_the_session(self, serve: Serve) -> None:
        target = serve(Device(dialect="v2"))
        driver, seen = self.open(target)
        with driver.session as session:
            self.set_capacity(target, 1 << 60)
            wait_until(lambda: session.error is not None, "the end")
            assert "capacity of 1152921504606846976 sectors" in str(session.error)
            assert seen == []
