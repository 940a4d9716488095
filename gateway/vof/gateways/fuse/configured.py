# SPDX-License-Identifier: BSD-3-Clause
"""A mount as vof.conf(5) has it: in the section of its name or mountpoint, and in [defaults].

Must not know what is on the command line, which is stronger.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vof.gateways.settings import effective
from vof.gateways.settings.effective import Effective
from vof.gateways.settings.keys import MOUNT, MOUNT_FLAGS
from vof.gateways.settings.merged import Settings
from vof.gateways.settings.schema import Kind
from vof.gateways.settings.values import parse_flag, parse_tvqns


@dataclass(frozen=True)
class Configured:
    """A mount as it is configured."""

    mountpoint: str
    tvqns: Sequence[str]
    options: Mapping[str, str]
    """Those of ``keys.MOUNT`` that are given; of a flag, ``yes`` or ``no``."""


def by_name(settings: Settings, name: str) -> Configured:
    """Return the mount called ``name``. Raises ConfigError."""
    found = effective.mount(settings, name)
    return Configured(
        found.text("mountpoint") or "",
        parse_tvqns("tvqns", found.text("tvqns") or ""),
        _options(found),
    )


def by_mountpoint(settings: Settings, mountpoint: str) -> Configured:
    """Return the mount whose mountpoint that is; without one, what holds for any mount.

    Raises ConfigError.
    """
    # Without a look at the folder: what is mounted there may not answer.
    wanted = os.path.normpath(Path(mountpoint).absolute())
    for name in settings.mounts:
        value = settings.sections[Kind.MOUNT, name].values.get("mountpoint")
        if value is not None and os.path.normpath(value.text or "") == wanted:
            return by_name(settings, name)
    return Configured(mountpoint, (), _options(effective.mount(settings, None)))


def _options(found: Effective) -> Mapping[str, str]:
    options = found.given(MOUNT)
    for key in options.keys() & MOUNT_FLAGS:
        options[key] = "yes" if parse_flag(key, options[key]) else "no"
    return options
