# SPDX-License-Identifier: BSD-3-Clause
"""The device types that there are drivers for, as each driver says it of itself.

Owns the record and the check that a session's device is of a type. What a program has not imported
is not in here. Whatever else has a list of types, or describes them, is held against this by
``tests/meta``. Must not know a type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, Self, TypeVar

from vof.errors import WrongDevice
from vof.initiator.session import Session
from vof.wire.constants import DeviceId
from vof.wire.layout import Layout


class Driver(Protocol):
    """What every driver is besides what its device type makes of it."""

    @classmethod
    def attach(cls, session: Session) -> Self:
        """Initialise the device of a session, which is closed if that fails. Raises WrongDevice
        where it is of another type."""

    def close(self) -> None:
        """Close the session. Idempotent; requests in flight fail."""


D = TypeVar("D", bound=Driver)


class DeviceType(NamedTuple):
    """A device type of virtio 1.2 §5."""

    name: str
    """As manuals have it, and messages of its driver."""
    config: Layout | None
    """Its config space; None where it has none."""
    driver: type[Driver]


TYPES: dict[DeviceId, DeviceType] = {}


def drives(
    device_id: DeviceId, name: str, config: Layout | None = None
) -> Callable[[type[D]], type[D]]:
    """Class decorator: this is the driver of a device type."""

    def enter(driver: type[D]) -> type[D]:
        assert device_id not in TYPES
        TYPES[device_id] = DeviceType(name, config, driver)
        return driver

    return enter


def check_type(session: Session, device_id: DeviceId) -> None:
    """Raise WrongDevice if a session's device is not of a type."""
    if session.device_id != device_id:
        raise WrongDevice(f"'{session.tvqn}' is not a {TYPES[device_id].name}")
