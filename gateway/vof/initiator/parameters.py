# SPDX-License-Identifier: BSD-3-Clause
"""The parameters of a session, as a user gives them; checked in one place.

Every front end takes these from text under the same keys (the keys of the kernel initiator's
control string, *proposal*), so they read the same in nbdkit, on a command line and in a file. Must
not open anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from vof.addresses import MAX_LENGTH, parse_address
from vof.errors import ConfigError
from vof.fabric.taps import Taps
from vof.initiator.portal import Portal
from vof.wire.constants import DEFAULT_PORT, Transport
from vof.wire.dialect import DIALECT_NAMES, dialect_by_name
from vof.wire.names import check_name, random_ivqn

DEFAULT_ADDRESS = "127.0.0.1"
CONNECT_TIMEOUT = 15.0
"""Seconds for an opening in all its parts, and for every control command after it."""

MIN_QUEUE_SIZE = 4
"""A block request takes 3 descriptors."""

MAX_QUEUE_SIZE = 32768
"""The largest virtqueue there can be (virtio 1.2 §2.7)."""

TRANSPORTS = tuple(transport.value for transport in Transport)

PARAMETERS = {
    "tvqn": "name of the target's device",
    "taddr": f"address or host name of the target (default {DEFAULT_ADDRESS})",
    "tport": f"port of the target (default {DEFAULT_PORT})",
    "transport": "transport to use: tcp (the default) or rdma",
    "ivqn": "name of this initiator (default vqn.uuid:<random>)",
    "iaddr": "local address to connect from",
    "iport": "local port of the control queue; virtqueue N uses iport+1+N (default 0: any)",
    "dialect": f"revision of the protocol: {', '.join(DIALECT_NAMES)} (default auto)",
    "queue_size": "descriptors a virtqueue holds at most (v5: commands), a power of two (default: "
    "what it offers)",
    "eager": "write requests to the target's eager buffers where it has them (rdma, v5): on or off "
    "(default on)",
    "timeout": "seconds a request may take before its session is given up (default 0: no limit)",
}
"""Every key that ``SessionParameters.set`` takes, with a line of help."""


# What Python takes beyond these, as digits of other scripts and underscores, nobody means.
_DECIMAL = re.compile(r"[0-9]{1,19}")
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9}")

MAX_TIMEOUT = 86400
"""Seconds; there is none beside it."""

_SWITCH = {"on": True, "off": False}


@dataclass
class SessionParameters:
    """The target of a session and the way to it."""

    tvqn: str | None = None
    taddr: str = DEFAULT_ADDRESS
    tport: int = DEFAULT_PORT
    transport: str = "tcp"
    ivqn: str = field(default_factory=random_ivqn)
    iaddr: str | None = None
    iport: int = 0
    dialect: str = "auto"
    queue_size: int | None = None
    """Descriptors a virtqueue holds at most, a power of two; None for what the target offers."""
    eager: bool = True
    timeout: float | None = None
    """Seconds a request may take, None for ever."""
    connect_timeout: float = CONNECT_TIMEOUT
    taps: Taps | None = None
    """Who looks at what passes through the connections; not a user's to set."""

    def set(self, key: str, value: str) -> None:
        """Take one ``key=value``. Raises ConfigError naming the key, what is wrong and what is
        allowed."""
        match key:
            case "tvqn" | "ivqn":
                setattr(self, key, check_name(key, value))
            case "taddr" | "iaddr":
                try:
                    setattr(self, key, parse_address(value, key, f"{key[0]}port"))
                except ValueError as error:
                    shown = value if len(value) <= MAX_LENGTH else f"{value[:MAX_LENGTH]}..."
                    raise ConfigError(f"{key}={shown} {error}") from None
            case "tport":
                self.tport = parse_integer(key, value, 1, 65535)
            case "iport":
                self.iport = parse_integer(key, value, 0, 65535)
            case "transport":
                if value not in TRANSPORTS:
                    raise ConfigError(
                        f"transport={value}: not supported; use {' or '.join(TRANSPORTS)}"
                    )
                self.transport = value
            case "dialect":
                dialect_by_name(value)
                self.dialect = value
            case "queue_size":
                self.queue_size = _parse_power_of_two(key, value, MIN_QUEUE_SIZE, MAX_QUEUE_SIZE)
            case "eager":
                if value not in _SWITCH:
                    raise ConfigError(f"eager={value}: not known; use on or off")
                self.eager = _SWITCH[value]
            case "timeout":
                self.timeout = parse_seconds(key, value, 0, MAX_TIMEOUT) or None
            case _:
                raise ConfigError(f"unknown parameter '{key}'; known are {', '.join(PARAMETERS)}")

    @property
    def portals(self) -> Sequence[Portal]:
        """The ways to the target, at least one: the first is the one to go."""
        transport = Transport(self.transport)
        return (Portal(transport, self.taddr, self.tport, self.iaddr, self.iport),)

    @property
    def where(self) -> str:
        """The target as ``host:port``, for messages."""
        return self.portals[0].where


def parse_integer(key: str, value: str, low: int, high: int) -> int:
    """Return a decimal number from ``low`` to ``high``. Raises ConfigError naming the key."""
    number = _decimal(value)
    if number is None or not low <= number <= high:
        raise ConfigError(f"{key}={value}: not a number from {low} to {high}")
    return number


def parse_seconds(key: str, value: str, low: float, high: float) -> float:
    """Return a number of seconds from ``low`` to ``high``. Raises ConfigError naming the key."""
    seconds = float(value) if _SECONDS.fullmatch(value) else -1.0
    if not low <= seconds <= high:
        raise ConfigError(f"{key}={value}: not a number of seconds from {low:g} to {high:g}")
    return seconds


def _parse_power_of_two(key: str, value: str, low: int, high: int) -> int:
    number = _decimal(value) or 0
    if not low <= number <= high or number & (number - 1):
        raise ConfigError(f"{key}={value}: not a power of two from {low} to {high}")
    return number


def _decimal(value: str) -> int | None:
    return int(value) if _DECIMAL.fullmatch(value) else None
