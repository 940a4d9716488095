# SPDX-License-Identifier: BSD-3-Clause
"""The kernel initiator's control string: ``command=create,transport=tcp,taddr=…,tvqn=…``.

Its keys are those of the *proposal* (the text a user writes to /dev/virtio-fabrics), and ours:
``name`` and the other session parameters. Owns the form. Must not know how a device is opened, nor
whether the values are any good: ``SessionParameters.set`` says so.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from vof.errors import ConfigError
from vof.gateways.suggestion import unknown
from vof.initiator.parameters import PARAMETERS

MAX_COMMAND = 4096
"""Bytes of the longest command."""

COMMANDS = ("create", "destroy")

KEYS = {
    "command": "create a device or destroy one",
    **PARAMETERS,
    "name": "name of the device here (default: the last part of the tvqn)",
}
"""Every key with a line of help."""


@dataclass(frozen=True)
class ControlCommand:
    """The content of one control string."""

    command: str
    """One of ``COMMANDS``."""
    name: str | None
    values: dict[str, str]
    """The keys of ``PARAMETERS`` that were given, as text; ``tvqn`` is one of them."""


def is_control_string(text: str) -> bool:
    """Return whether ``text`` is meant as one; a tvqn does not look like that."""
    return any(part.strip().startswith("command=") for part in text.split(","))


def parse_control_string(text: str | bytes) -> ControlCommand:
    """Return what a control string says.

    Raises ConfigError for one that is too long (EMSGSIZE), is no text, has a key twice, unknown or
    without a value, or lacks ``command`` or ``tvqn``.
    """
    values = _values(text)
    command = values.pop("command", None)
    if command not in COMMANDS:
        given = "is missing" if command is None else f"'{command}' is not known"
        raise ConfigError(f"command= {given}; use command={' or command='.join(COMMANDS)}")
    if "tvqn" not in values:
        raise ConfigError(f"command={command}: tvqn= is missing; it names the device")
    return ControlCommand(command, values.pop("name", None), values)


def _values(data: str | bytes) -> dict[str, str]:
    try:
        text = data.decode() if isinstance(data, bytes) else data
        length = len(text.encode())
    except UnicodeError:
        raise ConfigError("the command is not valid UTF-8") from None
    if length > MAX_COMMAND:
        raise ConfigError(
            f"the command is {length} bytes long; at most {MAX_COMMAND} are read",
            errno=errno.EMSGSIZE,
        )
    values: dict[str, str] = {}
    for part in text.strip(" \t\r\n\0").split(","):
        key, equals, value = part.strip().partition("=")
        if key not in KEYS:
            raise ConfigError(unknown("key", key, KEYS))
        if not equals or not value:
            raise ConfigError(f"{key}= has no value")
        if key in values:
            raise ConfigError(f"{key}= is given twice")
        values[key] = value
    return values
