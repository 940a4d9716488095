# SPDX-License-Identifier: BSD-3-Clause
"""Every key that a user can set, with a line of help and the check of its value.

One table beneath all front ends, so that a key means the same wherever it is written: as a
parameter of nbdkit's plugin, an option of vof-mount or vofctl, or a line of vof.conf(5). Must not
know what a front end does with a value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vof.errors import ConfigError
from vof.gateways.settings.values import (
    parse_flag,
    parse_group,
    parse_mode,
    parse_mountpoint,
    parse_nbd_device,
    parse_tvqns,
    parse_user,
    parse_yes_or_no,
)
from vof.gateways.suggestion import likely
from vof.initiator.parameters import PARAMETERS, TRANSPORTS, SessionParameters, parse_integer
from vof.metrics.endpoint import FORM, Endpoint
from vof.trace.place import FORM as TRACE_FORM
from vof.trace.place import parse_place
from vof.wire.dialect import DIALECT_NAMES

DEFAULT_TIMEOUT = "30"
"""Seconds that a request may take where nobody says anything; nbdkit alone has no limit then."""

MAX_QUEUES = 128
"""Virtqueues of one disk."""

MAX_CONNECTIONS = 16
"""NBD connections between the kernel and nbdkit."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "dialect": tuple(DIALECT_NAMES),
    "eager": ("on", "off"),
    "filter": ("auto", "on", "off"),
    "transport": TRANSPORTS,
}
"""The values of keys that have a few."""

NO_TIMEOUT = "timeout=0: a read that waits for ever could not be killed"
"""The complaint of a mount about a timeout that is none."""

DESCRIPTORS = (3, 1 << 20)
"""The first and the last that a program can have inherited for us."""


@dataclass(frozen=True)
class Key:
    """One key: a line of help, and what raises ConfigError for a value that cannot be used."""

    text: str
    check: Callable[[str, str], object]


def _within(low: int, high: int) -> Callable[[str, str], int]:
    return lambda key, value: parse_integer(key, value, low, high)


def _check_choice(key: str, value: str) -> None:
    known = CHOICES.get(key)
    if known is None or value in known:
        return
    meant = likely(value, known)
    hint = f"did you mean {meant}?" if meant else f"use {' or '.join(known)}"
    raise ConfigError(f"{key}={value}: not known; {hint}")


def _check_session(key: str, value: str) -> None:
    _check_choice(key, value)
    SessionParameters().set(key, value)


def _check_mount_timeout(key: str, value: str) -> None:
    _check_session(key, value)
    if not float(value):
        raise ConfigError(NO_TIMEOUT)


def _take_anything(_key: str, _value: str) -> None:
    pass


_SESSION = {key: Key(text, _check_session) for key, text in PARAMETERS.items()}

PLUGIN: Mapping[str, Key] = _SESSION | {
    "tvqn": Key(
        "name of the target's device; without it the NBD export name is the tvqn", _check_session
    ),
    "metrics": Key(f"where to serve metrics: {FORM} (default: nowhere)", Endpoint.parse),
    "trace": Key(
        f"show what is said to the target, decoded: {TRACE_FORM} (default no)", parse_place
    ),
    "queues": Key(
        f"virtqueues to use at most, 1 to {MAX_QUEUES} (default: one for two CPUs, up to 4)",
        _within(1, MAX_QUEUES),
    ),
    "block_path": Key(
        "yes where this kernel's own nbd is the client: see the manual (default no)",
        parse_yes_or_no,
    ),
    "growing": Key(
        "yes where the client learns the size elsewhere: see the manual (default no)",
        parse_yes_or_no,
    ),
    "status_fd": Key(
        "descriptor of the socket to tell a supervisor of the session: see the manual",
        _within(*DESCRIPTORS),
    ),
}
"""The parameters of nbdkit's plugin."""

SUPERVISED = frozenset({"block_path", "growing", "status_fd"})
"""Those of them that `vofctl connect` gives itself, for it knows."""

DISK: Mapping[str, Key] = {
    "filter": Key("nbdkit's fast path: auto, on or off (default auto)", _check_choice),
    "device": Key("nbd device to attach to (default: the first free one)", parse_nbd_device),
    "connections": Key(
        f"NBD connections of the kernel, 1 to {MAX_CONNECTIONS} (default: one for a CPU, up to 4)",
        _within(1, MAX_CONNECTIONS),
    ),
    "readonly": Key("attach it read-only: yes or no (default no)", parse_flag),
    "auto": Key("let `vofctl connect-all` connect it: yes or no (default yes)", parse_flag),
    "restart": Key(
        "start nbdkit again when it ends by itself: yes or no (default yes)", parse_flag
    ),
}
"""How a disk is attached, beside the parameters of the plugin that serves it."""

MOUNT: Mapping[str, Key] = {
    **{key: each for key, each in _SESSION.items() if key not in ("tvqn", "timeout")},
    "timeout": Key(
        "seconds until a request fails and its session is given up, up to 86400 "
        f"(default {DEFAULT_TIMEOUT})",
        _check_mount_timeout,
    ),
    "name": Key(
        "name of the folder, where one TVQN is given (default: the last part of the tvqn)",
        _take_anything,
    ),
    "uid": Key("owner of the files (default: who mounts)", parse_user),
    "gid": Key("group of the files (default: that of who mounts)", parse_group),
    "mode": Key(
        "permissions of the files, in octal (default 600; info, random and the like 444)",
        parse_mode,
    ),
    "metrics": Key(f"where to serve metrics: {FORM} (default: nowhere)", Endpoint.parse),
    "trace": Key(
        f"show what is said to the targets, decoded: {TRACE_FORM} (default no)", parse_place
    ),
    "allow_other": Key("let other users in, as far as the permissions allow", parse_flag),
}
"""The options of vof-mount."""

MOUNT_FLAGS = frozenset({"allow_other"})
"""Those of them that have no value behind ``-o``."""

MOUNTED: Mapping[str, Key] = {
    "mountpoint": Key("folder to mount on", parse_mountpoint),
    "tvqns": Key("names of the targets' devices, divided by spaces or commas", parse_tvqns),
}
"""What is mounted where, in a file; a command line says it without keys."""

CONTROL: Mapping[str, Key] = _SESSION | {
    "tvqn": Key("name of the target's device, or of a device in vof.conf", _check_session),
    "timeout": Key(
        f"seconds a request may take (default {DEFAULT_TIMEOUT}; 0: no limit)", _check_session
    ),
}
"""The options of every verb of vofctl that goes to a device."""
