# SPDX-License-Identifier: BSD-3-Clause
"""A keyed queue over a scripted link."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.support.scripted_link import FakeDevice, ScriptedLink
from vof.errors import VofError
from vof.fabric.interface import InFlight, Queue
from vof.fabric.pending import Pending
from vof.fabric.rdma.eager import EagerRange
from vof.fabric.rdma.memory import Pool
from vof.fabric.rdma.queue import RdmaQueue
from vof.wire.dialect import Framing
from vof.wire.v5 import KeyedDescriptor

SIZE = 128


class KeyedRig:
    """``queue`` over ``link``, ``far`` its other end, ``losses`` what ``on_lost`` got."""

    def __init__(
        self,
        framing: Framing = Framing.LENGTHS,
        *,
        timeout: float | None = None,
        commands: int = 64,
        slab_size: int = 256 << 10,
        limit: int = 512 << 10,
    ) -> None:
        self.device = FakeDevice()
        self.pool = Pool(self.device.register, slab_size, limit)
        self.link = ScriptedLink(self.device, commands)
        self.far = self.link.far
        self.losses: list[tuple[VofError, Sequence[InFlight]]] = []
        self.on_lost: Callable[[Queue, VofError, Sequence[InFlight]], None] = self._lost
        self.queue = RdmaQueue(self.link, self.pool, "rig", self._tell, timeout, SIZE, framing)
        self.at_rest = self.pool.taken
        """Bytes of the pool that a queue without requests has."""

    def close(self) -> None:
        self.queue.close()
        self.pool.close()

    def use_eager(self, *sizes: int) -> list[KeyedDescriptor]:
        """Have the target expose eager buffers of these sizes; return them."""
        buffers = [
            KeyedDescriptor(0x10_0000 * (10 - place), size, 0x7000 + place)
            for place, size in enumerate(sizes)
        ]
        self.eager = EagerRange(buffers)
        self.queue.use_keyed(1, self.eager)
        return buffers

    def start(
        self,
        readable: Sequence[bytes] = (),
        writable: Sequence[memoryview] = (),
        *,
        tail: int = 0,
        wait: bool = True,
    ) -> Pending | None:
        """Form and send a request."""
        lengths = [len(part) for part in readable]
        pending = self.queue.prepare("request", lengths, readable, writable, tail, wait=wait)
        if pending is not None:
            try:
                self.queue.submit(pending)
            except VofError:
                self.queue.release(pending)
                raise
        return pending

    def submit(
        self,
        readable: Sequence[bytes] = (),
        writable: Sequence[memoryview] = (),
        *,
        tail: int = 0,
    ) -> Pending:
        pending = self.start(readable, writable, tail=tail)
        assert pending is not None
        return pending

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
        for item in in_flight:
            queue.end(item, error)
