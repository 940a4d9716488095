# SPDX-License-Identifier: BSD-3-Clause
"""Initiators of each dialect over TCP, by hand as in ``peer``: what differs between them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

from tests.support.protocol_numbers import OPCODES
from tests.target.peer import BLOCK0, Association, Peer, header, request_bytes

VQ, VQ_KEYED_EAGER_BUF, VRING, VRING_V2 = 0x0FFF, 0x0FFE, 0x2000, 0x0FFF
GET_KEYED_NUM_DESCS, GET_KEYED_EAGER_BUF = 0x0100, 0x0102

CONFIG_CHANGE = (0, 0xFFFE)
"""What its completion begins with."""


class Speaker(NamedTuple):
    name: str
    oftype: int
    opcodes: Mapping[str, int]

    @property
    def is_v5(self) -> bool:
        return self.name == "v5"

    def attach(
        self, address: tuple[str, int], tvqn: str = BLOCK0, *, queues: int = 1
    ) -> Association:
        return Association(address, tvqn, queues=queues, oftype=self.oftype, v5=self.is_v5)

    def command(self, name: str, select: int = 0, value: int = 0, *, command_id: int = 1) -> bytes:
        return struct.pack("<HHIQ", self.opcodes[name], command_id, select, value)

    def value_of(self, name: str, completion: bytes) -> int:
        """The value in a control command's completion."""
        place, size = 8, 8
        if self.is_v5:
            place, size = {
                "get_feature": (8, 8),
                "get_device_feature": (8, 8),
                "get_config": (8, 8),
                "get_vq_size": (4, 2),
                "get_keyed_num_descs": (4, 1),
            }.get(name, (4, 4))
        return int.from_bytes(completion[place : place + size], "little")

    def try_control(
        self, peer: Peer, name: str, select: int = 0, value: int = 0
    ) -> tuple[int, int]:
        """Execute a control command; return its status and value."""
        peer.send(self.command(name, select, value, command_id=0x4321))
        answer = peer.receive(16)
        status, command_id = struct.unpack_from("<HH", answer)
        assert command_id == 0x4321
        return status, self.value_of(name, answer)

    def control(self, peer: Peer, name: str, select: int = 0, value: int = 0) -> int:
        """Execute a control command that succeeds; return its value."""
        status, found = self.try_control(peer, name, select, value)
        assert status == 0, status
        return found

    def set_status(self, peer: Peer, status: int) -> None:
        """*v2* has the value where struct virtio_of_command_common has it."""
        if self.name == "v2":
            self.control(peer, "set_status", select=0xAAAAAAAA, value=status)
        else:
            self.control(peer, "set_status", select=status, value=0xAAAAAAAA)

    def config(self, peer: Peer, offset: int, width: int) -> int:
        return self.control(peer, "get_config", offset | width << 16) & ((1 << 8 * width) - 1)

    def request_bytes(
        self, kind: int, sector: int = 0, data: bytes = b"", room: int = 0, *, command_id: int = 1
    ) -> bytes:
        if self.is_v5:
            return vq_bytes(header(kind, sector) + data, room + 1, command_id=command_id)
        opcode = self.opcodes["vring"]
        return request_bytes(kind, sector, data, room, command_id=command_id, opcode=opcode)

    def request(
        self, peer: Peer, kind: int, sector: int = 0, data: bytes = b"", room: int = 0
    ) -> tuple[int, bytes]:
        """Execute a block request; return the status byte and the data that came back."""
        if not self.is_v5:
            return peer.request(kind, sector, data, room, opcode=self.opcodes["vring"])
        peer.send(self.request_bytes(kind, sector, data, room))
        area = vq_completion(peer, room + 1)
        return area[-1], area[:-1]


PROPOSAL = Speaker("proposal", 0, OPCODES["proposal"])
V2 = Speaker("v2", 1, OPCODES["v2"])
V5 = Speaker("v5", -1, OPCODES["v5"])

SPEAKERS = [PROPOSAL, V2, V5]


def vq_bytes(
    payload: bytes, room: int, *, command_id: int = 1, out_length: int | None = None
) -> bytes:
    length = len(payload) if out_length is None else out_length
    return struct.pack("<HHIII", VQ, command_id, 0xAAAAAAAA, length, room) + payload


def vq_completion(peer: Peer, room: int, command_id: int = 1) -> bytes:
    """Receive the completion of a block request: the whole area comes back."""
    answer = struct.unpack("<HH4xII", peer.receive(16))
    assert answer == (0, command_id, room, room)
    return peer.receive(room)
