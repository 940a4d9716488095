# SPDX-License-Identifier: BSD-3-Clause
"""Asks the target's device what it is, before anything is attached. Must not know the kernel."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vof.drivers.block import BlockDriver
from vof.drivers.block_geometry import check_block_device
from vof.errors import DeviceError, LocalProtocolError
from vof.gateways.attach.plan import Plan
from vof.initiator.session import Session


@dataclass(frozen=True)
class Facts:
    """A device of the target's, as it is before it is attached."""

    size: int
    block_size: int
    serial: str


def look_at(plan: Plan) -> Facts:
    """Return what the target's device is, over a session of its own. Raises VofError."""
    # Bound to iport=, its closing connections would hold the ports that nbdkit needs.
    parameters = replace(plan.parameters, iport=0)
    session = Session.open(parameters)
    try:
        check_block_device(session)
        driver = BlockDriver.attach(session, 1)
    except BaseException:
        session.close()
        raise
    try:
        try:
            serial = driver.get_id()
        except (DeviceError, LocalProtocolError):
            serial = ""
        return Facts(driver.size, driver.geometry.block_size, serial)
    finally:
        driver.close()
