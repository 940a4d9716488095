# SPDX-License-Identifier: BSD-3-Clause
"""The geometry of a virtio-blk: its config space (virtio 1.2 §5.2.4), read, checked and in bytes.

Must not know requests.
"""

from __future__ import annotations

from dataclasses import dataclass

from vof.errors import RemoteProtocolError, WrongDevice
from vof.initiator.config import read_config
from vof.initiator.session import Session
from vof.wire.blk import FIELDS_BY_FEATURE, SECTOR_SHIFT, SECTOR_SIZE, Config, Feature
from vof.wire.constants import DeviceId
from vof.wire.layout import layout_of, valid_fields

MAX_TRANSFER = 32 << 20
"""Bytes of the largest data request we make, whatever a device allows."""

MAX_BLOCK_SIZE = 64 << 10

_AROUND_DATA = 4 << 10
"""Bytes of a request besides its data, generously: header and status."""


@dataclass(frozen=True)
class Geometry:
    """The sizes and limits of a device, in bytes where they have a unit; all but the capacity is
    fixed while the driver lives."""

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


def check_block_device(session: Session) -> None:
    """Raise WrongDevice if the session's device is not a virtio-blk."""
    if session.device_id != DeviceId.BLOCK:
        try:
            found = f"a virtio-{DeviceId(session.device_id).name.lower()}"
        except ValueError:
            found = f"of virtio device type {session.device_id}"
        raise WrongDevice(f"'{session.tvqn}' is {found}, not a virtio-blk")


def read_block_config(session: Session, features: Feature) -> Config:
    """Return the config space, with the fields that ``features`` make valid and zero elsewhere."""
    names = valid_fields(FIELDS_BY_FEATURE, features)
    return Config(**read_config(session.control, layout_of(Config), names))  # type: ignore[arg-type]


def capacity_of(session: Session, config: Config) -> int:
    """Return the device's capacity in bytes. Raises RemoteProtocolError if it cannot be."""
    capacity = config.capacity << SECTOR_SHIFT
    if capacity >= 1 << 63:
        raise RemoteProtocolError(
            f"{session.where}: the device's config is impossible: capacity of "
            f"{config.capacity} sectors"
        )
    return capacity


def geometry_of(session: Session, features: Feature, config: Config, depth: int) -> Geometry:
    """Check what the device says of itself and return it in bytes. ``depth`` is its queues'
    size."""
    where = session.where

    def require(condition: bool, what: str) -> None:
        if not condition:
            raise RemoteProtocolError(f"{where}: the device's config is impossible: {what}")

    capacity = capacity_of(session, config)
    block_size = SECTOR_SIZE
    if features & Feature.BLK_SIZE:
        block_size = config.blk_size
        require(_is_block_size(block_size), f"blk_size {block_size}")
    most = min(MAX_TRANSFER, session.max_payload - _AROUND_DATA)
    size_max = most
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
    max_transfer = min(most, size_max * segments) // block_size * block_size
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
