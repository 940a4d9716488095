# SPDX-License-Identifier: BSD-3-Clause
"""The NBD handshake, with a server that says what it is told to."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from vof.errors import VofError
from vof.gateways.attach.nbd.handshake import Connection, shake_hands

GREETING = b"NBDMAGIC" + b"IHAVEOPT" + struct.pack(">H", 3)
ASKED = struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 7, 6) + bytes(6)
PATIENCE = 20.0


def reply(kind: int, data: bytes = b"", *, magic: int = 0x3E889045565A9, option: int = 7) -> bytes:
    return struct.pack(">QIII", magic, option, kind, len(data)) + data


EXPORT = reply(3, struct.pack(">HQH", 0, 1 << 40, 0x10D))
BLOCK_SIZE = reply(3, struct.pack(">HIII", 3, 1, 4096, 1 << 20))
DONE = reply(1)


class Server:
    """Greets, takes what is asked, and answers; then it closes."""

    def __init__(self, path: Path, greeting: bytes, answer: bytes) -> None:
        self.asked = b""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, args=(greeting, answer))
        self._thread.start()

    def close(self) -> None:
        self._thread.join(PATIENCE)
        self._listener.close()

    def _serve(self, greeting: bytes, answer: bytes) -> None:
        peer, _address = self._listener.accept()
        # One that refuses the greeting is gone before the rest.
        with peer, contextlib.suppress(ConnectionError):
            peer.sendall(greeting)
            while len(self.asked) < len(ASKED) and (part := peer.recv(100)):
                self.asked += part
            peer.sendall(answer)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Server]]:
    made: list[Server] = []
    yield made
    for server in made:
        server.close()


def shaken(
    tmp_path: Path, servers: list[Server], answer: bytes, greeting: bytes = GREETING
) -> Connection:
    path = tmp_path / "nbd.sock"
    servers.append(Server(path, greeting, answer))
    return shake_hands(path, PATIENCE)


def test_size_and_flags(tmp_path: Path, servers: list[Server]) -> None:
    found = shaken(tmp_path, servers, BLOCK_SIZE + EXPORT + DONE)
    with found.socket:
        assert (found.size, found.flags) == (1 << 40, 0x10D)
        assert found.socket.gettimeout() is None
        assert servers[0].asked == ASKED


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (DONE, "size"),
        (reply(0x80000006, b"no such disk"), "no such disk"),
        (reply(0x80000001), "NBD error 1"),
        (reply(1, magic=1), "breaks"),
        (reply(1, option=3), "breaks"),
        (struct.pack(">QIII", 0x3E889045565A9, 7, 3, 1 << 30), "breaks"),
        (EXPORT[:-1], "closed"),
        (b"", "closed"),
    ],
)
def test_bad_answers(tmp_path: Path, servers: list[Server], answer: bytes, words: str) -> None:
    with pytest.raises(VofError, match=words):
        shaken(tmp_path, servers, answer)


@pytest.mark.parametrize(
    "greeting",
    [b"NBDMAGIC" + bytes(10), b"SSH-2.0-OpenSSH_9.2p1", GREETING[:-2] + b"\0\2"],
)
def test_bad_greetings(tmp_path: Path, servers: list[Server], greeting: bytes) -> None:
    with pytest.raises(VofError, match="does not speak NBD"):
        shaken(tmp_path, servers, b"", greeting)


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(VofError, match="No such file"):
        shake_hands(tmp_path / "nbd.sock", PATIENCE)


def test_one_who_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "nbd.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(VofError, match="does not answer"):
            shake_hands(path, 0.01)
