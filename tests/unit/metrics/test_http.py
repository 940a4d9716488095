# SPDX-License-Identifier: BSD-3-Clause
"""The server of one page, and peers that mean it no good."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vof.metrics import http
from vof.metrics.endpoint import Endpoint, listen
from vof.metrics.http import MAX_CONNECTIONS, MAX_REQUEST, PageServer

PAGE = b"page\n" * 3
PATIENCE = 30.0
GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


class Served:
    def __init__(self) -> None:
        self.page = PAGE
        self.failures: list[str] = []
        listener = listen(Endpoint("127.0.0.1", 0))
        self.address = listener.getsockname()
        self.server = PageServer(listener, self._make, "text/x", self.failures.append)
        self.server.start()

    def _make(self) -> bytes:
        if not self.page:
            raise ValueError("no page")
        return self.page

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, PATIENCE)

    def ask(self, request: bytes = GET) -> bytes:
        with self.connect() as sock:
            sock.sendall(request)
            return receive_all(sock)


def receive_all(sock: socket.socket) -> bytes:
    parts = []
    try:
        while part := sock.recv(1 << 16):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


@pytest.fixture
def served() -> Iterator[Served]:
    before = threading.active_count()
    served = Served()
    yield served
    assert threading.active_count() <= before + 1
    served.server.stop()
    served.server.stop()
    assert threading.active_count() == before
    with pytest.raises(ConnectionError):
        served.connect()


def test_the_page(served: Served) -> None:
    head, body = served.ask().split(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 200 OK",
        b"Content-Type: text/x",
        b"Content-Length: 15",
        b"Connection: close",
    ]
    assert body == PAGE
    assert served.ask(b"GET /?a=b HTTP/1.0\r\n\r\n").endswith(PAGE)


def test_a_head_has_no_body(served: Served) -> None:
    answer = served.ask(b"HEAD /metrics HTTP/1.1\r\n\r\n")
    assert b"Content-Length: 15" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"GET /etc/passwd HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /metrics/../x HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /metrics\r\n\r\n", b"400"),
        (b"\r\n\r\n", b"400"),
        (b"\xff\0\xfe \0 HTTP/1.1\r\n\r\n", b"405"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_REQUEST, b"431"),
    ],
)
def test_what_is_refused(served: Served, request_bytes: bytes, status: bytes) -> None:
    assert served.ask(request_bytes).startswith(b"HTTP/1.1 " + status)
    assert served.ask().endswith(PAGE)


@given(data=st.binary(max_size=200))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes(served: Served, data: bytes) -> None:
    with served.connect() as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        answer = receive_all(sock)
    assert not answer or answer.startswith(b"HTTP/1.1 ")
    assert served.ask().endswith(PAGE)


def test_a_request_in_pieces(served: Served) -> None:
    with served.connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in GET:
            sock.sendall(bytes((byte,)))
        assert receive_all(sock).endswith(PAGE)


def test_more_silent_peers_than_there_is_room_for(served: Served) -> None:
    """The oldest give way, and nobody has to wait for them."""
    with ExitStack() as stack:
        silent = [stack.enter_context(served.connect()) for _ in range(MAX_CONNECTIONS + 8)]
        assert served.ask().endswith(PAGE)
        for sock in silent[:8]:
            assert receive_all(sock) == b""
        assert len(os.listdir("/proc/self/task")) < MAX_CONNECTIONS  # noqa: PTH208 - of the kernel


def test_a_silent_peer_is_dropped_in_time(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "DEADLINE", 0.05)
    with served.connect() as silent, served.connect() as slow:
        slow.sendall(b"GET ")
        assert receive_all(silent) == receive_all(slow) == b""


def test_one_that_takes_nothing_holds_up_nobody(served: Served) -> None:
    served.page = bytes(8 << 20)
    with served.connect() as deaf:
        deaf.sendall(GET)
        # The first bytes are there: the rest waits in buffers, and for the deadline.
        assert deaf.recv(1)
        served.page = PAGE
        assert served.ask().endswith(PAGE)
        assert len(receive_all(deaf)) > 8 << 20


def test_one_that_is_gone_before_its_answer(served: Served) -> None:
    served.page = bytes(8 << 20)
    with served.connect() as sock:
        sock.sendall(GET)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    served.page = PAGE
    assert served.ask().endswith(PAGE)


def test_a_page_that_cannot_be_made(served: Served) -> None:
    served.page = b""
    assert served.ask().startswith(b"HTTP/1.1 500")
    assert served.failures[0].startswith("ValueError at _make, ")
    served.page = PAGE
    assert served.ask().endswith(PAGE)


def test_one_that_was_never_started_can_be_stopped() -> None:
    listener = listen(Endpoint("127.0.0.1", 0))
    server = PageServer(listener, bytes, "text/x", print)
    server.stop()
    assert listener.fileno() < 0
