# SPDX-License-Identifier: BSD-3-Clause
"""virtio-console (virtio 1.2 §5.3) with one port: two queues of plain bytes, no request header.

A request of the receiveq is room that the device fills from its beginning; one of the transmitq is
bytes for it. Neither has a status. Several ports (MULTIPORT) and the queues they bring are left
out: both ends here have one. Must not know where the bytes come from, nor who reads them.
"""

from __future__ import annotations

from enum import IntFlag
from typing import NamedTuple

from vof.errors import RemoteProtocolError
from vof.wire.layout import laid_out

RECEIVE_QUEUE, TRANSMIT_QUEUE = 0, 1
"""§5.3.2, of port 0."""

NUM_QUEUES = 2

CONFIG_SIZE = 12
"""Bytes of the config space."""


class Feature(IntFlag):
    """§5.3.3."""

    SIZE = 1 << 0
    MULTIPORT = 1 << 1
    EMERG_WRITE = 1 << 2


@laid_out("HHII", CONFIG_SIZE, cols=0, rows=2, max_nr_ports=4, emerg_wr=8)
class Config(NamedTuple):
    """§5.3.4 struct virtio_console_config. A field is valid only with the feature it belongs to."""

    cols: int = 0
    """Characters, with SIZE."""
    rows: int = 0
    max_nr_ports: int = 0
    """With MULTIPORT."""
    emerg_wr: int = 0
    """With EMERG_WRITE; only written."""


FIELDS_BY_FEATURE = {
    Feature.SIZE: ("cols", "rows"),
    Feature.MULTIPORT: ("max_nr_ports",),
    Feature.EMERG_WRITE: ("emerg_wr",),
}
"""The fields of the config space that each feature makes valid."""


def check_request(queue: int, readable: int, writable: int) -> None:
    """Raise RemoteProtocolError for a request that cannot be; for the device.

    ``readable`` and ``writable`` are its bytes in both directions. Such a request has no status
    byte that could carry an error. One without bytes is none (ours).
    """
    asked, other = (writable, readable) if queue == RECEIVE_QUEUE else (readable, writable)
    name = "receive" if queue == RECEIVE_QUEUE else "transmit"
    if other or not asked:
        raise RemoteProtocolError(
            f"a console's {name} request has {readable} device-readable bytes and {writable} "
            "device-writable ones"
        )
