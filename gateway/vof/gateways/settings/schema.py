# SPDX-License-Identifier: BSD-3-Clause
"""The sections of vof.conf, and the keys that each takes. Must not know what a key means."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from vof.gateways.settings.keys import DISK, MOUNT, MOUNTED, PLUGIN, SUPERVISED, Key


class Kind(Enum):
    """A kind of section, by the word that begins its header."""

    DEFAULTS = "defaults"
    DEVICE = "device"
    MOUNT = "mount"


DEVICE_KEYS: Mapping[str, Key] = {
    **{key: each for key, each in PLUGIN.items() if key not in SUPERVISED},
    **DISK,
}
"""The keys of [device NAME], with ``tvqn`` the one that must be there."""

MOUNT_KEYS: Mapping[str, Key] = {**MOUNTED, **MOUNT}
"""The keys of [mount NAME], with ``mountpoint`` the one that must be there."""

_OF_ONE_DEVICE = frozenset({"tvqn", "iport", "device", "metrics"})

DEFAULTS_KEYS: Mapping[str, Key] = {
    key: value for key, value in DEVICE_KEYS.items() if key not in _OF_ONE_DEVICE
}
"""The keys of [defaults]: those of a device that more than one device can have in common."""

KEYS: Mapping[Kind, Mapping[str, Key]] = {
    Kind.DEFAULTS: DEFAULTS_KEYS,
    Kind.DEVICE: DEVICE_KEYS,
    Kind.MOUNT: MOUNT_KEYS,
}

REQUIRED = {Kind.DEFAULTS: None, Kind.DEVICE: "tvqn", Kind.MOUNT: "mountpoint"}
"""The key that a section cannot do without."""
