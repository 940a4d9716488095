# SPDX-License-Identifier: BSD-3-Clause
"""A block driver over memory: insists on what a real one demands; can be held up or made fail."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import cast

from vof.drivers.block import BlockDriver
from vof.drivers.block_geometry import Geometry
from vof.errors import DeviceError
from vof.gateways.disk import Disk
from vof.wire.blk import Feature


class MemoryRequest:
    """Carried out when it is finished, as late as a real one may be."""

    def __init__(self, offset: int, data: memoryview, *, writes: bool) -> None:
        self.offset = offset
        self.data = data
        self.writes = writes


class MemoryDriver:
    """Stands in for ``BlockDriver``. ``before`` is called before a request is carried out."""

    def __init__(
        self,
        blocks: int,
        *,
        block_size: int = 512,
        max_transfer: int | None = None,
        depth: int = 4,
        spare_sectors: int = 0,
    ) -> None:
        capacity = blocks * block_size + spare_sectors * 512
        self.content = bytearray(capacity)
        self.features = Feature.FLUSH | Feature.DISCARD | Feature.WRITE_ZEROES
        self.geometry = Geometry(
            capacity=capacity,
            block_size=block_size,
            physical_block_size=block_size,
            optimal_io_size=0,
            size_max=1 << 20,
            max_transfer=max_transfer or 2 * block_size,
            max_discard=3 * block_size,
            max_write_zeroes=3 * block_size,
            max_secure_erase=0,
            write_zeroes_may_unmap=True,
        )
        self.size = blocks * block_size
        self.read_only = False
        self.carrier = None
        self.calls: list[tuple[str, int, int]] = []
        """Kind, offset and length of every request, in the order they were started."""
        self.before: Callable[[MemoryRequest], None] = lambda _request: None
        self.failing: set[int] = set()
        """Offsets at which requests fail."""
        self.in_flight = 0
        self.unmapped: list[bool] = []
        self._depth = depth
        self._room = threading.Condition()

    @property
    def disk(self) -> Disk:
        return Disk(cast(BlockDriver, self))

    def start_read(
        self, offset: int, data: memoryview, *, wait: bool = True
    ) -> MemoryRequest | None:
        return self._start("read", offset, data, wait=wait)

    def start_write(
        self, offset: int, data: memoryview, *, wait: bool = True
    ) -> MemoryRequest | None:
        return self._start("write", offset, data, wait=wait)

    def finish(self, request: MemoryRequest) -> None:
        try:
            self.before(request)
            if request.offset in self.failing:
                raise DeviceError(f"made to fail at {request.offset}", 1)
            place = slice(request.offset, request.offset + len(request.data))
            if request.writes:
                self.content[place] = request.data
            else:
                request.data[:] = self.content[place]
        finally:
            with self._room:
                self.in_flight -= 1
                self._room.notify_all()

    def flush(self) -> None:
        self.calls.append(("flush", 0, 0))

    def discard(self, offset: int, length: int) -> None:
        assert 0 < length <= self.geometry.max_discard
        self._check("discard", offset, length)

    def write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        assert 0 < length <= self.geometry.max_write_zeroes
        self._check("zero", offset, length)
        self.unmapped.append(unmap)
        self.content[offset : offset + length] = bytes(length)

    def _start(
        self, kind: str, offset: int, data: memoryview, *, wait: bool
    ) -> MemoryRequest | None:
        assert 0 < len(data) <= self.geometry.max_transfer
        with self._room:
            while self.in_flight >= self._depth:
                if not wait:
                    return None
                assert self._room.wait(10), "a thread waits for room that nobody makes"
            self.in_flight += 1
        self._check(kind, offset, len(data))
        return MemoryRequest(offset, data, writes=kind == "write")

    def _check(self, kind: str, offset: int, length: int) -> None:
        block = self.geometry.block_size
        assert offset % block == 0
        assert length % block == 0
        assert offset + length <= self.geometry.capacity
        self.calls.append((kind, offset, length))
