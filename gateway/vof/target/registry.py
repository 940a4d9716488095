# SPDX-License-Identifier: BSD-3-Clause
"""The devices that initiators can connect to, by their names.

Must not know who is connected to them: ``association`` does.
"""

from __future__ import annotations

import threading

from vof.target.devices.device import Device


class DeviceRegistry:
    """All devices of a target; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._devices: dict[str, Device] = {}

    def add(self, device: Device) -> None:
        """Let initiators connect to ``device``."""
        with self._lock:
            self._devices[device.tvqn] = device

    def remove(self, device: Device) -> None:
        """Let nobody connect to ``device`` any more; who is connected stays so."""
        with self._lock:
            del self._devices[device.tvqn]

    def find(self, tvqn: str) -> Device | None:
        """Return a device, None where there is none of that name."""
        with self._lock:
            return self._devices.get(tvqn)

    def all(self) -> list[Device]:
        """Return the devices there are now."""
        with self._lock:
            return list(self._devices.values())
