# SPDX-License-Identifier: BSD-3-Clause
"""The eager buffers of one virtqueue (*v5*, "Get Keyed Eager Buffers Command").

Several regions make one range of offsets, in the order in which they were exposed. The initiator
writes device-readable bytes there and says where they are. Owns the bounds, and which bytes belong
to a request that was not answered yet: two such may not have a byte in common.

A peer may write at any time, also while we look. So ``lease`` makes one copy of what a request has,
and everything is decided by that. Must not know how memory is registered. A reset revokes the keys
from another thread.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections.abc import Callable, Sequence

from vof.errors import RemoteProtocolError
from vof.target.rdma.memory import PAGE, Region
from vof.wire.v5 import KeyedDescriptor

REGIONS = 4
"""Regions of one range. More than one, so that nobody forgets that there may be."""

Lease = tuple[int, int]
"""The first offset of a request, and the one after its last."""


def region_sizes(total: int) -> list[int]:
    """Return the sizes of the regions of a range of at least ``total`` bytes: whole pages."""
    pages = -(-total // PAGE)
    count = min(REGIONS, pages)
    each, more = divmod(pages, count)
    return [(each + (place < more)) * PAGE for place in range(count)]


class EagerRange:
    """One virtqueue's range. Any thread may call ``expose`` and ``revoke``; the rest belongs to the
    queue's own."""

    def __init__(self, register: Callable[[int], Region], total: int) -> None:
        """``register`` makes a region that a peer may write to, and raises NotRegistered. Nothing
        is registered before it is exposed."""
        self._register = register
        self._sizes = region_sizes(total)
        self._lock = threading.Lock()
        self._closed = False
        self._regions: list[Region] = []
        self._size = 0
        self._leases: list[Lease] = []

    @property
    def size(self) -> int:
        """Bytes that are exposed."""
        return self._size

    def expose(self, count: int) -> Sequence[KeyedDescriptor]:
        """Return the first ``count`` regions, or all where there are fewer. What was exposed once
        stays so until it is revoked. Raises NotRegistered."""
        with self._lock:
            if self._closed:
                return ()
            while len(self._regions) < min(count, len(self._sizes)):
                region = self._register(self._sizes[len(self._regions)])
                self._regions.append(region)
                self._size += len(region.view)
            return [
                KeyedDescriptor(item.address, len(item.view), item.remote_key)
                for item in self._regions[:count]
            ]

    def lease(self, offset: int, length: int) -> bytes:
        """Return a copy of the bytes of a request, which are its own until ``release``.

        Raises RemoteProtocolError where they are not all in the range, or some of them belong to
        another request.
        """
        with self._lock:
            end = offset + length
            if end > self._size:
                raise RemoteProtocolError(
                    f"{length} bytes at offset {offset} are not within the {self._size} bytes of "
                    "the eager buffers"
                )
            if length:
                self._claim((offset, end))
            return self._copy(offset, end)

    def release(self, offset: int, length: int) -> None:
        """The request is answered: its bytes are the initiator's again."""
        if length:
            with self._lock:
                self._leases.remove((offset, offset + length))

    def revoke(self) -> None:
        """Revoke every key, before the memory is anything else's. What is exposed from then on has
        other ones; what was leased is not affected, for it is a copy."""
        with self._lock:
            self._size = 0
            for region in self._regions:
                region.close()
            self._regions.clear()

    def close(self) -> None:
        """Revoke every key, for good. Idempotent."""
        with self._lock:
            self._closed = True
        self.revoke()

    def _claim(self, lease: Lease) -> None:
        place = bisect_left(self._leases, lease)
        for other in self._leases[max(0, place - 1) : place + 1]:
            if other[0] < lease[1] and lease[0] < other[1]:
                raise RemoteProtocolError(
                    f"bytes {lease[0]} to {lease[1]} of the eager buffers overlap those of a "
                    f"request in flight, {other[0]} to {other[1]}"
                )
        insort(self._leases, lease)

    def _copy(self, offset: int, end: int) -> bytes:
        parts = []
        start = 0
        for region in self._regions:
            stop = start + len(region.view)
            if offset < stop and start < end:
                parts.append(region.view[max(offset, start) - start : min(end, stop) - start])
            start = stop
        return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)
