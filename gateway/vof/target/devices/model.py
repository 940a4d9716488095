# SPDX-License-Identifier: BSD-3-Clause
"""The registration of a device type, which stands where the type does.

``vof.target.models`` has all of them. Must not know any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vof.target.backends.backend import BackendOptions
from vof.target.clock import Clock
from vof.target.devices.device import Device
from vof.target.values import Values
from vof.wire.constants import DeviceId


@dataclass(frozen=True)
class DeviceModel:
    """One device type."""

    name: str
    """``model`` in the configuration."""
    device_id: DeviceId
    take: Callable[[Values], Any]
    """Takes the device's keys of ``backend``, whatever keeps its data. Raises ConfigError."""
    backends: Mapping[str, Callable[[Values, Any], BackendOptions]]
    """By ``driver``: takes the backend's own keys, for a device with those. Raises ConfigError."""
    make: Callable[[str, int, Any, Any, Clock], Device]
    """Makes the device of tvqn, the features that it may offer (0 for all), what ``take`` has
    returned, the opened backend, which belongs to it from then on, and the target's clock. Raises
    ConfigError."""
