# SPDX-License-Identifier: BSD-3-Clause
"""The console driver: what it keeps with the device, and what answers it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.loopback import Background
from tests.support.scripted_target import (
    Command,
    Device,
    Hold,
    Hook,
    ScriptedTarget,
    vring_completion,
)
from tests.support.sessions import parameters_for
from vof.drivers.console import MAX_TRANSMIT, RECEIVE_SIZE, RECEIVES, ConsoleDriver
from vof.errors import CompletionError, RemoteProtocolError, SessionLost

TVQN = "scripted/console.service"

Serve = Callable[..., ConsoleDriver]


@pytest.fixture
def serve(leaves_nothing: None) -> Iterator[Serve]:
    """Return an opener of a driver of a scripted console."""
    opened: list[tuple[ConsoleDriver, ScriptedTarget]] = []

    def start(*hooks: Hook) -> ConsoleDriver:
        device = Device(
            tvqn=TVQN, device_id=3, num_queues=2, queue_size=8, features=0, config=bytes(12)
        )
        target = ScriptedTarget(device, *hooks)
        opened.append((ConsoleDriver.open(parameters_for(target, tvqn=TVQN)), target))
        return opened[-1][0]

    yield start
    for driver, target in opened:
        driver.close()
        target.stop()


def test_requests_are_posted_before_anyone_reads(serve: Serve) -> None:
    hold = Hold()
    driver = serve(hold)
    held = hold.take(RECEIVES)
    assert [command.writable[0].length for command in held] == [RECEIVE_SIZE] * RECEIVES
    for number, command in enumerate(held):
        command.complete(bytes([number]))
    # In their order; each is asked for again.
    assert [driver.read() for _ in held] == [bytes([number]) for number in range(RECEIVES)]
    hold.take(RECEIVES)


def test_a_write_goes_in_pieces(serve: Serve) -> None:
    hold = Hold()
    driver = serve(hold)
    hold.take(RECEIVES)
    writing = Background(driver.write, memoryview(bytes(MAX_TRANSMIT + 1)))
    for size in (MAX_TRANSMIT, 1):
        (command,) = hold.take(1)
        assert (len(command.payload), command.writable) == (size, [])
        command.complete()
    writing.result()


def hang_up(command: Command) -> None:
    command.connection.close()


def refuse(command: Command) -> None:
    command.reply(status=5)


def more_than_asked(command: Command) -> None:
    command.connection.send(vring_completion(command, [bytes(RECEIVE_SIZE + 1)]))


@pytest.mark.parametrize(
    ("action", "error"),
    [
        (hang_up, SessionLost),
        (refuse, CompletionError),
        (more_than_asked, RemoteProtocolError),
    ],
)
def test_bad_answers(
    serve: Serve, action: Callable[[Command], None], error: type[Exception]
) -> None:
    hold = Hold()
    driver = serve(hold)
    action(hold.take(RECEIVES)[0])
    with pytest.raises(error):
        driver.read()
