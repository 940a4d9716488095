# SPDX-License-Identifier: BSD-3-Clause
"""Reads what a device says of itself, whatever its type, over a session of its own.

Nothing but the serial number takes more than reading; for that a block device is initialised, which
concerns this session alone. Must not know how it is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vof.drivers.block import BlockDriver
from vof.drivers.block_geometry import capacity_of, read_block_config
from vof.errors import CompletionError, DeviceError, LocalProtocolError
from vof.initiator.config import read_config
from vof.initiator.session import Session
from vof.wire import blk, console, crypto
from vof.wire.constants import DeviceId
from vof.wire.layout import layout_of, valid_fields

MAX_SIZES = 128
"""Queues whose sizes are asked for; a device may say it has 65535."""


@dataclass(frozen=True)
class Inspection:
    """A device."""

    device_id: int
    vendor_id: int
    target_id: int | None
    dialect: str
    features: int
    """The bits it offers."""
    max_segs: int
    num_queues: int
    queue_sizes: Sequence[int]
    """Of the first ``MAX_SIZES``."""
    config: Mapping[str, int]
    """The fields of the config space that mean something; none where the type is not known."""
    size: int | None = None
    """Of a block device, in bytes."""
    read_only: bool | None = None
    serial: str | None = None
    """Of a block device that has one."""


def inspect(session: Session) -> Inspection:
    """Return what the device of a session says. Raises CompletionError for what is refused,
    RemoteProtocolError for what cannot be, SessionLost."""
    control = session.control
    session.opened()  # what follows takes as long as there is to read
    features = control.get_device_feature()
    count = session.queue_sizes.count()
    sizes = [control.get_queue_size(index) for index in range(min(count, MAX_SIZES))]
    config: Mapping[str, int] = {}
    size = read_only = serial = None
    if session.device_id == DeviceId.BLOCK:
        config, size = _block_config(session, blk.Feature(features))
        read_only = bool(features & blk.Feature.RO)
        serial = _serial(session)
    elif session.device_id == DeviceId.CRYPTO:
        config = read_config(control, layout_of(crypto.Config), crypto.Config._fields)
    elif session.device_id == DeviceId.CONSOLE:
        # What is only written is not there to be read.
        readable = features & ~console.Feature.EMERG_WRITE
        names = valid_fields(console.FIELDS_BY_FEATURE, readable)
        config = read_config(control, layout_of(console.Config), names)
    return Inspection(
        device_id=session.device_id,
        vendor_id=session.vendor_id,
        target_id=session.target_id,
        dialect=session.dialect,
        features=features,
        max_segs=session.max_segs,
        num_queues=count,
        queue_sizes=sizes,
        config=config,
        size=size,
        read_only=read_only,
        serial=serial,
    )


def _block_config(session: Session, features: blk.Feature) -> tuple[Mapping[str, int], int]:
    config = read_block_config(session, features)
    names = valid_fields(blk.FIELDS_BY_FEATURE, features)
    return {name: getattr(config, name) for name in names}, capacity_of(session, config)


def _serial(session: Session) -> str | None:
    try:
        return BlockDriver.attach(session, 1).get_id() or None
    except (CompletionError, DeviceError, LocalProtocolError):
        return None  # a device need not have one
