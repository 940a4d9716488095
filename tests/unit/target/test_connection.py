# SPDX-License-Identifier: BSD-3-Clause
"""The order in which an association's connections end, over every transport."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

from tests.unit.target.place import Place, caller
from tests.unit.target.rdma.verbs_free import Heap, QueuePair
from vof.target.association import ConnectedQueue
from vof.target.connection import Connection
from vof.target.rdma.connection import KeyedConnection
from vof.target.rdma.memory import PAGE
from vof.target.rdma.send_queue import SendQueue
from vof.target.tcp.connection import StreamConnection

Make = Callable[[], tuple[Connection, Callable[[ConnectedQueue], None]]]


def stream() -> tuple[Connection, Callable[[ConnectedQueue], None]]:
    sock, other = socket.socketpair()
    other.close()
    connection = StreamConnection(sock, "peer", threads=0, send_timeout=1.0)
    return connection, connection.connect


class NoEndpoint:
    """An endpoint of nothing."""

    peer = "peer"

    def shut_down(self) -> None: ...

    def close(self) -> None: ...


def keyed() -> tuple[Connection, Callable[[ConnectedQueue], None]]:
    connection = KeyedConnection(NoEndpoint(), threads=0, eager=0, send_timeout=1.0)  # type: ignore[arg-type]
    heap = Heap()
    sends = SendQueue(QueuePair(heap), heap.register(PAGE), 0, 8)
    return connection, lambda connected: connection.connect(connected, b"", sends)


class Served:
    """A connection in its thread, which serves until it is told to go on."""

    def __init__(
        self,
        place: Place,
        make: Make,
        connect: Callable[[Connection], ConnectedQueue],
        said: list[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.go_on = threading.Event()
        self.aborted = threading.Event()
        connection, begin = make()
        self.connected = connect(connection)
        begin(self.connected)
        name = "control" if connection.is_control else "queue"
        settle, close, abort = connection.settle, connection.close, connection.abort

        def noting(word: str, then: Callable[[], None]) -> Callable[[], None]:
            def call() -> None:
                said.append(f"{name} {word}")
                then()

            return call

        def noting_abort() -> None:
            abort()
            self.aborted.set()

        monkeypatch.setattr(connection, "serve", lambda: self.go_on.wait(10))
        monkeypatch.setattr(connection, "settle", noting("settled", settle))
        monkeypatch.setattr(connection, "close", noting("closed", close))
        monkeypatch.setattr(connection, "abort", noting_abort)
        self.thread = threading.Thread(target=connection.run, args=(place.table.release,))
        self.thread.start()


@pytest.mark.parametrize("make", [stream, keyed])
def test_the_control_connection_closes_after_all_work(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, said = Place(), list[str]()
    control = Served(
        place,
        make,
        lambda link: place.table.connect_control(caller(), link),
        said,
        monkeypatch,
    )
    target_id = control.connected.association.target_id
    queue = Served(
        place,
        make,
        lambda link: place.table.connect_queue(target_id, 1, caller(), link),
        said,
        monkeypatch,
    )
    control.go_on.set()
    # The association has ended; its queue is still at work.
    assert queue.aborted.wait(10)
    assert said == ["control settled"]
    assert control.thread.is_alive()
    queue.go_on.set()
    control.thread.join(10)
    queue.thread.join(10)
    assert said[:2] == ["control settled", "queue settled"]
    assert sorted(said[2:]) == ["control closed", "queue closed"]
    assert not place.table.users()["dev"]
