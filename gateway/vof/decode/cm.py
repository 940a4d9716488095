# SPDX-License-Identifier: BSD-3-Clause
"""Messages of the RDMA connection manager, as far as they tell which queue pairs make a connection.

Source: InfiniBand Architecture Specification, volume 1, §12.6 (message formats), and annex A11
(service ids of RDMA IP connections). Must not know packets, nor what a connection carries.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

MAD_HEADER_SIZE = 24
_MAD = struct.Struct(">BBBBHHQHHI")
_CM_CLASS = 7

_TCP_PORT_SPACE = 0x0000_0000_0106_0000
"""RDMA_PS_TCP: the service id is this and a port number."""

_MTUS = {1: 256, 2: 512, 3: 1024, 4: 2048, 5: 4096}


class Attribute(IntEnum):
    """The kinds of message."""

    REQ = 0x10
    REJ = 0x12
    REP = 0x13
    DREQ = 0x15
    DREP = 0x16


class Request(NamedTuple):
    """REQ: an initiator wants a connection."""

    comm_id: int
    port: int
    queue_pair: int
    psn: int
    """The first that it will send."""
    mtu: int
    """Bytes of data in a packet, all but the last."""


class Reply(NamedTuple):
    """REP: it gets one."""

    comm_id: int
    remote_comm_id: int
    queue_pair: int
    psn: int


class Ending(NamedTuple):
    """REJ, DREQ or DREP."""

    attribute: Attribute
    comm_id: int
    remote_comm_id: int


def parse(mad: bytes) -> Request | Reply | Ending | None:
    """Return what a management datagram says; None where that is nothing of these.

    Raises struct.error where it is cut off.
    """
    _version, kind, _class, _method, _status, _specific, _id, attribute, _r, _modifier = (
        _MAD.unpack_from(mad)
    )
    if kind != _CM_CLASS or attribute not in set(Attribute):
        return None
    data = mad[MAD_HEADER_SIZE:]
    local, remote = struct.unpack_from(">II", data)
    if attribute == Attribute.REQ:
        (service,) = struct.unpack_from(">Q", data, 8)
        mtu = _MTUS.get(data[50] >> 4) if len(data) > 50 else None
        if service >> 16 != _TCP_PORT_SPACE >> 16 or mtu is None:
            return None
        return Request(local, service & 0xFFFF, _number(data, 32), _number(data, 44), mtu)
    if attribute == Attribute.REP:
        return Reply(local, remote, _number(data, 12), _number(data, 20))
    return Ending(Attribute(attribute), local, remote)


def _number(data: bytes, place: int) -> int:
    """Return the number of 24 bits at a place."""
    return int(struct.unpack_from(">I", data, place)[0]) >> 8
