# SPDX-License-Identifier: BSD-3-Clause
"""virtio-blk (virtio 1.2 §5.2): feature bits, config space, request header, segments, status byte.

A request is a 16-byte header and data that the device reads, data that it writes, and a status
byte. Must not know how a request travels, nor what a driver or a device makes of it.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import NamedTuple

from vof.wire.layout import laid_out, layout_of, record

SECTOR_SIZE = 512
"""Bytes of a sector, the unit of every sector number whatever the block size (§5.2.6)."""

SECTOR_SHIFT = 9

GET_ID_SIZE = 20
"""Bytes of the identification string; not NUL-terminated when it fills them all (§5.2.6.1)."""

CONFIG_SIZE = 72
"""Bytes of the config space."""


class Feature(IntFlag):
    """§5.2.3, with the legacy bits of §5.2.3.1 so that they can be named."""

    BARRIER = 1 << 0
    SIZE_MAX = 1 << 1
    SEG_MAX = 1 << 2
    GEOMETRY = 1 << 4
    RO = 1 << 5
    BLK_SIZE = 1 << 6
    SCSI = 1 << 7
    FLUSH = 1 << 9
    TOPOLOGY = 1 << 10
    CONFIG_WCE = 1 << 11
    MQ = 1 << 12
    DISCARD = 1 << 13
    WRITE_ZEROES = 1 << 14
    LIFETIME = 1 << 15
    SECURE_ERASE = 1 << 16


class RequestType(IntEnum):
    """§5.2.6: VIRTIO_BLK_T_*."""

    IN = 0
    OUT = 1
    FLUSH = 4
    GET_ID = 8
    GET_LIFETIME = 10
    DISCARD = 11
    WRITE_ZEROES = 13
    SECURE_ERASE = 14


class Status(IntEnum):
    """§5.2.6: VIRTIO_BLK_S_*, the last device-writable byte of every request."""

    OK = 0
    IOERR = 1
    UNSUPP = 2


REQUEST_HEADER = record("IIQ", 16, type=0, reserved=4, sector=8)
"""§5.2.6 struct virtio_blk_req up to its data. ``reserved`` was ioprio: a device ignores it."""

DISCARD_SEGMENT = record("QII", 16, sector=0, num_sectors=8, flags=12)
"""§5.2.6 struct virtio_blk_discard_write_zeroes; also of a secure erase."""

SEGMENT_FLAG_UNMAP = 1
"""Flag of a write-zeroes segment: the device may deallocate the sectors."""

LIFETIME = record(
    "HHH", 6, pre_eol_info=0, device_lifetime_est_typ_a=2, device_lifetime_est_typ_b=4
)
"""§5.2.6.1 struct virtio_blk_lifetime."""


class Lifetime(NamedTuple):
    """Answer of GET_LIFETIME; 0 in a field means that the device does not tell."""

    pre_eol_info: int
    est_typ_a: int
    est_typ_b: int


@laid_out(
    "QIIHBBIBBHIBBHIIIIIB3sIII",
    CONFIG_SIZE,
    capacity=0,
    size_max=8,
    seg_max=12,
    cylinders=16,
    heads=18,
    sectors=19,
    blk_size=20,
    physical_block_exp=24,
    alignment_offset=25,
    min_io_size=26,
    opt_io_size=28,
    writeback=32,
    unused0=33,
    num_queues=34,
    max_discard_sectors=36,
    max_discard_seg=40,
    discard_sector_alignment=44,
    max_write_zeroes_sectors=48,
    max_write_zeroes_seg=52,
    write_zeroes_may_unmap=56,
    unused1=57,
    max_secure_erase_sectors=60,
    max_secure_erase_seg=64,
    secure_erase_sector_alignment=68,
)
class Config(NamedTuple):
    """§5.2.4 struct virtio_blk_config. A field is valid only with the feature that brings it."""

    capacity: int = 0
    """In sectors."""
    size_max: int = 0
    """Bytes of the largest data segment."""
    seg_max: int = 0
    """Data segments of one request."""
    cylinders: int = 0
    heads: int = 0
    sectors: int = 0
    blk_size: int = 0
    """Logical block size in bytes."""
    physical_block_exp: int = 0
    """Logical blocks of a physical block, as a power of two."""
    alignment_offset: int = 0
    min_io_size: int = 0
    """In logical blocks."""
    opt_io_size: int = 0
    """In logical blocks."""
    writeback: int = 0
    unused0: int = 0
    num_queues: int = 0
    max_discard_sectors: int = 0
    max_discard_seg: int = 0
    discard_sector_alignment: int = 0
    max_write_zeroes_sectors: int = 0
    max_write_zeroes_seg: int = 0
    write_zeroes_may_unmap: int = 0
    unused1: bytes = bytes(3)
    max_secure_erase_sectors: int = 0
    max_secure_erase_seg: int = 0
    secure_erase_sector_alignment: int = 0


WRITEBACK_OFFSET = layout_of(Config).fields["writeback"].offset
"""Offset of ``writeback``, the one field a driver may set (§5.2.4, VIRTIO_BLK_F_CONFIG_WCE)."""

FIELDS_BY_FEATURE: dict[Feature | None, tuple[str, ...]] = {
    None: ("capacity",),
    Feature.SIZE_MAX: ("size_max",),
    Feature.SEG_MAX: ("seg_max",),
    Feature.GEOMETRY: ("cylinders", "heads", "sectors"),
    Feature.BLK_SIZE: ("blk_size",),
    Feature.TOPOLOGY: ("physical_block_exp", "alignment_offset", "min_io_size", "opt_io_size"),
    Feature.CONFIG_WCE: ("writeback",),
    Feature.MQ: ("num_queues",),
    Feature.DISCARD: ("max_discard_sectors", "max_discard_seg", "discard_sector_alignment"),
    Feature.WRITE_ZEROES: (
        "max_write_zeroes_sectors",
        "max_write_zeroes_seg",
        "write_zeroes_may_unmap",
    ),
    Feature.SECURE_ERASE: (
        "max_secure_erase_sectors",
        "max_secure_erase_seg",
        "secure_erase_sector_alignment",
    ),
}
"""Config fields by the feature that makes them valid (§5.2.4); their places are in
``layout_of(Config)``."""
