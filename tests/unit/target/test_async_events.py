# SPDX-License-Identifier: BSD-3-Clause
"""Events that wait to be sent to one initiator."""

from __future__ import annotations

import select
import struct

from vof.target.async_events import Mailbox
from vof.wire.constants import AsyncEvent

CHANGED = struct.pack("<HHHHQ", 0, 0xFFFE, 0, 0, 0)
ALIVE = struct.pack("<HHHHQ", 0, 0xFFFF, 0, 0, 0)
CHANGED_AGAIN = struct.pack("<HHI8x", 0, 0xFFFE, 2)


def readable(box: Mailbox) -> bool:
    return bool(select.select([box], [], [], 0)[0])


def test_what_is_posted_is_taken_once() -> None:
    box = Mailbox()
    box.open()
    assert not readable(box)
    assert box.take() == b""
    for _ in range(3):
        box.post(AsyncEvent.CONFIG_CHANGE, CHANGED)
    assert readable(box)
    box.post(AsyncEvent.KEEPALIVE, ALIVE)
    assert box.take() == CHANGED + ALIVE
    assert not readable(box)
    assert box.take() == b""
    box.post(AsyncEvent.CONFIG_CHANGE, CHANGED)
    assert readable(box)
    assert box.take() == CHANGED
    box.close()


def test_what_is_posted_before_anyone_looks_waits() -> None:
    box = Mailbox()
    box.post(AsyncEvent.CONFIG_CHANGE, CHANGED)
    box.open()
    assert readable(box)
    assert box.take() == CHANGED
    box.close()


def test_a_closed_one_drops_what_comes() -> None:
    box = Mailbox()
    box.open()
    box.close()
    box.close()
    box.post(AsyncEvent.CONFIG_CHANGE, CHANGED)
    assert box.take() == b""


def test_one_that_was_never_opened_can_be_closed() -> None:
    box = Mailbox()
    box.close()
    box.post(AsyncEvent.CONFIG_CHANGE, CHANGED)


def test_the_latest_of_a_kind_is_sent() -> None:
    box = Mailbox()
    box.open()
    box.post(AsyncEvent.CONFIG_CHANGE, CHANGED)
    box.post(AsyncEvent.CONFIG_CHANGE, CHANGED_AGAIN)
    assert box.take() == CHANGED_AGAIN
    assert not readable(box)
    box.close()
