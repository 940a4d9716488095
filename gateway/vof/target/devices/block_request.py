# SPDX-License-Identifier: BSD-3-Clause
"""Executes the requests of a block device (virtio 1.2 §5.2.6).

Owns the checks of one request against capacity, limits and features, and the status byte. Must not
know who negotiated what: ``rules`` says what holds.

Every request is answered with its whole device-writable area, errors too: the area is zeros and the
status byte says what happened. Linux' initiator waits for ever for a descriptor that does not come
back.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from dataclasses import dataclass

from vof.counts import OTHER
from vof.errors import RemoteProtocolError
from vof.logline import Throttle
from vof.target.backends.block_interface import BlockBackend
from vof.target.devices.device import Result
from vof.wire.blk import (
    DISCARD_SEGMENT,
    GET_ID_SIZE,
    LIFETIME,
    REQUEST_HEADER,
    SECTOR_SHIFT,
    SECTOR_SIZE,
    SEGMENT_FLAG_UNMAP,
    Feature,
    RequestType,
    Status,
)

_HEADER_SIZE = REQUEST_HEADER.size
_FILLING = frozenset({RequestType.IN, RequestType.GET_ID, RequestType.GET_LIFETIME})
_SEGMENT_SIZE = DISCARD_SEGMENT.size
_OK, _IOERR, _UNSUPP = int(Status.OK), int(Status.IOERR), int(Status.UNSUPP)
_IN = int(RequestType.IN)
_ZEROS = bytes(1 << 16)


@dataclass(frozen=True)
class RequestLimits:
    """The limits of one request, beyond reading and writing, as the config space says them."""

    max_discard_sectors: int
    max_write_zeroes_sectors: int
    max_secure_erase_sectors: int
    max_segments: int


@dataclass(frozen=True)
class Rules:
    """The rules for a driver's requests; replaced as a whole, so that a request sees one state of
    them.
    """

    features: int = 0
    persist: bool = True
    """A write is on the medium before it completes."""


class ServedSize:
    """The served size of a disk. One for all drivers; it may change between any two requests."""

    def __init__(self, end: int) -> None:
        self.end = end
        """Bytes, whole sectors."""


Handler = Callable[[Rules, int, memoryview, memoryview], int]


class BlockRequests:
    """The requests of one driver."""

    def __init__(
        self,
        tvqn: str,
        backend: BlockBackend,
        served_size: ServedSize,
        limits: RequestLimits,
        *,
        serial: bytes,
        readonly: bool,
    ) -> None:
        self.rules = Rules()
        self._tvqn = tvqn
        self._backend = backend
        self._served_size = served_size
        self._limits = limits
        self._serial = serial
        self._readonly = readonly
        self._throttle = Throttle(1.0)
        # The feature without which a request type does not exist, and what executes it.
        self._handlers: dict[int, tuple[Feature | None, Handler]] = {
            RequestType.IN: (None, self._read),
            RequestType.OUT: (None, self._write),
            RequestType.FLUSH: (Feature.FLUSH, self._flush),
            RequestType.GET_ID: (None, self._get_id),
            RequestType.GET_LIFETIME: (Feature.LIFETIME, self._get_lifetime),
            RequestType.DISCARD: (Feature.DISCARD, self._discard),
            RequestType.WRITE_ZEROES: (Feature.WRITE_ZEROES, self._write_zeroes),
            RequestType.SECURE_ERASE: (Feature.SECURE_ERASE, self._secure_erase),
        }

    def handle(self, readable: memoryview, writable: memoryview) -> int:
        """Execute one request; return how much of ``writable`` was written, which is all of it.

        Raises RemoteProtocolError where there is no room for the header or the status byte
        (§5.2.6.1).
        """
        if len(readable) < _HEADER_SIZE:
            raise RemoteProtocolError(
                f"a block request has {len(readable)} device-readable bytes, too few for its header"
            )
        if not writable:
            raise RemoteProtocolError("a block request has no room for its status byte")
        kind, _ioprio, sector = REQUEST_HEADER.unpack_from(readable)
        area = writable[:-1]
        # A read overwrites the area; for everything else the answer is zeros unless it says more.
        if kind != _IN:
            _zero(area)
        rules = self.rules
        feature, handler = self._handlers.get(kind, (None, _unsupported))
        if feature is not None and not rules.features & feature:
            status = _UNSUPP
        else:
            try:
                status = handler(rules, sector, readable[_HEADER_SIZE:], area)
            except OSError as error:
                status = _IOERR
                self.report(kind, sector, error.strerror or str(error))
        if status != _OK:
            _zero(area)
        writable[-1] = status
        return len(writable)

    def _range(self, sector: int, length: int) -> int:
        """Return the byte offset of ``sector``, or -1 where the range is no part of the disk."""
        offset = sector << SECTOR_SHIFT
        if length % SECTOR_SIZE or offset + length > self._served_size.end:
            return -1
        return offset

    def _read(self, rules: Rules, sector: int, data: memoryview, area: memoryview) -> int:
        offset = self._range(sector, len(area))
        if offset < 0 or data:
            return _IOERR
        self._backend.read(area, offset)
        return _OK

    def _write(self, rules: Rules, sector: int, data: memoryview, area: memoryview) -> int:
        offset = self._range(sector, len(data))
        if offset < 0 or self._readonly:
            return _IOERR
        self._backend.write(data, offset, persist=rules.persist)
        return _OK

    def _flush(self, rules: Rules, sector: int, data: memoryview, area: memoryview) -> int:
        self._backend.flush()
        return _OK

    def _get_id(self, rules: Rules, sector: int, data: memoryview, area: memoryview) -> int:
        # The buffer should have 20 bytes; the reference target's sample brings 127.
        serial = self._serial[: min(len(area), GET_ID_SIZE)]
        area[: len(serial)] = serial
        return _OK

    def _get_lifetime(
        self,
        rules: Rules,
        sector: int,
        data: memoryview,
        area: memoryview,
    ) -> int:
        lifetime = self._backend.lifetime()
        if lifetime is None or len(area) < LIFETIME.size:
            return _IOERR
        LIFETIME.pack_into(area, 0, *lifetime)
        return _OK

    def _discard(self, rules: Rules, sector: int, data: memoryview, area: memoryview) -> int:
        # §5.2.6.2: for a discard the unmap flag is reserved.
        status, segments = self._segments(data, self._limits.max_discard_sectors, known_flags=0)
        for offset, length, _flags in segments:
            self._backend.discard(offset, length)
        return self._persisted(rules, status)

    def _write_zeroes(
        self,
        rules: Rules,
        sector: int,
        data: memoryview,
        area: memoryview,
    ) -> int:
        status, segments = self._segments(
            data, self._limits.max_write_zeroes_sectors, known_flags=SEGMENT_FLAG_UNMAP
        )
        for offset, length, flags in segments:
            unmap = bool(flags & SEGMENT_FLAG_UNMAP)
            self._backend.write_zeroes(offset, length, unmap=unmap)
        return self._persisted(rules, status)

    def _secure_erase(
        self,
        rules: Rules,
        sector: int,
        data: memoryview,
        area: memoryview,
    ) -> int:
        status, segments = self._segments(
            data, self._limits.max_secure_erase_sectors, known_flags=0
        )
        for offset, length, _flags in segments:
            self._backend.secure_erase(offset, length)
        return self._persisted(rules, status)

    def _segments(
        self, data: memoryview, max_sectors: int, *, known_flags: int
    ) -> tuple[int, list[tuple[int, int, int]]]:
        """Return (status, segments as offset, length and flags); no segment unless all are good."""
        count, rest = divmod(len(data), _SEGMENT_SIZE)
        if rest or not 0 < count <= self._limits.max_segments:
            return _IOERR, []
        raw = list(DISCARD_SEGMENT.iter_unpack(data))
        if any(flags & ~known_flags for _sector, _sectors, flags in raw):
            return _UNSUPP, []
        segments = []
        for sector, sectors, flags in raw:
            length = sectors << SECTOR_SHIFT
            offset = self._range(sector, length)
            if offset < 0 or sectors > max_sectors:
                return _IOERR, []
            if length:
                segments.append((offset, length, flags))
        return _OK, segments

    def _persisted(self, rules: Rules, status: int) -> int:
        if status == _OK and rules.persist:
            self._backend.flush()
        return status

    def report(self, kind: int, sector: int, reason: str) -> None:
        """Log an error of the disk, unless there was one just now."""
        self._throttle.event(
            logging.ERROR,
            "io-error",
            tvqn=self._tvqn,
            request=RequestType(kind).name,
            sector=sector,
            reason=reason,
        )


def kind_of(readable: memoryview) -> str:
    """Return the name under which a request is counted."""
    try:
        return f"VIRTIO_BLK_T_{RequestType(REQUEST_HEADER.unpack_from(readable)[0]).name}"
    except (ValueError, struct.error):
        return OTHER


def result_of(readable: memoryview, writable: memoryview, used: int) -> Result:
    """Return what is counted of a request that was answered."""
    if not used or writable[-1] != Status.OK:
        return Result(0, failed=True)
    kind = REQUEST_HEADER.unpack_from(readable)[0]
    return Result(used - 1 if kind in _FILLING else len(readable) - _HEADER_SIZE, failed=False)


def _unsupported(rules: Rules, sector: int, data: memoryview, area: memoryview) -> int:
    return _UNSUPP


def _zero(area: memoryview) -> None:
    """Overwrite with zeros, without a second buffer of that size."""
    for start in range(0, len(area), len(_ZEROS)):
        part = area[start : start + len(_ZEROS)]
        part[:] = _ZEROS[: len(part)]
