# SPDX-License-Identifier: BSD-3-Clause
"""Initiators of each dialect over TCP, by hand as in ``peer``: what differs between them."""

from __future__ import annotations

import struct
from typing import NamedTuple

from tests.target.peer import BLOCK0, Association, Peer, header, request_bytes

VQ, VQ_KEYED_EAGER_BUF, VRING = 0x0FFF, 0x0FFE, 0x2000
GET_KEYED_NUM_DESCS, GET_KEYED_EAGER_BUF = 0x0100, 0x0102

CONFIG_CHANGE = (0, 0xFFFE, 0, 0)
"""Its completion."""


class Speaker(NamedTuple):
    name: str
    oftype: int
    get_feature: int
    set_feature: int

    @property
    def has_vq(self) -> bool:
        return self.name == "v5"

    def attach(
        self, address: tuple[str, int], tvqn: str = BLOCK0, *, queues: int = 1
    ) -> Association:
        return Association(address, tvqn, queues=queues, oftype=self.oftype)

    def set_status(self, peer: Peer, status: int) -> None:
        """*v2* has the value where struct virtio_of_command_common has it."""
        if self.oftype:
            peer.control(0x1004, select=0xAAAAAAAA, value=status)
        else:
            peer.control(0x1004, select=status, value=0xAAAAAAAA)

    def request_bytes(
        self, kind: int, sector: int = 0, data: bytes = b"", room: int = 0, *, command_id: int = 1
    ) -> bytes:
        if not self.has_vq:
            return request_bytes(kind, sector, data, room, command_id=command_id)
        return vq_bytes(header(kind, sector) + data, room + 1, command_id=command_id)

    def request(
        self, peer: Peer, kind: int, sector: int = 0, data: bytes = b"", room: int = 0
    ) -> tuple[int, bytes]:
        """Execute a block request; return the status byte and the data that came back."""
        if not self.has_vq:
            return peer.request(kind, sector, data, room)
        peer.send(self.request_bytes(kind, sector, data, room))
        area = vq_completion(peer, room + 1)
        return area[-1], area[:-1]


PROPOSAL = Speaker("proposal", 0, 3, 4)
V2 = Speaker("v2", 1, 4, 5)
V5 = Speaker("v5", 1, 4, 5)

SPEAKERS = [PROPOSAL, V2, V5]


def vq_bytes(
    payload: bytes,
    room: int,
    *,
    command_id: int = 1,
    out_length: int | None = None,
    keyed: tuple[int, int] = (0, 0),
) -> bytes:
    length = len(payload) if out_length is None else out_length
    return struct.pack("<HHIIBBH", VQ, command_id, length, room, *keyed, 0xAAAA) + payload


def vq_completion(peer: Peer, room: int, command_id: int = 1) -> bytes:
    """Receive the completion of a block request: the whole area comes back."""
    answer = struct.unpack("<HHII4s", peer.receive(16))
    assert answer == (0, command_id, room, 0, bytes(4))
    return peer.receive(room)
