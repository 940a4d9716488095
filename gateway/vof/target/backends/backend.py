# SPDX-License-Identifier: BSD-3-Clause
"""The part of the interface that every backend has, whatever its device asks beyond that.

Owns the interface only; each device type has one of its own that adds to it. A backend must not
know virtio.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

from vof.target.values import Values


class Backend(ABC):  # noqa: B024 - the devices' own interfaces have what is abstract
    """What is behind a device. ``close`` is idempotent; nothing may be called after it."""

    def claim(self) -> None:  # noqa: B027 - most can be had by anybody
        """Keep other targets from serving the same data. Raises ConfigError if one does."""

    def outdated(self) -> str:
        """Return in words why the configuration would now open something else, nothing where it
        would not. Raises ConfigError where it could open nothing."""
        return ""

    def facts(self) -> Mapping[str, object]:
        """Return what only running has shown and a user has to know, such as the name of a terminal
        that was made: it is logged when the device is served."""
        return {}

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Let go of what it holds."""


class BackendOptions(Protocol):
    """A backend as the configuration describes it. Two that compare equal are the same."""

    def open(self) -> Any:
        """Open it without claiming it. Raises ConfigError."""


@dataclass(frozen=True)
class WithoutKeys(ABC):
    """The options of a backend that has no keys of its own."""

    @classmethod
    def take(cls, _values: Values) -> Self:
        """Take the backend's keys."""
        return cls()

    @abstractmethod
    def open(self) -> Any:
        """Open it without claiming it. Raises ConfigError."""
