# SPDX-License-Identifier: BSD-3-Clause
"""Streams without a mount: bounded room, and no byte lost by who is let go."""

from __future__ import annotations

import select

import pytest
import trio

from vof.errors import SessionLost
from vof.gateways.fuse.nodes import Opening
from vof.gateways.fuse.streams import ROOM, Stream, StreamFile


def test_a_write_that_is_let_go_says_what_was_taken() -> None:
    stream = Stream()

    async def main() -> None:
        handle = await StreamFile(stream).open(Opening(read=True, write=True))
        written = 0
        with trio.move_on_after(0.01):
            written = await handle.write(0, bytes(ROOM + 1))
        assert written == ROOM
        with trio.move_on_after(0.01) as scope:
            await handle.write(0, b"x")
        assert scope.cancelled_caught
        assert len(stream.outgoing) == ROOM

    trio.run(main)


def test_events() -> None:
    stream = Stream()
    told: list[int] = []
    stream.watch(lambda: told.append(stream.events()))
    assert stream.events() == select.POLLOUT
    stream.incoming.put_now(b"abc")
    stream.incoming.put_now(b"d")
    assert told == [select.POLLIN | select.POLLOUT]
    stream.fail(SessionLost("gone"))
    assert stream.incoming.take_now(10) == b"abcd"
    with pytest.raises(SessionLost, match="gone"):
        stream.incoming.take_now(1)
    with pytest.raises(SessionLost):
        stream.outgoing.put_now(b"x")
    assert stream.events() & select.POLLERR
