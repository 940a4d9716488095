# SPDX-License-Identifier: BSD-3-Clause
"""The events for which a natively served queue returns to Python.

Records only. Whoever serves the queue answers a ``ControlCommand`` with ``send`` and a
``NativeRequest`` with ``answer``, and lets it go on.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias


class ControlCommand(NamedTuple):
    """A command that is not the data path's."""

    head: bytes


class NativeRequest(NamedTuple):
    """A request that is not executed natively."""

    payload: memoryview
    """Good until the queue goes on."""
    room: int
    """Bytes of the device-writable area."""


class DiskError(NamedTuple):
    """Requests were answered with an error of the disk."""

    kind: int
    """Type of the first of them."""
    sector: int
    reason: str
    more: int
    """How many besides the first."""


NativeEvent: TypeAlias = ControlCommand | NativeRequest | DiskError
