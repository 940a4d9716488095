# SPDX-License-Identifier: BSD-3-Clause
"""The interface of a block backend: what a disk asks of what keeps its data.

Owns the interface only. A backend must not know virtio: it has bytes at offsets, and raises OSError
where the disk fails. Its methods are called from many threads at once, and never beyond what
``measure`` said last: the device model checks.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from vof.target.backends.backend import Backend
from vof.wire.blk import Lifetime

if TYPE_CHECKING:
    from vof.target import native


class NativeLimits(NamedTuple):
    """The limits of a device that the native data path reads and writes for."""

    readonly: bool
    capacity: int
    """Bytes that are served."""
    max_discard_sectors: int
    max_write_zeroes_sectors: int
    max_segments: int


class BlockBackend(Backend):
    """Bytes at offsets."""

    size: int
    """Bytes there were when it was opened."""
    physical_block: int = 4096
    """Bytes that the medium writes as one, for the device's topology."""
    write_through: bool = False
    """Every write is persistent when it returns, whatever ``persist`` says."""
    can_discard: bool = False
    can_secure_erase: bool = False

    def measure(self) -> int:
        """Return the bytes there are now, which may differ from ``size`` where somebody else can
        change them. Raises OSError."""
        return self.size

    @abstractmethod
    def read(self, buffer: memoryview, offset: int) -> None:
        """Fill ``buffer`` from ``offset``, all of it or OSError."""

    @abstractmethod
    def write(self, data: memoryview, offset: int, *, persist: bool) -> None:
        """Write all of ``data``; with ``persist`` it is on the medium on return."""

    @abstractmethod
    def flush(self) -> None:
        """Bring to the medium everything that was written before."""

    @abstractmethod
    def discard(self, offset: int, length: int) -> None:
        """Forget the range if that is possible; what it holds afterwards is undefined."""

    @abstractmethod
    def write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        """Make the range read as zeros; with ``unmap`` its space may be given back."""

    def secure_erase(self, offset: int, length: int) -> None:
        """Remove the range's data for good; only where ``can_secure_erase``."""
        raise NotImplementedError

    def lifetime(self) -> Lifetime | None:
        """Return how worn the medium is, or None where the backend cannot tell."""
        return None

    def open_native(self, limits: NativeLimits) -> native.Device | None:
        """Return the same data for the native data path, None where that cannot do it.

        The caller closes it before this backend. Only where the native part is there.
        """
        return None
