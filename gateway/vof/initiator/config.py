# SPDX-License-Identifier: BSD-3-Clause
"""Reads a device's config space so that its fields belong together.

virtio 1.2 §2.5.1: fields read between two equal generations are of one state. Fields are read one
by one at their own width, as every known initiator does. Must not know what a field means.
"""

from __future__ import annotations

from collections.abc import Iterable

from vof.errors import RemoteProtocolError
from vof.initiator.control import ControlQueue
from vof.wire.layout import Layout

ATTEMPTS = 16
"""Reads of the whole before a config that changes under each of them is given up."""


def read_config(control: ControlQueue, layout: Layout, names: Iterable[str]) -> dict[str, int]:
    """Return the named fields of the config space that ``layout`` describes.

    Raises RemoteProtocolError if the config changes under every read, CompletionError if a read is
    refused.
    """
    names = tuple(names)
    before = control.get_generation()
    for _attempt in range(ATTEMPTS):
        values = {name: control.get_config(*layout.fields[name]) for name in names}
        after = control.get_generation()
        if after == before:
            return values
        before = after
    raise RemoteProtocolError(f"the device's config changed under each of {ATTEMPTS} reads")
