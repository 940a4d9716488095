# SPDX-License-Identifier: BSD-3-Clause
"""A fabric queue with the far end of its connection in the test's hand."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Sequence

from tests.support.loopback import receive_exactly, tcp_pair
from vof.engine.native import NativeQueue
from vof.errors import VofError
from vof.fabric.interface import InFlight, Queue
from vof.fabric.pending import Pending
from vof.fabric.tcp.queue import TcpQueue
from vof.fabric.tcp.requests import StreamQueue

MakeQueue = type[TcpQueue] | type[NativeQueue]

QUEUES: dict[str, MakeQueue] = {"python": TcpQueue, "native": NativeQueue}
"""The fabrics that every test here runs on."""

SIZE = 1024


class QueueRig:
    """``queue`` over a connection, ``far`` its other end, ``losses`` what ``on_lost`` got."""

    def __init__(
        self,
        make_queue: MakeQueue,
        *,
        timeout: float | None = None,
        buffer_size: int | None = None,
    ) -> None:
        near, self.far = tcp_pair(buffer_size)
        self.losses: list[tuple[VofError, Sequence[InFlight]]] = []
        self.on_lost: Callable[[Queue, VofError, Sequence[InFlight]], None] = self._lost
        """What to do at a loss; may be exchanged."""
        self.queue: StreamQueue = make_queue(near, "rig", self._tell, timeout, SIZE)
        self.keep = False
        """Whether what is in flight when the connection is lost stays so."""

    def close(self) -> None:
        self.queue.close()
        self.far.close()

    def hang_up(self) -> None:
        """End the connection from the far side."""
        self.far.shutdown(socket.SHUT_RDWR)

    def reattach(self) -> None:
        """Have the queue go on over another connection."""
        near, far = tcp_pair()
        try:
            self.queue.attach(near)
        except BaseException:
            near.close()
            far.close()
            raise
        self.far.close()
        self.far = far

    def receive_command(self) -> int:
        """Take a 16-byte command off the far end and return its command id."""
        ident: int
        _opcode, ident = struct.unpack_from("<HH", receive_exactly(self.far, 16))
        return ident

    @property
    def followers(self) -> int:
        return self.queue.activity().followers

    @property
    def leading(self) -> bool:
        return self.queue.activity().leading

    def _tell(self, queue: Queue, error: VofError, in_flight: Sequence[InFlight]) -> None:
        self.on_lost(queue, error, in_flight)

    def _lost(self, queue: Queue, error: VofError, in_flight: Sequence[InFlight]) -> None:
        self.losses.append((error, in_flight))
        if not self.keep:
            for item in in_flight:
                queue.end(item, error)


def command(
    ident: int,
    *buffers: memoryview,
    extra: bytes = b"",
    on_done: Callable[[Pending], None] | None = None,
) -> Pending:
    """Return a command of 16 bytes, and of ``extra`` after them, that expects ``buffers`` filled.

    Its first device-writable descriptor has the id 1.
    """
    head = struct.pack("<HH12x", 0x2000, ident)
    return Pending(f"command {ident}", ident, [head, extra], 1, buffers, on_done=on_done)


class Bell:
    """A follower that is no thread: counts how often it was woken."""

    def __init__(self) -> None:
        self.rings = 0

    def __call__(self) -> None:
        self.rings += 1


def completion(ident: int, *data: bytes) -> bytes:
    """Return a completion with one descriptor for each piece of data, and the data."""
    total = b"".join(data)
    parts = [struct.pack("<HHHHQ", 0, ident, len(data), 0, len(total))]
    addr = 0
    for place, piece in enumerate(data):
        parts.append(struct.pack("<QIHHI4x", addr, len(piece), 1 + place, 2, 0))
        addr += len(piece)
    return b"".join([*parts, total])


def buffer_of(size: int) -> memoryview:
    return memoryview(bytearray(size))
