# SPDX-License-Identifier: BSD-3-Clause
"""The name by which a device or a mount of this machine is called (ours).

It becomes a part of file names, links and unit names: letters of every script are allowed, and of
ASCII only what none of those gives a meaning to. Owns how long it may be, and how a name comes back
from a unit's, where systemd has escaped it.
"""

from __future__ import annotations

import re

from vof.errors import ConfigError

MAX_NAME = 64
"""Bytes in UTF-8."""

_PUNCTUATION = "._-"
_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")


def check_device_name(name: str) -> str:
    """Return a name that can be used; else raise ConfigError."""
    good = name and name[0] not in _PUNCTUATION and all(map(_is_allowed, name))
    if not good or len(name.encode()) > MAX_NAME:
        raise ConfigError(
            f"{name!r} cannot be a name: up to {MAX_NAME} letters, digits, '.', '_' and '-' are "
            "allowed, a letter or digit first; one that is not ASCII counts as its bytes in UTF-8"
        )
    return name


def name_of(text: str) -> str:
    """Return a name made of any text, as like it as can be; empty where nothing of it will do."""
    made = "".join(letter if _is_allowed(letter) else "_" for letter in text)
    return shortened(made.lstrip(_PUNCTUATION))


def shortened(name: str, room: int = MAX_NAME) -> str:
    """Return as many whole characters of a name as fit into ``room`` bytes."""
    return name.encode()[:room].decode(errors="ignore")


def unescaped(name: str) -> str:
    r"""Return the name of which systemd-escape(1) has made ``name``: ``\xd0\xb4`` is a letter.

    A "-" stays: in a name there is no "/" that it could stand for.
    """
    if "\\" not in name:
        return name
    data = name.encode(errors="surrogateescape")
    return _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()), data).decode(
        errors="surrogateescape"
    )


def _is_allowed(letter: str) -> bool:
    if letter.isascii():
        return letter.isalnum() or letter in _PUNCTUATION
    return letter.isprintable()
