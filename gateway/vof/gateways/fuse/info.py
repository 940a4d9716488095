# SPDX-License-Identifier: BSD-3-Clause
"""The text of ``info``: what a device is and how it is doing, a ``key: value`` a line.

Keys are stable, for scripts; a value has no line break, whatever a peer put into it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from vof.gateways.fuse.contents import Contents, Facts
from vof.initiator.session import Session
from vof.wire.constants import VENDOR_VOF, VENDOR_VTGT, CommonFeature, DeviceId

_VENDORS = {VENDOR_VOF: "vof-target", VENDOR_VTGT: "virtio-target"}


def info_text(
    name: str, session: Session, contents: Contents, lost_at: datetime | None = None
) -> str:
    """Return what is known of a device; ``lost_at`` is when its session was found to have ended."""
    return "".join(
        f"{key}: {one_line(value)}\n" for key, value in _facts(name, session, contents, lost_at)
    )


def one_line(value: object) -> str:
    """Return a value as text that stays on its line."""
    text = str(value)
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def device_type(device_id: int) -> str:
    """Return the name of a virtio device type."""
    try:
        return f"virtio-{DeviceId(device_id).name.lower()}"
    except ValueError:
        return f"virtio device type {device_id}"


def feature_text(features: int, names: Mapping[int, str]) -> str:
    """Return feature bits by name, unknown ones by number; ``none`` if there is none."""
    known = {int(bit): str(bit.name) for bit in CommonFeature} | dict(names)
    bits = [1 << place for place in range(64) if features >> place & 1]
    return " ".join(known.get(bit, f"bit{bit.bit_length() - 1}") for bit in bits) or "none"


def _facts(name: str, session: Session, contents: Contents, lost_at: datetime | None) -> Facts:
    parameters = session.parameters
    error = session.error
    yield "name", name
    yield "type", device_type(session.device_id)
    yield "state", session.state.value
    if error is not None:
        if lost_at is not None:
            yield "lost_at", lost_at.isoformat(timespec="seconds")
        yield "reason", error
    yield "tvqn", session.tvqn
    yield "transport", parameters.transport
    yield "taddr", parameters.taddr
    yield "tport", parameters.tport
    yield "ivqn", parameters.ivqn
    yield "dialect", session.dialect
    yield "timeout", "none" if parameters.timeout is None else f"{parameters.timeout:g}"
    vendor = _VENDORS.get(session.vendor_id)
    yield "vendor_id", f"{session.vendor_id:#010x}" + (f" ({vendor})" if vendor else "")
    yield "device_id", session.device_id
    yield "target_id", session.target_id
    yield "features", feature_text(session.features, contents.feature_names)
    yield "queues", f"{len(session.virtqueues)} of {session.num_queues}"
    for queue in session.virtqueues:
        yield f"queue{queue.index}.size", queue.size
    yield from contents.facts()
