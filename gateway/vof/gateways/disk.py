# SPDX-License-Identifier: BSD-3-Clause
"""A block device as plain bytes: any offset and length, over a driver that moves whole blocks.

Owns the bounds, the division of large requests at the driver's ``max_transfer`` (several in
flight), and the read-modify-write of the blocks at the ends of a request that is not aligned. Every
request is offered to the driver's carrier first, which takes those that need nothing of this. Must
not know NBD or FUSE; ``disks_only`` names them to a user, and no more.
"""

from __future__ import annotations

import contextlib
import errno
from collections import deque
from collections.abc import Callable, Iterator
from threading import Condition
from typing import TYPE_CHECKING, Protocol

from vof.drivers.block import BlockDriver, Request
from vof.errors import LocalProtocolError, VofError, WrongDevice
from vof.wire.blk import Feature
from vof.wire.structs import Buffer

if TYPE_CHECKING:
    from vof.engine.native import NativeBlock


@contextlib.contextmanager
def disks_only() -> Iterator[None]:
    """Add to a WrongDevice why a gateway of disks has no use for it, and what has."""
    try:
        yield
    except WrongDevice as error:
        raise WrongDevice(
            f"{error}: NBD takes disks only; vof-mount shows an rng or crypto device as files"
        ) from None


class _Start(Protocol):
    def __call__(self, offset: int, data: memoryview, *, wait: bool) -> Request | None: ...


