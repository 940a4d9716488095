# SPDX-License-Identifier: BSD-3-Clause
"""Mistakes of our own, and a system with nothing left: one association pays, with one log line."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.target.conftest import Innocent, Log, Serve, address_of
from tests.target.peer import BLOCK2, IN, OK, Association, Peer, connect_bytes, request_bytes
from vof.target.devices.block import BlockInstance

Handle = Callable[[BlockInstance, int, memoryview, memoryview], int]


@pytest.fixture
def broken_type(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let requests of one type run into a mistake."""
    good: Handle = BlockInstance.execute

    def bad(self: BlockInstance, queue: int, readable: memoryview, writable: memoryview) -> int:
        if readable[0] == 77:
            raise ZeroDivisionError("a mistake\nof two lines")
        return good(self, queue, readable, writable)

    monkeypatch.setattr(BlockInstance, "execute", bad)
    return 77


@pytest.mark.parametrize("threads", [1, 2])
def test_an_exception_in_a_request(serve: Serve, log: Log, broken_type: int, threads: int) -> None:
    where = address_of(serve(threads=threads))
    with Innocent(where) as innocent:
        with Association(where, BLOCK2, queues=2) as association:
            association.queue.send(request_bytes(broken_type))
            assert association.is_closed()
        (line,) = log.lines("internal-error")
        assert "ZeroDivisionError at bad, line" in line
        innocent.check()
        with Association(where, BLOCK2) as association:
            assert association.queue.request(IN, room=512)[0] == OK


def test_an_exception_in_a_control_command(
    serve: Serve, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bad(self: BlockInstance) -> bytes:
        raise KeyError("config")

    where = address_of(serve())
    with Innocent(where) as innocent, Association(where) as association:
        monkeypatch.setattr(BlockInstance, "read_config", bad)
        association.control.send(b"\x0a\x10" + bytes(4) + b"\1" + bytes(9))
        assert association.is_closed()
        innocent.check()
    assert len(log.lines("internal-error")) == 1


@pytest.mark.parametrize("victim", ["vof-2-c", "vof-2-0"])
def test_no_more_threads(
    serve: Serve, log: Log, monkeypatch: pytest.MonkeyPatch, victim: str
) -> None:
    good = threading.Thread.start

    def start(self: threading.Thread) -> None:
        if self.name == victim:
            raise RuntimeError("can't start new thread")
        good(self)

    where = address_of(serve())
    with Innocent(where) as innocent:
        monkeypatch.setattr(threading.Thread, "start", start)
        with Peer(where) as control, Peer(where) as queue:
            assert control.connect() == 2
            if victim == "vof-2-0":
                assert queue.send(connect_bytes(2, 0)).completion().status == 0
                assert queue.is_closed()
            assert control.is_closed()
        assert len(log.lines("no-thread")) == 1
        innocent.check()
        monkeypatch.undo()
        with Association(where) as association:
            assert association.queue.request(IN, room=512)[0] == OK


def test_a_host_name(serve: Serve) -> None:
    target = serve(address="localhost")
    assert target.address in ("127.0.0.1", "::1")
    with Association(address_of(target)) as association:
        assert association.queue.request(IN, room=512)[0] == OK


def test_stopping_twice_and_before_the_start(serve: Serve) -> None:
    target = serve()
    target.stop()
    target.stop()
    with pytest.raises(ConnectionError):
        Peer(address_of(target))
    target.start()
    with Association(address_of(target)) as association:
        assert association.queue.request(IN, room=512)[0] == OK
