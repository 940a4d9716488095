# SPDX-License-Identifier: BSD-3-Clause
"""Reads a device's config space so that its fields belong together.

virtio 1.2 §2.5.1: fields read between two equal generations are of one state. Fields are read one
by one at their own width, as every known initiator does; in *v5* each read says the generation it
is of, elsewhere it is asked for before and after. Must not know what a field means.
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
    places = [(name, layout.fields[name]) for name in names]
    before = None if control.tells_generation else control.get_generation()
    for _attempt in range(ATTEMPTS):
        values = {}
        generations = {before}
        for name, (offset, width) in places:
            values[name], generation = control.get_config_with_generation(offset, width)
            generations.add(generation)
        if before is not None:
            before = control.get_generation()
            generations.add(before)
        if len(generations - {None}) <= 1:
            return values
    raise RemoteProtocolError(f"the device's config changed under each of {ATTEMPTS} reads")
