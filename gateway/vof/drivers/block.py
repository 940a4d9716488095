# SPDX-License-Identifier: BSD-3-Clause
"""The virtio-blk driver (virtio 1.2 §5.2).

Owns feature negotiation, the reading and checking of the config space, and the form of every
request: header, data at most ``max_transfer`` bytes in segments of at most size_max, status byte.
Nothing is ever sent that the device did not offer. Requests may be started and finished apart, from
any thread, so that a caller can keep several in flight.

Must not know bytes that are not whole sectors, nor who asks: ``gateways`` divides and rounds.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

from vof.errors import (
    CompletionError,
    ConfigError,
    DeviceError,
    LocalProtocolError,
    RemoteProtocolError,
)
from vof.fabric.pending import Pending
from vof.initiator.config import read_config
from vof.initiator.parameters import SessionParameters
from vof.initiator.session import Session
from vof.initiator.virtqueue import Virtqueue
from vof.wire.blk import (
    DISCARD_SEGMENT,
    FIELDS_BY_FEATURE,
    GET_ID_SIZE,
    LIFETIME,
    REQUEST_HEADER,
    SECTOR_SHIFT,
    SECTOR_SIZE,
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

MAX_TRANSFER = 32 << 20
"""Bytes of the largest data request we make, whatever a device allows."""

MAX_BLOCK_SIZE = 64 << 10

DEFAULT_QUEUES = 4
"""Virtqueues opened at most, unless asked for more."""

_STATUS_UNWRITTEN = 0xFF


class Request(NamedTuple):
    """A request in flight."""

    what: str
    queue: Virtqueue
    pending: Pending
    data_length: int
    """Bytes the device has to fill in if it succeeds."""
    status: bytearray


@dataclass(frozen=True)
class Geometry:
    """What the device is, in bytes where it has a unit; fixed while the driver lives."""

    capacity: int
    block_size: int
    """Logical block: nothing smaller should be asked for."""
    physical_block_size: int
    optimal_io_size: int
    """0 if the device does not say."""
    size_max: int
    max_transfer: int
    """Data of one request; a multiple of the block size."""
    max_discard: int
    max_write_zeroes: int
    max_secure_erase: int
    """Bytes of one such request; 0 where the device does not offer it."""
    write_zeroes_may_unmap: bool


class BlockDriver:
    """A virtio-blk device ready for requests. Made by ``open``; closes its session."""

    def __init__(
        self, session: Session, features: Feature, geometry: Geometry, queues: Sequence[Virtqueue]
    ) -> None:
        self.session = session
        self.features = features
        self.geometry = geometry
        self._queues = queues
        self._affinity = threading.local()
        self._next_queue = count()

    @classmethod
    def open(cls, parameters: SessionParameters, queues: int = DEFAULT_QUEUES) -> BlockDriver:
        """Open a session and initialise the device, with at most ``queues`` virtqueues.

        Raises ConnectError, and as ``attach``.
        """
        return cls.attach(Session.open(parameters), queues)

    @classmethod
    def attach(cls, session: Session, queues: int = DEFAULT_QUEUES) -> BlockDriver:
        """Initialise the device of a session, which is closed if that fails.

        Raises ConfigError if the device is no block device, RemoteProtocolError if what it says of
        itself cannot be, and what a session raises.
        """
        try:
            check_block_device(session)
            features = Feature(session.negotiate(WANTED) & WANTED)
            config = read_block_config(session, features)
            # Without MQ a device has one request queue, whatever the transport says (§5.2.2).
            offered = config.num_queues if features & Feature.MQ else 1
            count_of_queues = min(queues, session.num_queues, offered)
            if count_of_queues < 1:
                raise RemoteProtocolError(
                    f"{session.parameters.where}: the device has no virtqueue"
                )
            virtqueues = session.open_virtqueues(count_of_queues)
            depth = min(queue.size for queue in virtqueues)
            geometry = _geometry(session, features, config, depth)
            session.driver_ok()
        except BaseException:
            session.close()
            raise
        return cls(session, features, geometry, virtqueues)

    def close(self) -> None:
        """Close the session. Idempotent; requests in flight fail."""
        self.session.close()

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
        if arrival.completion.status:
            raise CompletionError(request.what, arrival.completion.status)
        if arrival.lengths[-1] != 1:
            self._violation(f"{request.what} completed without a status byte")
        status = request.status[0]
        if status == Status.OK:
            if sum(arrival.lengths) - 1 < request.data_length:
                self._violation(
                    f"{request.what} succeeded with {sum(arrival.lengths) - 1} of "
                    f"{request.data_length} bytes"
                )
            return
        raise _device_error(request.what, status)

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
        return answer.split(b"\0", 1)[0].decode("ascii", "backslashreplace")

    def get_lifetime(self) -> Lifetime:
        self._need(Feature.LIFETIME)
        answer = bytearray(LIFETIME.size)
        self._run(RequestType.GET_LIFETIME, 0, (), [memoryview(answer)])
        return Lifetime(*LIFETIME.unpack(answer))

    def set_writeback(self, writeback: bool) -> None:
        """Choose the device's cache mode (§5.2.5.1). Raises LocalProtocolError without
        CONFIG_WCE."""
        self._need(Feature.CONFIG_WCE)
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
            what, lengths, [header, *payload], [*writable, memoryview(status)], wait=wait
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
            f"{self.session.parameters.where}: protocol violation by the device: {what}"
        )
        self.session.fail(error)
        raise error


_NAMES = {kind: f"VIRTIO_BLK_T_{kind.name}" for kind in RequestType}


def check_block_device(session: Session) -> None:
    """Raise ConfigError if the session's device is not a virtio-blk."""
    if session.device_id != DeviceId.BLOCK:
        try:
            found = f"a virtio-{DeviceId(session.device_id).name.lower()}"
        except ValueError:
            found = f"of virtio device type {session.device_id}"
        raise ConfigError(
            f"'{session.tvqn}' is {found}, not a virtio-blk; name a block device in tvqn="
        )


