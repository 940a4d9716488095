# SPDX-License-Identifier: BSD-3-Clause
"""One disk's settings, with all that follows from them for attaching it.

Owns the kernel's timeouts, which have to fit ours. Must not open anything.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from vof.errors import ConfigError
from vof.gateways.attach.identifier import default_name
from vof.gateways.settings.effective import Effective
from vof.gateways.settings.keys import PLUGIN
from vof.gateways.settings.values import parse_nbd_device
from vof.initiator.parameters import SessionParameters

DEFAULT_CONNECTIONS = 4

_MARGIN = 30
_PATIENCE = 90


@dataclass(frozen=True)
class Plan:
    """One disk to attach."""

    name: str | None
    """None to be named after the tvqn."""
    parameters: SessionParameters
    plugin: dict[str, str]
    """Parameters for nbdkit's plugin."""
    connections: int
    """NBD connections between the kernel and nbdkit."""
    index: int | None
    """The nbd device's number, None for any."""
    fast_path: str
    """``auto``, ``on`` or ``off``."""
    read_only: bool
    restart: bool
    """Whether nbdkit is started again when it ends by itself."""
    settings: list[dict[str, str]]
    """Each setting with its origin, for `status`."""

    @classmethod
    def of(cls, effective: Effective, name: str | None) -> Plan:
        """Return the plan. Raises ConfigError where the settings contradict each other."""
        parameters = effective.parameters()
        connections = effective.number("connections")
        if parameters.timeout is None and (connections or 1) > 1:
            raise ConfigError(
                f"connections={connections} with timeout=0: with more than one connection Linux "
                "sends a request again that takes too long, which is safe only after ours was "
                "given up; set timeout=, or connections=1"
            )
        if connections is None:
            most = 1 if parameters.timeout is None else DEFAULT_CONNECTIONS
            connections = min(most, os.cpu_count() or 1)
        plugin = effective.given(PLUGIN)
        # Told in any case, to be the same when nbdkit is started again.
        for key in ("ivqn", "timeout"):
            plugin[key] = effective.text(key) or ""
        device = effective.text("device")
        return cls(
            name or effective.name,
            parameters,
            plugin,
            connections,
            None if device is None else parse_nbd_device("device", device),
            effective.text("filter") or "auto",
            effective.flag("readonly"),
            effective.flag("restart"),
            [
                {"key": key, "value": value.text or "", "origin": str(value.origin)}
                for key, value in sorted(effective.values.items())
                if value.text is not None
            ],
        )

    @property
    def tvqn(self) -> str:
        return self.parameters.tvqn or ""

    @property
    def default_name(self) -> str:
        return default_name(self.tvqn)

    @property
    def kernel_timeout(self) -> int:
        """Return the seconds after which the kernel sends a request again, 0 for never.

        It may do so only when the first one has been given up for good, or a late write could undo
        a newer one. A request may wait in nbdkit for one that takes as long as it is allowed to.
        With several connections 0 is not "never" to Linux (it is 30 s), hence the check above.
        """
        timeout = self.parameters.timeout
        return 0 if timeout is None else int(2 * timeout) + _MARGIN

    @property
    def dead_timeout(self) -> int:
        """Return the seconds that requests wait while there is no connection: for a new nbdkit."""
        return max(self.kernel_timeout, _PATIENCE)

    @property
    def fence_timeout(self) -> int:
        """Return the seconds that the target has for what a dead nbdkit has left there.

        Behind that the kernel has given up what it would have sent again: it holds each request
        back for ``kernel_timeout``, and then waits for connections.
        """
        return self.kernel_timeout + self.dead_timeout
