# SPDX-License-Identifier: BSD-3-Clause
"""The options behind ``-o``, and the devices before the mountpoint, made into one mount.

Owns which options there are: the session's, ours, those the kernel or libfuse gets, and those that
mount(8) and fstab carry for others and that mean nothing here. Must not open or mount anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from vof.errors import ConfigError
from vof.gateways.fuse.ownership import Ownership
from vof.gateways.settings.keys import DEFAULT_TIMEOUT, MOUNT, MOUNT_FLAGS, NO_TIMEOUT
from vof.gateways.settings.values import parse_group, parse_mode, parse_user
from vof.gateways.suggestion import unknown
from vof.initiator.parameters import CONNECT_TIMEOUT, SessionParameters
from vof.metrics.endpoint import Endpoint
from vof.trace.place import parse_place
from vof.wire.names import check_name

KERNEL_FLAGS = frozenset({"ro", "nosuid", "nodev", "noexec", "noatime", "sync", "dirsync"})
"""Handed on as they are."""

_MEANINGLESS = frozenset(
    {
        *("rw", "suid", "dev", "exec", "async", "atime", "diratime", "nodiratime", "relatime"),
        *("norelatime", "strictatime", "nostrictatime", "lazytime", "nolazytime", "iversion"),
        *("noiversion", "mand", "nomand", "silent", "loud", "defaults", "auto", "noauto"),
        *("user", "users", "nouser", "owner", "group", "nofail", "_netdev"),
    }
)
"""What fstab and mount(8) carry for others."""

NO_DEVICE = frozenset({"none", "vof"})
"""As SOURCE: no device; the mount starts with the control file alone."""


@dataclass
class MountOptions:
    """A mount as it was asked for."""

    mountpoint: str
    tvqns: list[str] = field(default_factory=list)
    source: str = "vof"
    """What the mount table says of where it comes from."""
    name: str | None = None
    parameters: SessionParameters = field(
        default_factory=lambda: SessionParameters(timeout=float(DEFAULT_TIMEOUT))
    )
    ownership: Ownership = field(default_factory=lambda: Ownership(os.getuid(), os.getgid()))
    metrics: Endpoint | None = None
    trace: str = ""
    """Where it goes, if there is one."""
    fuse: set[str] = field(default_factory=set)
    """Options for libfuse."""


def mount_options(
    words: Iterable[str],
    option_lists: Iterable[str],
    configured: Mapping[str, str] | None = None,
    tvqns: Sequence[str] = (),
) -> MountOptions:
    """Return what the words before and with the mountpoint, and every ``-o``, ask for.

    ``configured`` are options, and ``tvqns`` devices, that hold where these say nothing. Raises
    ConfigError.
    """
    *sources, mountpoint = words
    options = MountOptions(mountpoint)
    for key, value in (configured or {}).items():
        if key not in MOUNT_FLAGS:
            _set(options, key, value)
        elif value == "yes":
            options.fuse.add(key)
    names = [name for source in sources for name in source.split(",")]
    names = [name for name in names if name and name not in NO_DEVICE] or list(tvqns)
    options.tvqns += (check_name("tvqn", name) for name in names)
    options.source = ",".join(sources or names) or "vof"
    for option_list in option_lists:
        for option in option_list.split(","):
            if option:
                _take(options, option)
    if options.parameters.timeout is None:
        raise ConfigError(NO_TIMEOUT)
    if options.name is not None and len(options.tvqns) != 1:
        raise ConfigError(f"name={options.name}: goes with exactly one TVQN")
    options.parameters.connect_timeout = min(CONNECT_TIMEOUT, options.parameters.timeout)
    return options


def _take(options: MountOptions, option: str) -> None:
    key, equals, value = option.partition("=")
    if not equals and key in KERNEL_FLAGS:
        options.fuse.add(key)
    elif key in _MEANINGLESS or key.startswith(("x-", "X-")) or key == "comment":
        pass
    elif key not in MOUNT:
        raise ConfigError(unknown("option", key, MOUNT))
    elif bool(equals) == (key in MOUNT_FLAGS):
        raise ConfigError(f"option '{key}' " + ("takes no value" if equals else "needs a value"))
    elif key in MOUNT_FLAGS:
        options.fuse.add(key)
    else:
        _set(options, key, value)


def _set(options: MountOptions, key: str, value: str) -> None:
    if key == "name":
        options.name = value
    elif key == "metrics":
        options.metrics = Endpoint.parse(key, value)
    elif key == "trace":
        options.trace = parse_place(key, value)
    elif key == "uid":
        options.ownership = replace(options.ownership, uid=parse_user(key, value))
    elif key == "gid":
        options.ownership = replace(options.ownership, gid=parse_group(key, value))
    elif key == "mode":
        options.ownership = replace(options.ownership, mode=parse_mode(key, value))
    else:
        options.parameters.set(key, value)
