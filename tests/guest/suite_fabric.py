# SPDX-License-Identifier: BSD-3-Clause
"""The initiator over RDMA, with a target whose every READ, WRITE and SEND is the test's. Runs
inside: see `scenario_fabric`.
"""

import os
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.guest import rxe
from tests.guest.verbs_target import KeyedCommand, KeyedConnection, KeyedTarget
from tests.support.loopback import Background
from tests.support.protocol_numbers import VRING
from tests.support.scripted_target import TVQN, Command, Hook, completion, wait_until
from vof.drivers.block import BlockDriver
from vof.errors import CompletionError, ConnectError, RemoteProtocolError, SessionLost, VofError
from vof.initiator.parameters import SessionParameters

BLOCK = 4096
PATIENCE = 60.0


def parameters(target: KeyedTarget, **changes: object) -> SessionParameters:
    made = SessionParameters(
        tvqn=TVQN,
        taddr=target.address,
        tport=target.port,
        transport="rdma",
        connect_timeout=20.0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@contextmanager
def opened(made: SessionParameters, queues: int = 1) -> Iterator[BlockDriver]:
    driver = BlockDriver.open(made, queues)
    try:
        yield driver
    finally:
        driver.close()


def write(driver: BlockDriver, offset: int, data: bytes) -> None:
    request = driver.start_write(offset, data)
    assert request
    driver.finish(request)


def read(driver: BlockDriver, offset: int, length: int) -> bytes:
    data = bytearray(length)
    request = driver.start_read(offset, memoryview(data))
    assert request
    driver.finish(request)
    return bytes(data)


def on_request(action: Callable[[KeyedCommand], None]) -> Hook:
    """Have the target answer requests by ``action`` alone."""

    def hook(command: Command) -> bool:
        if command.opcode != VRING:
            return False
        assert isinstance(command, KeyedCommand)
        action(command)
        return True

    return hook


def test_what_was_written_is_read() -> None:
    with (
        KeyedTarget(rxe.FAR.address) as target,
        opened(parameters(target), 2) as driver,
    ):
        assert driver.session.dialect == "proposal"  # auto went back to it
        for size in (512, BLOCK, 65536 + 512, driver.geometry.max_transfer // 4):
            data = random.Random(size).randbytes(size)
            write(driver, 1024, data)
            assert read(driver, 1024, size) == data
        assert driver.get_id() == target.device.serial.decode()


def test_many_threads_and_nobody_is_ever_not_ready() -> None:
    before = [port.counter("send_rnr_err") for port in (rxe.NEAR, rxe.FAR)]
    with KeyedTarget(rxe.FAR.address) as target, opened(parameters(target), 1) as driver:

        def work(number: int) -> None:
            data = random.Random(number).randbytes(BLOCK)
            for _ in range(5):
                write(driver, number * BLOCK, data)
                assert read(driver, number * BLOCK, BLOCK) == data

        for thread in [Background(work, number) for number in range(16)]:
            thread.result(PATIENCE)
        figures = driver.session.virtqueues[0].fabric.statistics()
        assert figures.submitted == figures.completed == 1 + 160  # with the Connect
        assert figures.doorbells == figures.sends == 1 + 160
    assert [port.counter("send_rnr_err") for port in (rxe.NEAR, rxe.FAR)] == before


VIOLATIONS: dict[str, tuple[bytes, str]] = {
    "not in flight": (completion(0, 77), "command id 77, which is not in flight"),
    "short": (b"\0" * 4, "a completion of 4 bytes instead of 16"),
    "longer": (b"\0" * 24, "a completion of 24 bytes instead of 16"),
    "long": (b"\0" * 200, "a completion of more than 32 bytes"),
    "more than its room": (completion(0, 0, 1, 1 << 30), "where the command has room for"),
    "an event": (completion(0, 0xFFFE), "command id 65534, which is not in flight"),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation_ends_the_session(name: str) -> None:
    message, words = VIOLATIONS[name]
    hook = on_request(lambda command: command.connection.send(message))
    with (
        KeyedTarget(rxe.FAR.address, None, hook) as target,
        opened(parameters(target), 1) as driver,
    ):
        with pytest.raises(RemoteProtocolError, match=words) as caught:
            read(driver, 0, BLOCK)
        assert "\n" not in str(caught.value)
        assert isinstance(driver.session.error, RemoteProtocolError)


@pytest.mark.parametrize("status", [133, 65535])
def test_any_status_is_an_error_of_the_request_alone(status: int) -> None:
    answers = [status, 0]

    def answer(command: KeyedCommand) -> None:
        if found := answers.pop(0):
            command.reply(status=found)
        else:
            command.perform()

    with (
        KeyedTarget(rxe.FAR.address, None, on_request(answer)) as target,
        opened(parameters(target), 1) as driver,
    ):
        with pytest.raises(CompletionError, match=f"with status {status}: "):
            read(driver, 0, BLOCK)
        assert read(driver, 0, BLOCK) == bytes(BLOCK)


def leave(command: KeyedCommand) -> None:
    command.connection.disconnect()


def use_a_wrong_key(command: KeyedCommand) -> None:
    command.connection.write(command.writable[0], b"x", key=0xDEAD)


def write_beyond(command: KeyedCommand) -> None:
    """Beyond all the memory that the key names."""
    there = command.writable[0]
    command.connection.write(there._replace(addr=there.addr + (64 << 20)), b"x")


_DENIED = (
    "connection lost: (the queue pair failed; did the target use a key that is not ours"
    "|closed by the target)"  # which it does next, and may be seen first
)

ENDS: dict[Callable[[KeyedCommand], None], str] = {
    leave: "connection lost: closed by the target",
    use_a_wrong_key: _DENIED,
    write_beyond: _DENIED,
}


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_an_end_reaches_every_request(end: Callable[[KeyedCommand], None]) -> None:
    calm = threading.Event()

    def answer(command: KeyedCommand) -> None:
        if calm.wait(PATIENCE):
            end(command)

    with (
        KeyedTarget(rxe.FAR.address, None, on_request(answer)) as target,
        opened(parameters(target), 1) as driver,
    ):
        readers = [Background(read, driver, 0, BLOCK) for _ in range(4)]
        wait_until(
            lambda: driver.session.virtqueues[0].fabric.activity().in_flight == 4,
            "requests in flight",
        )
        calm.set()
        for reader in readers:
            with pytest.raises(SessionLost, match=ENDS[end]) as caught:
                reader.result(PATIENCE)
            assert "\n" not in str(caught.value)
        assert driver.session.is_lost()


def test_a_host_that_vanishes_is_noticed() -> None:
    """It sends nothing any more, not even that it leaves: the probe of who waits fails."""
    kept: list[KeyedCommand] = []
    with (
        KeyedTarget(rxe.FAR.address, None, on_request(kept.append)) as target,
        opened(parameters(target)) as driver,
    ):
        reader = Background(read, driver, 0, BLOCK)
        target.wait_for(lambda: bool(target.requests()))
        rxe.cut()
        try:
            with pytest.raises(SessionLost, match="lost: the target's host does not answer"):
                reader.result(PATIENCE)
        finally:
            rxe.mend()


def test_a_target_that_posts_no_receives() -> None:
    """Nobody can tell it from a slow one: what is left of the opening's time ends it."""
    with (
        KeyedTarget(rxe.FAR.address, receives=0) as target,
        pytest.raises(ConnectError, match=r"no answer to connect within [0-2](\.\d+)? s"),
    ):
        BlockDriver.open(parameters(target, connect_timeout=2.0))


def test_a_target_that_never_accepts() -> None:
    with (
        KeyedTarget(rxe.FAR.address, accepts=lambda: False) as target,
        pytest.raises(ConnectError, match=r"no answer within 2 s; is the target's host up"),
    ):
        BlockDriver.open(parameters(target, connect_timeout=2.0))


def test_a_request_takes_too_long() -> None:
    kept: list[KeyedCommand] = []
    with (
        KeyedTarget(rxe.FAR.address, None, on_request(kept.append)) as target,
        opened(parameters(target, timeout=0.5), 1) as driver,
    ):
        with pytest.raises(SessionLost, match=r"no answer to .* within 0\.5 s"):
            read(driver, 0, BLOCK)
        # From here on the target reaches nothing of ours.
        with pytest.raises(OSError, match=r"status|no completion|closed"):
            kept[0].connection.write(kept[0].writable[0], b"x")


ADDRESSES = {
    rxe.UNSERVED: "no RDMA device leads|refused",
    "127.0.0.1": "(is no address of an RDMA device|no RDMA device leads to 127.0.0.1); RDMA",
    "10.40.1.77": "no answer within|no RDMA device leads",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_where_no_target_can_be(address: str) -> None:
    made = SessionParameters(tvqn=TVQN, taddr=address, transport="rdma", connect_timeout=5.0)
    with pytest.raises(ConnectError, match=ADDRESSES[address]) as caught:
        BlockDriver.open(made)
    assert "\n" not in str(caught.value)


def test_nobody_listens() -> None:
    with socket.create_server((rxe.FAR.address, 0)) as taken:
        port = taken.getsockname()[1]
    made = SessionParameters(tvqn=TVQN, taddr=rxe.FAR.address, tport=port, transport="rdma")
    with pytest.raises(ConnectError, match="refused; is a target listening there with transport"):
        BlockDriver.open(made)


def test_the_local_end() -> None:
    with KeyedTarget(rxe.FAR.address) as target:
        made = parameters(target, iaddr=rxe.NEAR.address, iport=23000)
        with opened(made, 1) as driver:
            write(driver, 0, bytes(BLOCK))
        made = parameters(target, iaddr=rxe.UNSERVED)
        with pytest.raises(ConnectError, match=f"iaddr={rxe.UNSERVED}.*no RDMA device has this"):
            BlockDriver.open(made, 1)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_sessions_leave_nothing_open() -> None:
    with KeyedTarget(rxe.FAR.address) as target:

        def session() -> None:
            with opened(parameters(target, dialect="proposal"), 2) as driver:
                write(driver, 0, bytes(BLOCK))

        session()
        target.wait_for_ends()
        before = descriptors(), threading.active_count()
        for _ in range(5):
            session()
        wait_until(lambda: (descriptors(), threading.active_count()) == before, "all to be closed")


def test_a_child_closes_its_copy_and_the_parent_goes_on() -> None:
    with KeyedTarget(rxe.FAR.address) as target, opened(parameters(target), 1) as driver:
        write(driver, 0, b"x" * BLOCK)
        child = os.fork()
        if not child:
            try:
                driver.close()
            except VofError:
                os._exit(1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert read(driver, 0, BLOCK) == b"x" * BLOCK


def test_a_target_that_leaves_while_nothing_is_in_flight() -> None:
    with KeyedTarget(rxe.FAR.address) as target, opened(parameters(target), 1) as driver:
        connection = target.keyed()[-1]
        assert isinstance(connection, KeyedConnection)
        connection.disconnect()
        wait_until(driver.session.is_lost, "the session to notice")
        with pytest.raises(SessionLost, match="closed by the target"):
            read(driver, 0, BLOCK)
