# SPDX-License-Identifier: BSD-3-Clause
"""An endpoint whose messages somebody looks at, but not what it reads and writes by key."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence

from pyverbs.cmid import CMID

from vof.target.rdma.endpoint import Endpoint
from vof.target.rdma.memory import Region
from vof.target.rdma.send_queue import FIRST_IDENT
from vof.target.rdma.verbs import Device
from vof.target.rdma.work_completions import WorkCompletion
from vof.target.taps import Taps
from vof.wire.structs import COMPLETION_SIZE
from vof.wire.v5 import KeyedDescriptor


class TappedEndpoint(Endpoint):
    """Takes the place of an ``Endpoint``."""

    def __init__(
        self,
        device: Device,
        cmid: CMID,
        cm_lock: threading.Lock,
        receive_room: int,
        taps: Taps,
        target: str,
    ) -> None:
        """``target`` is the address that the initiator has connected to."""
        super().__init__(device, cmid, cm_lock, receive_room)
        self._tap = taps.keyed(self.peer, target)

    def make_receives(self, region: Region, offset: int, size: int, count: int) -> None:
        super().make_receives(region, offset, size, count)
        self._messages = region.view[offset : offset + count * size]
        self._stride = size

    def reap(self) -> list[WorkCompletion]:
        found = super().reap()
        for item in found:
            if item.wr_id < FIRST_IDENT and not item.status:
                start = item.wr_id * self._stride
                self._tap.received(bytes(self._messages[start : start + item.byte_len]))
        return found

    def post_answer(
        self,
        pieces: Sequence[KeyedDescriptor],
        address: int,
        key: int,
        message: tuple[int, int],
        ident: int,
        *,
        signalled: bool,
    ) -> None:
        self._tap.sent(ctypes.string_at(message[0], COMPLETION_SIZE))
        super().post_answer(pieces, address, key, message, ident, signalled=signalled)

    def close(self) -> None:
        self._tap.closed()
        super().close()
