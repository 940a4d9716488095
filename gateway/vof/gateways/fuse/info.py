# SPDX-License-Identifier: BSD-3-Clause
"""The text of ``info``: what a device is and how it is doing, a ``key: value`` a line.

Keys are stable, for scripts; a value has no line break, whatever a peer put into it.
"""

from __future__ import annotations

from datetime import datetime

from vof.gateways.device_names import (
    FEATURES,
    device_type,
    feature_names,
    vendor_name,
)
from vof.gateways.fuse.contents import Contents, Facts
from vof.initiator.session import Session
from vof.logline import printable


def info_text(
    name: str, session: Session, contents: Contents, lost_at: datetime | None = None
) -> str:
    """Return what is known of a device; ``lost_at`` is when its session was found to have ended."""
    return "".join(
        f"{key}: {printable(str(value))}\n"
        for key, value in _facts(name, session, contents, lost_at)
    )


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
    vendor = vendor_name(session.vendor_id)
    yield "vendor_id", f"{session.vendor_id:#010x}" + (f" ({vendor})" if vendor else "")
    yield "device_id", session.device_id
    yield "target_id", session.target_id
    features = feature_names(session.features, FEATURES.get(session.device_id, {}))
    yield "features", " ".join(features) or "none"
    yield "queues", f"{len(session.virtqueues)} of {session.queue_sizes.count()}"
    for queue in session.virtqueues:
        yield f"queue{queue.index}.size", queue.size
    yield from contents.facts()
