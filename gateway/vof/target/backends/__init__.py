# SPDX-License-Identifier: BSD-3-Clause
"""Where a device keeps its data: the ``driver=`` of a configuration's ``backend``.

``DRIVERS`` maps a driver's name to what takes its keys. A new driver is a module here and a line
there.
"""

from __future__ import annotations

from typing import Protocol

from vof.target.backends.interface import BackendOptions
from vof.target.backends.memory import MemoryOptions
from vof.target.backends.posix import PosixOptions
from vof.target.values import Values


class TakeOptions(Protocol):
    """Takes a driver's keys, whose device is ``readonly``. Raises ConfigError."""

    def __call__(self, values: Values, *, readonly: bool) -> BackendOptions: ...


DRIVERS: dict[str, TakeOptions] = {
    "block-posix": PosixOptions.take,
    "block-memory": MemoryOptions.take,
}
