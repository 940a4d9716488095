# SPDX-License-Identifier: BSD-3-Clause
"""A link that somebody looks at: each message once, and the queue over it as ever."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest

from tests.support.scripted_link import FakeDevice, ScriptedLink
from tests.unit.fabric.rdma.keyed_rig import SIZE
from vof.fabric.rdma.memory import Pool
from vof.fabric.rdma.queue import RdmaQueue
from vof.fabric.rdma.tapped import TappedLink
from vof.wire.constants import Command
from vof.wire.dialect import PROPOSAL

COMMAND = PROPOSAL.encode(Command.GET_DEVICE_ID, 5)


class Seen:
    def __init__(self) -> None:
        self.passed: list[tuple[str, bytes]] = []
        self.closes = 0

    def sent(self, data: bytes) -> None:
        self.passed.append(("sent", data))

    def received(self, data: bytes) -> None:
        self.passed.append(("received", data))

    def closed(self) -> None:
        self.closes += 1


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice()


@pytest.fixture
def link(device: FakeDevice) -> ScriptedLink:
    return ScriptedLink(device)


@pytest.fixture
def queue(device: FakeDevice, link: ScriptedLink, seen: Seen) -> Iterator[RdmaQueue]:
    pool = Pool(device.register, 256 << 10, 512 << 10)
    found = RdmaQueue(TappedLink(link, seen), pool, "q", lambda *_lost: None, 5.0, SIZE)
    yield found
    found.close()
    pool.close()


def test_messages(queue: RdmaQueue, link: ScriptedLink, seen: Seen) -> None:
    pending = queue.prepare_control("get_device_id", COMMAND)
    queue.submit(pending)
    assert link.far.receive().data == COMMAND
    link.far.complete(5, 2)
    queue.wait(pending)
    queue.release(pending)
    (sent, received) = seen.passed
    assert sent == ("sent", COMMAND)
    assert received[0] == "received"
    assert received[1][:4] == b"\0\0\5\0"
    queue.close()
    assert (link.closed, seen.closes) == (1, 1)


def test_what_finds_no_room_is_offered_again_and_seen_once(
    device: FakeDevice, link: ScriptedLink, seen: Seen
) -> None:
    tapped = TappedLink(link, seen)
    memory = ctypes.create_string_buffer(COMMAND, len(COMMAND))
    addr = ctypes.addressof(memory)
    region = device.register(addr, len(COMMAND))
    link.room = 0
    assert not tapped.send(addr, len(COMMAND), region.lkey)
    assert not tapped.send(addr, len(COMMAND), region.lkey)
    link.room = None
    assert tapped.send(addr, len(COMMAND), region.lkey)
    assert tapped.send(addr, len(COMMAND), region.lkey)
    assert seen.passed == [("sent", COMMAND)] * 2
    link.stop()
    link.close()