class Disk:
    """Byte access to a block driver, from any thread. Offsets and lengths are bytes throughout."""

    def __init__(self, driver: BlockDriver) -> None:
        self.driver = driver
        geometry = driver.geometry
        self._block = geometry.block_size
        self._max_transfer = geometry.max_transfer
        self._carrier = driver.carrier
        self._gate = WriteGate() if self._carrier is None else EngineGate(self._carrier)

    @property
    def size(self) -> int:
        """The capacity in whole blocks; it may change."""
        return self.driver.size

    def read(self, offset: int, data: memoryview) -> None:
        """Fill ``data`` from ``offset``. Raises LocalProtocolError beyond the end, and what a
        driver raises."""
        end = self._check(offset, len(data), errno.EINVAL)
        if self._carrier is not None and self._carrier.read(data, offset):
            return
        if not (offset | end) % self._block:
            self._read_blocks(offset, data)
            return
        first, last = self._blocks(offset, end)
        bounce = memoryview(bytearray(last - first))
        self._read_blocks(first, bounce)
        data[:] = bounce[offset - first : end - first]

    def write(self, offset: int, data: Buffer) -> None:
        """Write ``data`` at ``offset``. Raises LocalProtocolError (ENOSPC) beyond the end."""
        view = memoryview(data)
        end = self._check(offset, len(view), errno.ENOSPC)
        if self._carrier is not None and self._carrier.write(view, offset):
            return
        if not (offset | end) % self._block:
            with self._gate.shared:
                self._write_blocks(offset, view)
            return
        with self._gate.alone:
            self._write_edges(offset, end, view)

    def write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        """Make ``length`` bytes at ``offset`` read as zeroes; ``unmap`` allows them to be
        deallocated."""
        end = self._check(offset, length, errno.ENOSPC)
        if self._carrier is not None and self._carrier.write_zeroes(offset, length, unmap):
            return
        first, last = self._inner_blocks(offset, end)
        if first >= last:
            self.write(offset, bytes(length))
            return
        if offset < first:
            self.write(offset, bytes(first - offset))
        limit = self.driver.geometry.max_write_zeroes
        with self._gate.shared:
            for place in range(first, last, limit):
                count = min(limit, last - place)
                self.driver.write_zeroes(place, count, unmap=unmap)
        if last < end:
            self.write(last, bytes(end - last))

    def discard(self, offset: int, length: int) -> None:
        """Tell the device that the whole blocks within the range are not needed."""
        end = self._check(offset, length, errno.EINVAL)
        if self._carrier is not None and self._carrier.discard(offset, length):
            return
        first, last = self._inner_blocks(offset, end)
        limit = self.driver.geometry.max_discard
        with self._gate.shared:
            for place in range(first, last, limit):
                self.driver.discard(place, min(limit, last - place))

    def flush(self) -> None:
        """Make every completed write durable; nothing to do for a device without a write cache."""
        if self._carrier is not None and self._carrier.flush():
            return
        if self.driver.features & Feature.FLUSH:
            self.driver.flush()

    def _check(self, offset: int, length: int, beyond: int) -> int:
        end = offset + length
        if offset < 0 or length < 0 or end > self.size:
            raise LocalProtocolError(
                f"bytes {offset} to {end} are not within the device's {self.size}", errno=beyond
            )
        return end

    def _blocks(self, offset: int, end: int) -> tuple[int, int]:
        """The range of whole blocks that covers a range of bytes."""
        block = self._block
        return offset // block * block, -(-end // block) * block

    def _inner_blocks(self, offset: int, end: int) -> tuple[int, int]:
        """The range of whole blocks within a range of bytes; empty or reversed if there is none."""
        block = self._block
        return -(-offset // block) * block, end // block * block

    def _read_blocks(self, offset: int, data: memoryview) -> None:
        self._transfer(self.driver.start_read, offset, data)

    def _write_blocks(self, offset: int, data: memoryview) -> None:
        self._transfer(self.driver.start_write, offset, data)

    def _write_edges(self, offset: int, end: int, data: memoryview) -> None:
        """Write with a read-modify-write of the first and the last block, as far as they are not
        whole."""
        first, last = self._blocks(offset, end)
        block = self._block
        bounce = memoryview(bytearray(last - first))
        if offset % block:
            self._read_blocks(first, bounce[:block])
        if end % block and not (offset % block and last - first == block):
            self._read_blocks(last - block, bounce[-block:])
        bounce[offset - first : end - first] = data
        self._write_blocks(first, bounce)

    def _transfer(self, start: _Start, offset: int, data: memoryview) -> None:
        """Carry ``data`` by as many requests as it takes, all in flight together where the queue
        has room."""
        finish = self.driver.finish
        limit = self._max_transfer
        length = len(data)
        if length <= limit:
            if length:
                finish(_started(start(offset, data, wait=True)))
            return
        in_flight: deque[Request] = deque()
        try:
            for place in range(0, length, limit):
                part = data[place : place + limit]
                # A thread with requests in flight must not wait for room: it finishes one of its
                # own first.
                while (request := start(offset + place, part, wait=not in_flight)) is None:
                    finish(in_flight.popleft())
                in_flight.append(request)
            while in_flight:
                finish(in_flight.popleft())
        finally:
            # After an error the buffer may go back only when nothing is in flight any more.
            for request in in_flight:
                with contextlib.suppress(VofError):
                    finish(request)


def _started(request: Request | None) -> Request:
    assert request is not None
    return request


class WriteGate:
    """Lets whole-block writes pass side by side, and a read-modify-write only alone.

    Otherwise a read-modify-write could put back bytes that a neighbour has just replaced.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._passing = 0
        self._alone = False
        self.shared = _Pass(self._enter, self._leave)
        self.alone = _Pass(self._enter_alone, self._leave_alone)

    def _enter(self) -> None:
        with self._changed:
            while self._alone:
                self._changed.wait()
            self._passing += 1

    def _leave(self) -> None:
        with self._changed:
            self._passing -= 1
            if not self._passing:
                self._changed.notify_all()

    def _enter_alone(self) -> None:
        with self._changed:
            while self._alone:
                self._changed.wait()
            self._alone = True
            while self._passing:
                self._changed.wait()

    def _leave_alone(self) -> None:
        with self._changed:
            self._alone = False
            self._changed.notify_all()


class EngineGate:
    """The gate through which the engine's own writes go, for those that it declined."""

    def __init__(self, carrier: NativeBlock) -> None:
        self.shared = _Pass(carrier.enter, carrier.leave)
        self.alone = _Pass(carrier.enter_alone, carrier.leave_alone)


class _Pass:
    """A way through the gate, for ``with``."""

    def __init__(self, enter: Callable[[], None], leave: Callable[[], None]) -> None:
        self._enter = enter
        self._leave = leave

    def __enter__(self) -> None:
        self._enter()

    def __exit__(self, *_exc: object) -> None:
        self._leave()
