# SPDX-License-Identifier: BSD-3-Clause
"""The time of an opening: one for all its parts, and each command's own afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.support.protocol_numbers import CONNECT, GET_DEVICE_ID, GET_QUEUE_SIZE
from tests.support.scripted_target import Command, Device, Hook, on, silence
from tests.support.sessions import parameters_for
from tests.support.target_fixtures import Serve
from vof.errors import ConnectError, SessionLost
from vof.fabric.destination import Destination
from vof.initiator.portal import Portal
from vof.initiator.session import Session

Left = Callable[[float], None]
"""Says how many seconds are left of an opening."""


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> Left:
    made: list[Destination] = []

    begin = Portal.destination

    def noted(portal: Portal, seconds: float) -> Destination:
        made.append(begin(portal, seconds))
        return made[-1]

    monkeypatch.setattr(Portal, "destination", noted)

    def set_left(seconds: float) -> None:
        made[-1].deadline.at = time.monotonic() + seconds

    return set_left


def once_asked(opcode: int, act: Callable[[], None]) -> Hook:
    """Return a hook that acts before a command is answered as ever."""

    def hook(command: Command) -> bool:
        if command.opcode == opcode:
            act()
        return False

    return hook


@pytest.mark.usefixtures("leaves_nothing")
class TestTime:
    def test_that_is_over_between_two_commands(self, serve: Serve, left: Left) -> None:
        target = serve(Device(), once_asked(GET_DEVICE_ID, lambda: left(0.0)))
        with pytest.raises(ConnectError, match=r":\d+ was not open within 10 s; is the network"):
            Session.open(parameters_for(target))

    def test_of_a_virtqueue_is_what_the_others_left(self, serve: Serve, left: Left) -> None:
        target = serve(
            Device(),
            once_asked(GET_QUEUE_SIZE, lambda: left(0.2)),
            on(CONNECT, silence, nth=2),
        )
        with Session.open(parameters_for(target)) as opened:
            opened.negotiate(0)
            with pytest.raises(SessionLost, match=r"no answer to connect within 0\.[12] s"):
                opened.open_virtqueues(1)

    def test_begins_anew_for_virtqueues_that_are_wanted_later(
        self, serve: Serve, left: Left
    ) -> None:
        with Session.open(parameters_for(serve())) as opened:
            left(0.0)
            opened.opened()
            opened.negotiate(0)
            assert len(opened.open_virtqueues(1)) == 1
