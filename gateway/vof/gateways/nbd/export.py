# SPDX-License-Identifier: BSD-3-Clause
"""One NBD connection's view of a virtio-blk: its size, its abilities, and its requests.

Owns what NBD's flags and block sizes mean for a virtio-blk, and the errno map of this edge: nbdkit
turns an errno it does not know into EINVAL, which would blame the caller, so unknown becomes EIO
and a lost session ESHUTDOWN. Must not know which exports there are.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from vof.errors import CompletionError, DeviceError, SessionLost, VofError
from vof.gateways.disk import Disk
from vof.wire.blk import Feature
from vof.wire.constants import Transport

MAX_NBD_BLOCK = 32 << 20
"""The largest block size NBD lets a server announce."""

LARGEST_SIZE = 1 << 62
"""The size of an export whose client learns the disk's elsewhere; nbdkit itself refuses all that is
beyond the size that it was told first."""

MIN_PREFERRED_BLOCK = 4096

# What nbdkit passes on to an NBD client as it is.
_NBD_ERRNOS = frozenset(
    {
        errno.EPERM,
        errno.EIO,
        errno.ENOMEM,
        errno.EINVAL,
        errno.ENOSPC,
        errno.ESHUTDOWN,
    }
)

_P = ParamSpec("_P")
_T = TypeVar("_T")


def nbd_errno(error: BaseException, zero: bool = False) -> int:
    """Return the errno with which ``error`` reaches an NBD client; ``zero``: of a zero request."""
    if isinstance(error, SessionLost):
        return errno.ESHUTDOWN
    if zero and isinstance(error, DeviceError) and error.errno == errno.ENOTSUP:
        return errno.ENOTSUP  # here alone nbdkit knows it: it then writes the zeroes as data
    # A target's refusal is about the command we made of the request: no fault of the client's.
    refused = isinstance(error, CompletionError)
    if isinstance(error, VofError) and not refused and error.errno in _NBD_ERRNOS:
        return error.errno
    return errno.EIO


class Export:
    """One NBD connection's view of a device. Methods raise after having called ``set_error``."""

    def __init__(self, disk: Disk, set_error: Callable[[int], None], growing: bool = False) -> None:
        self.disk = disk
        self._set_error = set_error
        self._growing = growing

    def size(self) -> int:
        """Return the size in bytes, or what no disk has where the client learns it elsewhere."""
        return LARGEST_SIZE if self._growing else self.disk.size

    def block_size(self) -> tuple[int, int, int]:
        """Return NBD's minimum, preferred and maximum block size in bytes.

        The minimum is 1: clients hold to it (libnbd refuses what is smaller), and any alignment is
        served here. The preferred size is the device's physical block, below which a write costs a
        read as well; the maximum is what one virtio-blk request carries. Larger ones are divided.
        """
        geometry = self.disk.driver.geometry
        preferred = max(geometry.physical_block_size, geometry.block_size, MIN_PREFERRED_BLOCK)
        preferred = min(preferred, MAX_NBD_BLOCK)
        maximum = max(preferred, geometry.max_transfer // preferred * preferred)
        return 1, preferred, min(maximum, MAX_NBD_BLOCK)

    def can_write(self) -> bool:
        return not self.disk.driver.read_only

    def has_write_cache(self) -> bool:
        """Return whether a completed write may be volatile. Without FLUSH none is, and a flush has
        nothing to do (virtio 1.2 §5.2.6.2)."""
        return self._offers(Feature.FLUSH)

    def can_trim(self) -> bool:
        return self._offers(Feature.DISCARD) and self.disk.driver.geometry.max_discard > 0

    def can_zero(self) -> bool:
        """Return whether the device writes zeroes by itself; if not, nbdkit writes them as data."""
        geometry = self.disk.driver.geometry
        return self._offers(Feature.WRITE_ZEROES) and geometry.max_write_zeroes > 0

    def pread(self, data: memoryview, offset: int) -> None:
        self._call(self.disk.read, offset, data)

    def pwrite(self, data: memoryview, offset: int) -> None:
        self._call(self.disk.write, offset, data)

    def flush(self) -> None:
        self._call(self.disk.flush)

    def trim(self, length: int, offset: int) -> None:
        self._call(self.disk.discard, offset, length)

    def zero(self, length: int, offset: int, *, may_trim: bool) -> None:
        try:
            self.disk.write_zeroes(offset, length, unmap=may_trim)
        except BaseException as error:
            self._set_error(nbd_errno(error, zero=True))
            raise

    def lend(self) -> str:
        """Let nbdkit-vof-filter, if it is there, carry the requests of the connection being opened.

        Returns why it will not, empty if it will. Raises ConfigError for a filter of another
        version.
        """
        carrier = self.disk.driver.carrier
        if carrier is not None:
            return "" if carrier.lend(nbd_errno) else "nbdkit runs without the vof filter"
        if self.disk.driver.session.parameters.transport == Transport.RDMA.value:
            return "over RDMA requests go through Python"
        return "the engine in Python is in use"

    def _call(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            self._set_error(nbd_errno(error))
            raise

    def _offers(self, feature: Feature) -> bool:
        return bool(self.disk.driver.features & feature)
