# SPDX-License-Identifier: BSD-3-Clause
"""The recorded RDMA conversations, played to this target over RDMA.

What is checked is what is checked of those over TCP: see ``replaying``. Runs inside a guest: see
`tests.guest.scenario_target_rdma`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guest import rxe
from tests.target.peer import Peer
from tests.target.rdma.replaying import KeyedStream, as_stream
from tests.target.test_recordings import CONFIG as DISKS
from tests.target.test_recordings import VECTORS, VRING, Replay, Sent
from tests.target.test_recordings_rng_crypto import CONFIG as OTHERS
from tests.target.test_recordings_rng_crypto import CryptoReplay, RngReplay, decrypt
from vof.target.config import parse
from vof.target.server import Target

TARGET = f"[target]\ntransport = rdma\naddress = {rxe.FAR.address}\nport = 0\n"


def config(text: str) -> str:
    """The devices of a configuration, over RDMA."""
    _target, devices = text.split("port = 0\n", 1)
    return TARGET + devices


@pytest.fixture
def address(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    text = DISKS if "blk" in request.node.name else OTHERS
    with Target(parse(config(text), "recordings.conf")) as target:
        yield target.address, target.port


class Keyed(Replay):
    """Replays over RDMA."""

    tail = 1

    def open(self) -> Peer:
        return KeyedStream(self.address, tail=self.tail)

    def play(self, path: Path) -> None:
        try:
            for message in as_stream(path, self.tail):
                self.message(message)
        finally:
            for peer in self.peers.values():
                peer.close()


class KeyedRng(Keyed, RngReplay):
    """The recorded target had given letters to others in between: ours are all there."""

    tail = 0

    def check(self, peer: Peer, sent: Sent, value: int, data: bytes) -> None:
        if sent.opcode == VRING:
            begin = len(self.letters)
            data = bytes(ord("A") + place % 26 for place in range(begin, begin + len(data)))
        super().check(peer, sent, value, data)


class KeyedCrypto(Keyed, CryptoReplay):
    pass


@pytest.mark.parametrize(
    ("name", "answers", "reads_back"),
    [
        ("kernel-rdma-blk-basic", 30, True),
        ("kernel-rdma-blk-mkfs-small", 30, True),
        ("vinitiator-rdma-blk", 15, True),
    ],
)
def test_blk(address: tuple[str, int], name: str, answers: int, *, reads_back: bool) -> None:
    replay = Keyed(address)
    replay.play(VECTORS / f"{name}.jsonl")
    assert replay.answered >= answers
    assert bool(replay.compared) == reads_back, replay.compared


@pytest.mark.parametrize(
    ("name", "answers", "size"), [("kernel-rdma-rng", 15, 256), ("vinitiator-rdma-rng", 5, 103)]
)
def test_rng(address: tuple[str, int], name: str, answers: int, size: int) -> None:
    replay = KeyedRng(address)
    replay.play(VECTORS / f"{name}.jsonl")
    assert replay.answered >= answers
    assert len(replay.letters) == size


def test_crypto(address: tuple[str, int], tmp_path: Path) -> None:
    replay = KeyedCrypto(address)
    replay.play(VECTORS / "kernel-rdma-crypto.jsonl")
    assert len(replay.sessions) == 7
    assert replay.compared == 7 + 6
    ((text, secret),) = replay.random
    assert decrypt(replay.key, secret, tmp_path) == text
