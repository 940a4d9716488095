# SPDX-License-Identifier: BSD-3-Clause
"""The virtio-blk driver (virtio 1.2 §5.2).

Owns feature negotiation and the form of every request: header, data at most ``max_transfer`` bytes
in segments of at most size_max, status byte. Nothing is ever sent that the device did not offer.
Requests may be started and finished apart, from any thread, so that a caller can keep several in
flight. Plain ones have a shorter way: ``carrier``.

Must not know bytes that are not whole sectors, nor who asks: ``gateways`` divides and rounds.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import NamedTuple

from vof.drivers.block_carrier import make_carrier
from vof.drivers.block_geometry import (
    Geometry,
    capacity_of,
    check_block_device,
    geometry_of,
    read_block_config,
)
from vof.drivers.registry import drives
from vof.errors import CompletionError, DeviceError, LocalProtocolError, RemoteProtocolError
from vof.fabric.pending import Pending
from vof.initiator.parameters import SessionParameters
from vof.initiator.session import Session
from vof.initiator.virtqueue import Virtqueue
from vof.wire.blk import (
    DISCARD_SEGMENT,
    GET_ID_SIZE,
    LIFETIME,
    REQUEST_HEADER,
    SECTOR_SHIFT,
    SEGMENT_FLAG_UNMAP,
    WRITEBACK_OFFSET,
    Config,
    Feature,
    Lifetime,
    RequestType,
    Status,
)
from vof.wire.constants import DeviceId
from vof.wire.layout import layout_of
from vof.wire.structs import Buffer

WANTED = (
    Feature.SIZE_MAX
    | Feature.SEG_MAX
    | Feature.RO
    | Feature.BLK_SIZE
    | Feature.FLUSH
    | Feature.TOPOLOGY
    | Feature.CONFIG_WCE
    | Feature.MQ
    | Feature.DISCARD
    | Feature.WRITE_ZEROES
    | Feature.LIFETIME
    | Feature.SECURE_ERASE
)

DEFAULT_QUEUES = max(1, min(4, len(os.sched_getaffinity(0)) // 2))
"""Virtqueues opened at most, unless asked for more: one for two CPUs. With more queues than CPUs to
receive on, completions come one by one that could have come together (docs/performance.md)."""

_STATUS_UNWRITTEN = 0xFF
"""The status byte as it is sent: no success, if nobody writes it."""


class Request(NamedTuple):
    """A request in flight."""

    what: str
    queue: Virtqueue
    pending: Pending
    data_length: int
    """Bytes the device has to fill in if it succeeds."""
    status: bytearray


@drives(DeviceId.BLOCK, "virtio-blk", layout_of(Config))
class BlockDriver:
    """A virtio-blk device ready for requests. Made by ``open``; closes its session."""

    def __init__(
        self, session: Session, features: Feature, geometry: Geometry, queues: Sequence[Virtqueue]
    ) -> None:
        self.session = session
        self.features = features
        self.geometry = geometry
        self._size = geometry.capacity // geometry.block_size * geometry.block_size
        self.on_resize: Callable[[int, int], None] = lambda _before, _now: None
        """Called, from any thread, with the sizes before and now when the device's has changed."""
        self._queues = queues
        self._affinity = threading.local()
        self._next_queue = count()
        self.carrier = make_carrier(queues, features, geometry, self._judge)
        """Carries plain requests without the interpreter; None where the fabric is Python's."""

    @classmethod
    def open(cls, parameters: SessionParameters, queues: int = DEFAULT_QUEUES) -> BlockDriver:
        """Open a session and initialise the device, with at most ``queues`` virtqueues.

        Raises ConnectError, and as ``attach``.
        """
        return cls.attach(Session.open(parameters), queues)

    @classmethod
    def attach(cls, session: Session, queues: int = DEFAULT_QUEUES) -> BlockDriver:
        """Initialise the device of a session, which is closed if that fails.

        Raises WrongDevice if the device is no block device, RemoteProtocolError if what it says of
        itself cannot be, and what a session raises.
        """
        try:
            check_block_device(session)
            features = Feature(session.negotiate(WANTED) & WANTED)
            config = read_block_config(session, features)
            # Without MQ a device has one request queue, whatever the transport says (§5.2.2).
            offered = config.num_queues if features & Feature.MQ else 1
            count_of_queues = session.queue_sizes.up_to(min(queues, offered))
            if count_of_queues < 1:
                raise RemoteProtocolError(f"{session.where}: the device has no virtqueue")
            if config.writeback and not features & Feature.FLUSH:
                _write_through(session)
            virtqueues = session.open_virtqueues(count_of_queues)
            depth = min(queue.max_descriptors for queue in virtqueues)
            geometry = geometry_of(session, features, config, depth)
            session.driver_ok()
            driver = cls(session, features, geometry, virtqueues)
            session.watch_config(driver.reread_config)
        except BaseException:
            session.close()
            raise
        return driver

    def close(self) -> None:
        """Close the session. Idempotent; requests in flight fail."""
        self.session.close()

    @property
    def size(self) -> int:
        """The device's size in bytes, whole blocks; it may change while the driver lives."""
        return self._size

    def reread_config(self) -> None:
        """Take the device's size from its config space once more; all else stays as it was when the
        device was opened. Raises what a session raises; an impossible config ends it.
        """
        try:
            config = read_block_config(self.session, self.features)
            capacity = capacity_of(self.session, config)
        except RemoteProtocolError as error:
            self.session.fail(error)
            raise
        before = self._size
        block = self.geometry.block_size
        self.geometry = replace(self.geometry, capacity=capacity)
        self._size = capacity // block * block
        if self.carrier is not None:
            self.carrier.resize(self._size)
        if self._size != before:
            self.on_resize(before, self._size)

    @property
    def read_only(self) -> bool:
        return bool(self.features & Feature.RO)

    def start_read(self, offset: int, data: memoryview, *, wait: bool = True) -> Request | None:
        """Start reading into ``data``, lent until the request is finished.

        ``offset`` and the length are bytes, multiples of a sector, within the capacity; the length
        at most ``max_transfer``. With ``wait`` false, returns None if the virtqueue is full.
        """
        return self._start(RequestType.IN, offset, (), self._segments(data), wait=wait)

    def start_write(self, offset: int, data: Buffer, *, wait: bool = True) -> Request | None:
        """Start writing ``data``, lent until the request is finished. Limits as for
        ``start_read``."""
        return self._start(RequestType.OUT, offset, (data,), (), wait=wait)

    def finish(self, request: Request) -> None:
        """Wait for a request's end.

        Raises DeviceError if the device failed it (ENOTSUP where it does not know it),
        CompletionError if the target refused it, SessionLost.
        """
        arrival = request.queue.wait(request.pending)
        written = min(sum(arrival.lengths), arrival.used)
        refused = arrival.completion.status
        has_status = not refused and written > 0 and arrival.lengths[-1] == 1
        if has_status and request.status[0] != Status.OK:
            request.queue.fabric.count_failed(request.what)
        self._judge(
            request.what,
            refused,
            request.status[0] if has_status else None,
            written - 1,
            request.data_length,
        )

    def _judge(
        self, what: str, refused: int, status: int | None, arrived: int, wanted: int
    ) -> None:
        """Raise what became of a request, if it did not succeed; see ``finish``.

        ``refused`` is the completion's status, ``status`` the device's, None where it did not come;
        of ``wanted`` bytes of data ``arrived`` came.
        """
        if refused:
            raise self._queues[0].refusal(what, refused)
        if status is None:
            self._violation(f"{what} completed without a status byte")
        elif status != Status.OK:
            raise _device_error(what, status)
        elif arrived < wanted:
            self._violation(f"{what} succeeded with {arrived} of {wanted} bytes")

    def flush(self) -> None:
        """Make every completed write durable. Raises LocalProtocolError if FLUSH was not
        offered."""
        self._need(Feature.FLUSH)
        self._run(RequestType.FLUSH, 0)

    def discard(self, offset: int, length: int) -> None:
        """Tell the device that ``length`` bytes at ``offset`` are not needed; at most
        ``max_discard``."""
        self._need(Feature.DISCARD)
        self._run_segment(RequestType.DISCARD, offset, length, 0)

    def write_zeroes(self, offset: int, length: int, *, unmap: bool = False) -> None:
        """Write zeroes, at most ``max_write_zeroes`` bytes; ``unmap`` allows the device to
        deallocate."""
        self._need(Feature.WRITE_ZEROES)
        unmap = unmap and self.geometry.write_zeroes_may_unmap
        flags = SEGMENT_FLAG_UNMAP if unmap else 0
        self._run_segment(RequestType.WRITE_ZEROES, offset, length, flags)

    def secure_erase(self, offset: int, length: int) -> None:
        """Erase so that nothing can be recovered; at most ``max_secure_erase`` bytes."""
        self._need(Feature.SECURE_ERASE)
        self._run_segment(RequestType.SECURE_ERASE, offset, length, 0)

    def get_id(self) -> str:
        """Return the device's identification string, at most 20 bytes."""
        answer = bytearray(GET_ID_SIZE)
        self._run(RequestType.GET_ID, 0, (), [memoryview(answer)])
        return answer.split(b"\0", 1)[0].decode(errors="backslashreplace")

    def get_lifetime(self) -> Lifetime:
        self._need(Feature.LIFETIME)
        answer = bytearray(LIFETIME.size)
        self._run(RequestType.GET_LIFETIME, 0, (), [memoryview(answer)])
        return Lifetime(*LIFETIME.unpack(answer))

    def set_writeback(self, writeback: bool) -> None:
        """Choose the device's cache mode (§5.2.5.1). Raises LocalProtocolError without CONFIG_WCE,
        and for a cache that nothing could flush."""
        self._need(Feature.CONFIG_WCE)
        if writeback:
            self._need(Feature.FLUSH)
        self.session.control.set_config(WRITEBACK_OFFSET, 1, int(writeback))

    def _start(
        self,
        kind: RequestType,
        offset: int,
        payload: Sequence[Buffer],
        writable: Sequence[memoryview],
        *,
        wait: bool,
    ) -> Request | None:
        header = REQUEST_HEADER.pack(kind, 0, offset >> SECTOR_SHIFT)
        status = bytearray([_STATUS_UNWRITTEN])
        lengths = [len(header)]
        for part in payload:
            lengths += self._segment_lengths(len(part))
        queue = self._queue()
        what = _NAMES[kind]
        pending = queue.submit(
            what, lengths, [header, *payload], [*writable, memoryview(status)], 1, wait=wait
        )
        if pending is None:
            return None
        # An identification string may come shorter than there is room for.
        demanded = 0 if kind is RequestType.GET_ID else sum(map(len, writable))
        return Request(what, queue, pending, demanded, status)

    def _run(
        self,
        kind: RequestType,
        offset: int,
        payload: Sequence[Buffer] = (),
        writable: Sequence[memoryview] = (),
    ) -> None:
        request = self._start(kind, offset, payload, writable, wait=True)
        assert request is not None
        self.finish(request)

    def _run_segment(self, kind: RequestType, offset: int, length: int, flags: int) -> None:
        segment = DISCARD_SEGMENT.pack(offset >> SECTOR_SHIFT, length >> SECTOR_SHIFT, flags)
        self._run(kind, 0, [segment])

    def _queue(self) -> Virtqueue:
        """Return this thread's virtqueue: a thread keeps to one, so that its data stays near it."""
        try:
            return self._affinity.queue  # type: ignore[no-any-return]
        except AttributeError:
            queue = self._queues[next(self._next_queue) % len(self._queues)]
            self._affinity.queue = queue
            return queue

    def _segments(self, data: memoryview) -> Sequence[memoryview]:
        size = self.geometry.size_max
        if len(data) <= size:
            return (data,)
        return [data[place : place + size] for place in range(0, len(data), size)]

    def _segment_lengths(self, length: int) -> Sequence[int]:
        size = self.geometry.size_max
        if length <= size:
            return (length,)
        whole, rest = divmod(length, size)
        return [size] * whole + ([rest] if rest else [])

    def _need(self, feature: Feature) -> None:
        if not self.features & feature:
            raise LocalProtocolError(
                f"the device of '{self.session.tvqn}' does not offer {feature.name}"
            )

    def _violation(self, what: str) -> None:
        error = RemoteProtocolError(
            f"{self.session.where}: protocol violation by the device: {what}"
        )
        self.session.fail(error)
        raise error


def _write_through(session: Session) -> None:
    """Have a device that has a write cache, and no FLUSH for it, use none: after that a write is
    durable when it is completed (§5.2.6.2), as where neither is offered. No device may be so
    (§5.2.5.2). Raises RemoteProtocolError if it does not."""
    with contextlib.suppress(CompletionError):
        session.control.set_config(WRITEBACK_OFFSET, 1, 0)
    if session.control.get_config(WRITEBACK_OFFSET, 1):
        raise RemoteProtocolError(
            f"{session.where}: the device's config is impossible: a write cache that "
            "cannot be turned off (writeback) nor flushed (no FLUSH)"
        )


_NAMES = {kind: f"VIRTIO_BLK_T_{kind.name}" for kind in RequestType}


def _device_error(what: str, status: int) -> DeviceError:
    if status == Status.UNSUPP:
        return DeviceError(f"the device does not support {what}", status, errno=errno.ENOTSUP)
    if status == Status.IOERR:
        return DeviceError(f"the device failed {what} with an I/O error", status)
    if status == _STATUS_UNWRITTEN:
        return DeviceError(f"the device ended {what} without writing a status", status)
    return DeviceError(f"the device ended {what} with unknown status {status}", status)
