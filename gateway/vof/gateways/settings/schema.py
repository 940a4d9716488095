# SPDX-License-Identifier: BSD-3-Clause
"""Which sections vof.conf has, which keys each takes, and what their values may be.

Owns that table and nothing else. The parameters of a device are those of the nbdkit plugin, and a
mount's are vof-mount's options, so that a key means the same wherever it is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath

from vof.errors import ConfigError
from vof.gateways import nbd
from vof.gateways.fuse import options as mount
from vof.gateways.suggestion import likely
from vof.initiator.parameters import TRANSPORTS, parse_integer
from vof.wire.dialect import DIALECT_NAMES
from vof.wire.names import check_name

_NAME = re.compile(r'[\s,]*(?:"((?:[^"]|"")*)"(?=[\s,]|$)|([^\s,"][^\s,]*)|$)')
_DEVICE = re.compile(r"/dev/nbd(0|[1-9][0-9]{0,3})")

MAX_CONNECTIONS = 16
"""NBD connections between the kernel and nbdkit."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "dialect": tuple(DIALECT_NAMES),
    "eager": ("on", "off"),
    "filter": ("auto", "on", "off"),
    "transport": TRANSPORTS,
}
"""The values of keys that have a few."""

_FLAGS = {"yes": True, "no": False, "true": True, "false": False, "on": True, "off": False}


class Kind(Enum):
    """What a section is about."""

    DEFAULTS = "defaults"
    DEVICE = "device"
    MOUNT = "mount"


@dataclass(frozen=True)
class Key:
    """One key: a line of help, and what raises ConfigError for a value that cannot be used."""

    text: str
    check: Callable[[str, str], object]


def parse_flag(key: str, value: str) -> bool:
    """Return what yes or no means. Raises ConfigError naming the key."""
    try:
        return _FLAGS[value.lower()]
    except KeyError:
        raise ConfigError(f"{key}={value}: neither yes nor no") from None


def parse_tvqns(key: str, value: str) -> list[str]:
    """Return the names that spaces or commas divide; one with either is in double quotes, with two
    for one in it. Raises ConfigError naming the key."""
    names = []
    place = 0
    while place < len(value):
        found = _NAME.match(value, place)
        if found is None:
            raise ConfigError(f"{key}={value}: a double quote does not stand around a name")
        quoted, plain = found.groups()
        if quoted is not None:
            names.append(check_name(key, quoted.replace('""', '"')))
        elif plain is not None:
            names.append(check_name(key, plain))
        place = found.end()
    return names


def _check_choice(key: str, value: str) -> None:
    known = CHOICES.get(key)
    if known is None or value in known:
        return
    meant = likely(value, known)
    hint = f"did you mean {meant}?" if meant else f"use {' or '.join(known)}"
    raise ConfigError(f"{key}={value}: not known; {hint}")


def _check_plugin(key: str, value: str) -> None:
    _check_choice(key, value)
    nbd.NbdGateway(lambda _errno: None, lambda _text: None).config(key, value)


def _check_nbd_device(key: str, value: str) -> None:
    if not _DEVICE.fullmatch(value):
        raise ConfigError(f"{key}={value}: not an nbd device, such as /dev/nbd0")


def _check_mountpoint(key: str, value: str) -> None:
    if not PurePosixPath(value).is_absolute():
        raise ConfigError(f"{key}={value}: not an absolute path")


def _check_mount_option(key: str, value: str) -> None:
    if key in mount.FLAGS:
        parse_flag(key, value)
    else:
        _check_choice(key, value)
        mount.check_option(key, value)


DEVICE_KEYS: Mapping[str, Key] = {
    **{
        key: Key(text, _check_plugin)
        for key, text in nbd.PARAMETERS.items()
        if key
        not in {"block_path", "growing", "status_fd"}  # `connect` says so itself, for it knows
    },
    "filter": Key("nbdkit's fast path: auto, on or off (default auto)", _check_choice),
    "device": Key("nbd device to attach to (default: the first free one)", _check_nbd_device),
    "connections": Key(
        f"NBD connections of the kernel, 1 to {MAX_CONNECTIONS} (default: one for a CPU, up to 4)",
        lambda key, value: parse_integer(key, value, 1, MAX_CONNECTIONS),
    ),
    "readonly": Key("attach it read-only: yes or no (default no)", parse_flag),
    "auto": Key("let `vofctl connect-all` connect it: yes or no (default yes)", parse_flag),
    "restart": Key(
        "start nbdkit again when it ends by itself: yes or no (default yes)", parse_flag
    ),
}
"""The keys of [device NAME], with ``tvqn`` the one that must be there."""

MOUNT_KEYS: Mapping[str, Key] = {
    "mountpoint": Key("folder to mount on", _check_mountpoint),
    "tvqns": Key("names of the targets' devices, divided by spaces or commas", parse_tvqns),
    **{key: Key(text, _check_mount_option) for key, text in mount.OPTIONS.items()},
}
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
