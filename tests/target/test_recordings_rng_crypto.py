# SPDX-License-Identifier: BSD-3-Clause
"""The recorded conversations with an entropy and a crypto device, played to this target.

As in ``test_recordings``. The session ids in the recorded requests are those that the reference
target gave; what is sent here has those that this target gave, as the initiator would have sent
them. The padding of PKCS#1 encryption is random: such an answer is decrypted with the key that the
recording brings, by the ``openssl`` program.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.target.crypto_peer import answered_short
from tests.target.peer import Peer
from tests.target.test_recordings import VECTORS, VRING, Replay, Sent
from vof.target.config import parse
from vof.target.server import Target

CONFIG = """
[target]
port = 0

[rng0]
tvqn = virtio-target/rng/rng0.service
model = rng
backend = driver=rng-simulator

[crypto0]
tvqn = virtio-target/crypto/crypto0.service
model = crypto
backend = driver=crypto-openssl
"""


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    with Target(parse(CONFIG, "recordings.conf")) as target:
        yield target.address, target.port


class RngReplay(Replay):
    """Every letter is the recorded one."""

    letters = b""

    def check(self, peer: Peer, sent: Sent, value: int, data: bytes) -> None:
        if sent.opcode != VRING:
            super().check(peer, sent, value, data)
            return
        self.answered += 1
        assert peer.vring_completion(sent.writable, sent.command_id) == data
        self.letters += data


@pytest.mark.parametrize(
    ("name", "answers", "size"), [("kernel-tcp-rng", 15, 192), ("vinitiator-tcp-rng", 5, 103)]
)
def test_rng(address: tuple[str, int], name: str, answers: int, size: int) -> None:
    replay = RngReplay(address)
    try:
        replay.play(VECTORS / f"{name}.jsonl")
        assert replay.answered >= answers
        assert len(replay.letters) == size
        # Linux goes away with a request under way.
        for peer in replay.peers.values():
            peer.close()
        with Peer(address) as peer:
            assert peer.connect(tvqn="virtio-target/rng/rng0.service") >= 0
    finally:
        for peer in replay.peers.values():
            peer.close()


CREATE, DESTROY, ENCRYPTION = 0x404, 0x405, 0x400
PADDING_PKCS1 = 1


class CryptoReplay(Replay):
    """Every answer but the random ones is the recorded one."""

    session = 0
    """Of ours, what the recorded initiator is using at this moment."""
    padded = False
    key = b""
    """The RSAPrivateKey of the latest session that had one, for 1,024 bits."""
    random: list[tuple[bytes, bytes]]
    """What was encrypted, and our answer."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address)
        self.random = []
        self.sessions: set[int] = set()

    def message(self, message: dict[str, object]) -> None:
        if message.get("dir") == "i2t" and "hex" in message:
            message = message | {"hex": self.own(bytes.fromhex(str(message["hex"]))).hex()}
        super().message(message)

    def own(self, data: bytes) -> bytes:
        """Put our session's id in the place of the recorded one."""
        if struct.unpack_from("<H", data)[0] != VRING:
            return data
        start = 16 + 24 * struct.unpack_from("<H", data, 8)[0]
        opcode = struct.unpack_from("<I", data, start)[0]
        if opcode == CREATE:
            return data
        place = start + (16 if opcode == DESTROY else 8)
        assert data[place : place + 8] == bytes(8), "all recorded ids are 0"
        return data[:place] + struct.pack("<Q", self.session) + data[place + 8 :]

    def check(self, peer: Peer, sent: Sent, value: int, data: bytes) -> None:
        if sent.opcode != VRING:
            super().check(peer, sent, value, data)
            return
        self.answered += 1
        answer = answered_short(peer, sent.writable)
        assert all(answer), "Linux waits for ever for a descriptor of no bytes"
        opcode = struct.unpack_from("<I", sent.readable)[0]
        if opcode == CREATE:
            self.session, status, _pad = struct.unpack("<QII", answer[0])
            assert status == 0
            assert self.session not in self.sessions
            self.sessions.add(self.session)
            _algo, kind, size, padding, _hash = struct.unpack_from("<5I", sent.readable, 16)
            self.padded = padding == PADDING_PKCS1
            if kind == 2 and size == 607:
                self.key = sent.readable[72:]
        elif opcode == ENCRYPTION and self.padded:
            assert answer[-1] == b"\0"
            self.random.append((sent.readable[72:], answer[0]))
        else:
            # In length too: the last decryption has 20 bytes where there is room for 128.
            assert b"".join(answer) == data
            assert value == len(data)
            self.compared += 1


def decrypt(key: bytes, secret: bytes, folder: Path) -> bytes:
    file = folder / "key.der"
    file.write_bytes(key)
    run = subprocess.run(
        ["openssl", "pkeyutl", "-decrypt", "-inkey", file, "-keyform", "DER"],
        input=secret,
        capture_output=True,
        check=True,
    )
    return run.stdout


def test_crypto(address: tuple[str, int], tmp_path: Path) -> None:
    replay = CryptoReplay(address)
    try:
        replay.play(VECTORS / "kernel-tcp-crypto.jsonl")
        # 7 sessions made and destroyed; 7 operations, of which one is random.
        assert len(replay.sessions) == 7
        assert replay.compared == 7 + 6
        ((text, secret),) = replay.random
        assert len(secret) == 128
        assert decrypt(replay.key, secret, tmp_path) == text
    finally:
        for peer in replay.peers.values():
            peer.close()
