# SPDX-License-Identifier: BSD-3-Clause
"""The needs of known targets, beside what the texts say.

Owns the table, by vendor id. Each entry is what was observed of a program; who heeds it says what
that costs. Must not know a session, nor what a device is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from vof.wire.constants import VENDOR_VOF, VENDOR_VTGT


class Quirks(NamedTuple):
    """What a target needs; by default nothing."""

    speaks_v5: bool = False
    """It takes a Connect of *proposal*, to be found, but is better spoken to in *v5*."""
    closes_on_feature_commands: bool = False
    """It closes the connection on a transport feature command."""
    sends_buffers_of_refusals: bool = False
    """A refused vring command is completed with descriptors, as one that was carried out."""
    answers_with_id_0: bool = False
    """Every request of a crypto device is completed with command id 0, which is the lowest free one
    as long as no other request is in flight."""
    needs_no_disconnect: bool = False
    """It ends an association by itself when the connections are closed."""


QUIRKS: Mapping[int, Quirks] = {
    VENDOR_VOF: Quirks(speaks_v5=True),
    VENDOR_VTGT: Quirks(
        closes_on_feature_commands=True,
        sends_buffers_of_refusals=True,
        answers_with_id_0=True,
        needs_no_disconnect=True,
    ),
}


def quirks_of(vendor_id: int) -> Quirks:
    """Return what the target with a vendor id needs."""
    return QUIRKS.get(vendor_id, Quirks())