def read_block_config(session: Session, features: Feature) -> Config:
    """Return the config space, with the fields that ``features`` make valid and zero elsewhere."""
    names = [
        name
        for feature, fields in FIELDS_BY_FEATURE.items()
        if feature is None or features & feature
        for name in fields
    ]
    return Config(**read_config(session.control, layout_of(Config), names))  # type: ignore[arg-type]


def _geometry(session: Session, features: Feature, config: Config, depth: int) -> Geometry:
    """Check what the device says of itself and return it in bytes. ``depth`` is its queues'
    size."""
    where = session.parameters.where

    def require(condition: bool, what: str) -> None:
        if not condition:
            raise RemoteProtocolError(f"{where}: the device's config is impossible: {what}")

    capacity = config.capacity << SECTOR_SHIFT
    require(capacity < 1 << 63, f"capacity of {config.capacity} sectors")
    block_size = SECTOR_SIZE
    if features & Feature.BLK_SIZE:
        block_size = config.blk_size
        require(_is_block_size(block_size), f"blk_size {block_size}")
    size_max = MAX_TRANSFER
    if features & Feature.SIZE_MAX:
        require(config.size_max >= SECTOR_SIZE, f"size_max {config.size_max}")
        size_max = min(size_max, config.size_max)
    segments = 1
    if features & Feature.SEG_MAX:
        require(config.seg_max >= 1, "seg_max 0")
        segments = config.seg_max
    # Header and status byte take a descriptor each.
    segments = min(segments, session.max_segs - 2, depth - 2)
    require(segments >= 1, f"max_segs {session.max_segs} with a virtqueue of {depth}")
    max_transfer = min(MAX_TRANSFER, size_max * segments) // block_size * block_size
    require(max_transfer > 0, f"size_max {size_max} with blk_size {block_size}")
    physical = block_size
    if features & Feature.TOPOLOGY and config.physical_block_exp < 16:
        physical = block_size << config.physical_block_exp
    return Geometry(
        capacity=capacity,
        block_size=block_size,
        physical_block_size=physical,
        optimal_io_size=config.opt_io_size * block_size,
        size_max=size_max,
        max_transfer=max_transfer,
        max_discard=_segment_limit(config.max_discard_sectors, config.max_discard_seg, block_size),
        max_write_zeroes=_segment_limit(
            config.max_write_zeroes_sectors, config.max_write_zeroes_seg, block_size
        ),
        max_secure_erase=_segment_limit(
            config.max_secure_erase_sectors, config.max_secure_erase_seg, block_size
        ),
        write_zeroes_may_unmap=bool(config.write_zeroes_may_unmap),
    )


def _is_block_size(size: int) -> bool:
    return SECTOR_SIZE <= size <= MAX_BLOCK_SIZE and size & (size - 1) == 0


def _segment_limit(sectors: int, segments: int, block_size: int) -> int:
    """Bytes of a one-segment request, in whole blocks; 0 if the device takes no segment."""
    return (sectors << SECTOR_SHIFT) // block_size * block_size if segments else 0


def _device_error(what: str, status: int) -> DeviceError:
    if status == Status.UNSUPP:
        return DeviceError(f"the device does not support {what}", status, errno=errno.ENOTSUP)
    if status == Status.IOERR:
        return DeviceError(f"the device failed {what} with an I/O error", status)
    return DeviceError(f"the device ended {what} with unknown status {status}", status)
