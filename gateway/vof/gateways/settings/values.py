# SPDX-License-Identifier: BSD-3-Clause
"""Readers of values that are no session's: yes or no, names, places, users and permissions.

Each takes the key, for the complaint, and the text, and raises ConfigError for what it cannot use.
Must not know which keys there are.
"""

from __future__ import annotations

import grp
import pwd
import re
from pathlib import PurePosixPath

from vof.errors import ConfigError
from vof.initiator.parameters import parse_integer
from vof.wire.names import check_name

_NAME = re.compile(r'[\s,]*(?:"((?:[^"]|"")*)"(?=[\s,]|$)|([^\s,"][^\s,]*)|$)')
_NBD_DEVICE = re.compile(r"/dev/nbd(0|[1-9][0-9]{0,3})")

_FLAGS = {"yes": True, "no": False, "true": True, "false": False, "on": True, "off": False}


def parse_flag(key: str, value: str) -> bool:
    """Return what yes or no means."""
    try:
        return _FLAGS[value.lower()]
    except KeyError:
        raise ConfigError(f"{key}={value}: neither yes nor no") from None


def parse_yes_or_no(key: str, value: str) -> bool:
    """Return the same of those two words alone, which a program says."""
    if value not in {"yes", "no"}:
        raise ConfigError(f"{key}={value}: use yes or no")
    return value == "yes"


def parse_tvqns(key: str, value: str) -> list[str]:
    """Return the names that spaces or commas divide; one with either is in double quotes, with two
    for one in it."""
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


def parse_nbd_device(key: str, value: str) -> int:
    """Return the number of ``/dev/nbdN``."""
    found = _NBD_DEVICE.fullmatch(value)
    if not found:
        raise ConfigError(f"{key}={value}: not an nbd device, such as /dev/nbd0")
    return int(found[1])


def parse_mountpoint(key: str, value: str) -> PurePosixPath:
    """Return an absolute path."""
    path = PurePosixPath(value)
    if not path.is_absolute():
        raise ConfigError(f"{key}={value}: not an absolute path")
    return path


def parse_user(key: str, value: str) -> int:
    """Return the number of a user, given by that or by name."""
    if value.isascii() and value.isdigit():
        return _number(key, value)
    try:
        return pwd.getpwnam(value).pw_uid
    except (KeyError, ValueError):
        raise ConfigError(f"{key}={value}: no such user") from None


def parse_group(key: str, value: str) -> int:
    """Return the number of a group, given by that or by name."""
    if value.isascii() and value.isdigit():
        return _number(key, value)
    try:
        return grp.getgrnam(value).gr_gid
    except (KeyError, ValueError):
        raise ConfigError(f"{key}={value}: no such group") from None


def parse_mode(key: str, value: str) -> int:
    """Return the permissions to read and write that an octal number gives."""
    try:
        mode = int(value, 8) if value.isascii() and value.isdigit() else -1
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise ConfigError(f"{key}={value}: not permissions in octal, such as 640")
    return mode & 0o666


def _number(key: str, value: str) -> int:
    # 2^32 - 1 means "none" to the kernel.
    return parse_integer(key, value, 0, (1 << 32) - 2)
