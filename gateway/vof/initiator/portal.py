# SPDX-License-Identifier: BSD-3-Clause
"""A portal: one way to a target, and the local end to go from.

Owns what makes one way differ from another, and so what will secure it. Must not know a device, nor
connect.
"""

from __future__ import annotations

from dataclasses import dataclass

from vof.addresses import with_port
from vof.errors import ConfigError
from vof.fabric.destination import Destination
from vof.wire.constants import Transport


@dataclass(frozen=True)
class Portal:
    """Where a target takes connections, and how."""

    transport: Transport
    address: str
    port: int
    local_address: str | None = None
    local_port: int = 0
    """Of the control queue; virtqueue N has the N-th after the next. 0: any."""

    @property
    def where(self) -> str:
        """The target as ``host:port``, for messages."""
        return with_port(self.address, self.port)

    def destination(self, seconds: float) -> Destination:
        """Return where an opening goes that begins now and may take so long."""
        return Destination(self.address, self.port, seconds)

    def local_port_of(self, name: str, offset: int) -> int:
        """Return the local port of the ``offset``-th queue. Raises ConfigError where there is
        none."""
        port = self.local_port + offset if self.local_port else 0
        if port > 65535:
            raise ConfigError(f"iport={self.local_port}: no port is left for {name}")
        return port
