# SPDX-License-Identifier: BSD-3-Clause
"""A traced socket: every byte is shown once, in its direction, whatever call it passes through."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.support.loopback import nothing_left_open, receive_exactly, tcp_pair
from vof.trace.sockets import TracedSocket


class Seen:
    def __init__(self) -> None:
        self.sent_bytes = bytearray()
        self.received_bytes = bytearray()
        self.ends = 0
        self.closes = 0

    def sent(self, data: bytes) -> None:
        self.sent_bytes += data

    def received(self, data: bytes) -> None:
        self.received_bytes += data
        self.ends += not data

    def closed(self) -> None:
        self.closes += 1


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def pair(seen: Seen) -> Iterator[tuple[socket.socket, socket.socket]]:
    with nothing_left_open():
        near, far = tcp_pair(4096)
        with TracedSocket(near, seen) as sock, far:  # type: ignore[arg-type]
            yield sock, far


def test_received(pair: tuple[socket.socket, socket.socket], seen: Seen) -> None:
    sock, far = pair
    far.sendall(b"abcdefghijkl")
    assert sock.recv(3, socket.MSG_WAITALL | socket.MSG_PEEK) == b"abc"
    assert sock.recv(3, socket.MSG_WAITALL) == b"abc"
    buffer = bytearray(4)
    assert sock.recv_into(memoryview(buffer), 2, socket.MSG_WAITALL) == 2
    parts = [memoryview(bytearray(2)), memoryview(bytearray(9))]
    assert sock.recvmsg_into(parts)[0] == 7
    assert bytes(seen.received_bytes) == b"abcdefghijkl"
    far.close()
    assert sock.recv(1) == b""
    assert (seen.ends, seen.closes) == (1, 0)
    sock.close()
    assert seen.closes == 1


def test_sent_as_the_kernel_takes_it(pair: tuple[socket.socket, socket.socket], seen: Seen) -> None:
    """What it did not take is offered again, and shown once; what follows is shown, too."""
    sock, far = pair
    sock.setblocking(False)
    data = bytes(range(256)) * 8000
    place, arrived, refusals = 0, bytearray(), 0
    while place < len(data):
        try:
            place += sock.sendmsg([data[place : place + 5], data[place + 5 :]])
        except BlockingIOError:
            refusals += 1
            arrived += far.recv(1 << 20)
    assert refusals
    assert bytes(seen.sent_bytes) == data
    arrived += receive_exactly(far, len(data) - len(arrived))
    sock.send(b"the next")
    assert bytes(seen.sent_bytes) == data + b"the next"
    assert bytes(arrived) == data


def test_it_is_shown_before_the_peer_can_have_it(
    pair: tuple[socket.socket, socket.socket], seen: Seen
) -> None:
    sock, _far = pair
    sock.shutdown(socket.SHUT_WR)
    with pytest.raises(BrokenPipeError):
        sock.send(b"x")
    assert bytes(seen.sent_bytes) == b"x"


def test_it_waits_as_the_socket_did(seen: Seen) -> None:
    near, far = tcp_pair()
    near.settimeout(3.5)
    with far, TracedSocket(near, seen) as sock:  # type: ignore[arg-type]
        assert sock.gettimeout() == 3.5
        assert near.fileno() == -1
