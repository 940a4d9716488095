# SPDX-License-Identifier: BSD-3-Clause
"""The short way of a block device's plain requests: whole blocks, within what one request carries.

The engine forms, sends and judges such a request in one call, by the same rules as ``block``, and
declines every other one. Here it is told what the device is. What went wrong is for ``block`` to
say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from vof.drivers.block_geometry import Geometry
from vof.initiator.virtqueue import Virtqueue
from vof.wire.blk import Feature

try:
    from vof.engine.native import NativeBlock, NativeQueue
except ImportError:
    if not TYPE_CHECKING:
        NativeBlock = NativeQueue = None

OnFailure = Callable[[str, int, int | None, int, int], None]
"""Raises what became of a request; see ``BlockDriver._judge``."""


class PlainLimits(NamedTuple):
    """The limits of a device that the engine has to know, in bytes."""

    size: int
    block_size: int
    size_max: int
    max_transfer: int
    max_discard: int
    max_write_zeroes: int
    may_unmap: bool
    can_flush: bool
    read_only: bool


def make_carrier(
    virtqueues: Sequence[Virtqueue],
    features: Feature,
    geometry: Geometry,
    on_failure: OnFailure,
) -> NativeBlock | None:
    """Return a carrier over the device's queues, or None if they are not native."""
    queues = [item.fabric for item in virtqueues]
    native = [item for item in queues if NativeQueue is not None and isinstance(item, NativeQueue)]
    if not native or len(native) < len(queues):
        return None
    block = geometry.block_size
    limits = PlainLimits(
        size=geometry.capacity // block * block,
        block_size=block,
        size_max=geometry.size_max,
        max_transfer=geometry.max_transfer,
        max_discard=geometry.max_discard if features & Feature.DISCARD else 0,
        max_write_zeroes=geometry.max_write_zeroes if features & Feature.WRITE_ZEROES else 0,
        may_unmap=geometry.write_zeroes_may_unmap,
        can_flush=bool(features & Feature.FLUSH),
        read_only=bool(features & Feature.RO),
    )
    return NativeBlock(native, limits, on_failure, virtqueues[0].timeout)
