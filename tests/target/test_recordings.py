# SPDX-License-Identifier: BSD-3-Clause
"""The recorded initiators' bytes, sent again to this target.

Each recording is an existing initiator talking to the reference target. Its side is replayed in the
recorded order; what this target answers must be something that initiator would accept: see
``Replay``. Recordings are read by this file alone, so that no code of the target's side decides
what is right.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.target.peer import FLUSH, GET_ID, IN, IOERR, OK, OUT, Peer
from vof.target.config import parse
from vof.target.server import Target

VECTORS = Path(__file__).parents[1] / "vectors"

RECORDINGS = [
    "kernel-tcp-blk-basic",
    "kernel-tcp-blk-bufwrite",
    "kernel-tcp-blk-mkfs",
    "kernel-tcp-blk-mkfs-small",
    "kernel-tcp-blk-multiqueue",
    "kernel-tcp-blk-pipelined",
    "kernel-tcp-blk-v1-flush",
    "vinitiator-tcp-blk",
    "vinitiator-tcp-blk-64seg",
]

# The devices of the recordings.
CONFIG = """
[target]
port = 0

[block0]
tvqn = virtio-target/block/block0.service
model = block
backend = driver=block-memory,size=256M,queues=4,serial=vtgt-000001

[block1]
tvqn = virtio-target/block/block1.service
model = block
backend = driver=block-memory,size=4M,queues=1,serial=vtgt-000002
"""

SERIALS = {b"block0": b"vtgt-000001", b"block1": b"vtgt-000002"}

CONNECT, GET_FEATURES, SET_FEATURES, GET_CONFIG, VRING = 0, 0x1005, 0x1006, 0x100A, 0x2000
SAME_VALUE = {
    0x1001: "device id",
    0x1003: "device status",
    0x1007: "number of queues",
}


class Sent(NamedTuple):
    """A command as the initiator sent it."""

    opcode: int
    command_id: int
    head: bytes
    readable: bytes
    writable: list[tuple[int, int, int]]


@dataclass
class Stream:
    """One direction of one connection, cut into messages as their bytes come."""

    data: bytearray = field(default_factory=bytearray)

    def take(self, size: int) -> bytes:
        part = bytes(self.data[:size])
        del self.data[:size]
        return part

    def commands(self) -> Iterator[Sent]:
        while len(self.data) >= 16:
            opcode, command_id, _length, count = struct.unpack_from("<HHIH", self.data)
            if opcode == CONNECT:
                count = 1
            elif opcode != VRING:
                yield Sent(opcode, command_id, self.take(16), b"", [])
                continue
            if len(self.data) < 16 + 24 * count:
                return
            raw = [
                struct.unpack_from("<QIHHI", self.data, 16 + 24 * index) for index in range(count)
            ]
            readable = sum(length for _addr, length, _id, flags, _key in raw if not flags & 2)
            if len(self.data) < 16 + 24 * count + readable:
                return
            head = self.take(16)
            self.take(24 * count)
            writable = [(length, ident, flags) for _a, length, ident, flags, _k in raw if flags & 2]
            yield Sent(opcode, command_id, head, self.take(readable), writable)

    def completion(self, in_flight: dict[int, Sent]) -> tuple[Sent, int, bytes] | None:
        """Take the next completion, if all of it is there: its command, its value and its data."""
        if len(self.data) < 16:
            return None
        _status, command_id, ndesc, value = struct.unpack_from("<HHH2xQ", self.data)
        sent = in_flight[command_id]
        lengths = [
            struct.unpack_from("<QI", self.data, 16 + 24 * index)[1]
            for index in range(ndesc)
            if len(self.data) >= 16 + 24 * (index + 1)
        ]
        if len(lengths) < ndesc or len(self.data) < 16 + 24 * ndesc + sum(lengths):
            return None
        self.take(16 + 24 * ndesc)
        del in_flight[command_id]
        return sent, value, self.take(sum(lengths))


class Replay:
    """Plays one recording and checks every completion.

    What the Linux initiator needs is checked in ``Peer.vring_completion`` and here: its command id,
    its descriptors all there in full, the target id in every Connect's completion. Values that
    describe the same device are the same as recorded; data that was read is what the recording
    wrote there before.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.peers: dict[int, Peer] = {}
        self.sent: dict[int, Stream] = {}
        self.recorded: dict[int, Stream] = {}
        self.in_flight: dict[int, dict[int, Sent]] = {}
        self.answered = 0
        self.disk: dict[int, bytes] = {}
        self.compared = 0
        self.features = 0

    def play(self, path: Path) -> None:
        with path.open(encoding="utf-8") as lines:
            next(lines)
            for line in lines:
                self.message(json.loads(line))

    def open(self) -> Peer:
        return Peer(self.address)

    def message(self, message: dict[str, object]) -> None:
        number = message["conn"]
        assert isinstance(number, int)
        if "event" in message:
            if message["dir"] == "i2t" and message["event"] == "fin":
                self.peers[number].half_close()
            return
        data = bytes.fromhex(str(message["hex"]))
        if number not in self.peers:
            self.peers[number] = self.open()
            self.sent[number], self.recorded[number] = Stream(), Stream()
            self.in_flight[number] = {}
        if message["dir"] == "i2t":
            self.peers[number].send(data)
            self.sent[number].data += data
            for command in self.sent[number].commands():
                assert command.command_id not in self.in_flight[number]
                self.in_flight[number][command.command_id] = command
        else:
            self.recorded[number].data += data
            while found := self.recorded[number].completion(self.in_flight[number]):
                self.check(self.peers[number], *found)

    def check(self, peer: Peer, sent: Sent, value: int, data: bytes) -> None:
        """Receive our completion where the recording has one."""
        self.answered += 1
        if sent.opcode == VRING:
            area = peer.vring_completion(sent.writable, sent.command_id)
            self.check_request(sent, area[:-1], area[-1], data[:-1], data[-1])
            return
        answer = peer.completion()
        assert answer[:3] == (0, sent.command_id, 0)
        if sent.opcode == CONNECT:
            assert answer.value == 0, "the first association's target id, on every queue"
        elif sent.opcode == GET_FEATURES:
            self.features = answer.value
            assert not answer.value & (1 << 28 | 1 << 29 | 1 << 33)
        elif sent.opcode == SET_FEATURES:
            (chosen,) = struct.unpack_from("<Q", sent.head, 8)
            assert not chosen & ~self.features
        elif sent.opcode == GET_CONFIG and sent.head[4:6] in (b"\0\0", b"\x22\0"):
            assert answer.value == value  # capacity, number of queues
        elif sent.opcode in SAME_VALUE:
            assert answer.value == value, SAME_VALUE[sent.opcode]

    def check_request(
        self, sent: Sent, data: bytes, status: int, recorded: bytes, recorded_status: int
    ) -> None:
        assert recorded_status == OK
        kind, _ioprio, sector = struct.unpack_from("<IIQ", sent.readable)
        if kind == IN and len(data) % 512:
            # The reference target reads part of a sector; virtio's device must not.
            assert status == IOERR
            assert data == bytes(len(data))
            return
        assert status == OK
        if kind == OUT:
            payload = sent.readable[16:]
            for place in range(0, len(payload), 512):
                self.disk[sector + place // 512] = payload[place : place + 512]
        elif kind == IN:
            for place in range(0, len(data), 512):
                written = self.disk.get(sector + place // 512)
                assert data[place : place + 512] == (written or bytes(512))
                if written:
                    assert recorded[place : place + 512] == written
                    self.compared += 1
        elif kind == GET_ID:
            assert data == recorded[:20] + bytes(len(data) - 20)
        else:
            assert kind == FLUSH


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    with Target(parse(CONFIG, "recordings.conf")) as target:
        yield target.address, target.port


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording(address: tuple[str, int], name: str) -> None:
    replay = Replay(address)
    try:
        replay.play(VECTORS / f"{name}.jsonl")
        assert replay.answered > 15
        # Recordings that write something and read it back prove that the data is the same.
        assert bool(replay.compared) == (name in READ_BACK), replay.compared
    finally:
        for peer in replay.peers.values():
            peer.close()


READ_BACK = {
    "kernel-tcp-blk-basic",
    "kernel-tcp-blk-mkfs",
    "kernel-tcp-blk-mkfs-small",
    "vinitiator-tcp-blk",
    "vinitiator-tcp-blk-64seg",
}
