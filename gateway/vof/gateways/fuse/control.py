# SPDX-License-Identifier: BSD-3-Clause
"""The control file ``virtio-fabrics``, after the kernel initiator's /dev/virtio-fabrics.

One write(2) is one command, ``command=create,KEY=VALUE,…`` or ``command=destroy,…`` with the keys
of the *proposal*; its error is the write's. Reading tells the keys and the last error in words, for
an errno cannot. Owns the format; must not know how a device is opened.
"""

from __future__ import annotations

import dataclasses
import errno
from datetime import UTC, datetime

from vof.errors import ConfigError, VofError
from vof.gateways.fuse.devices import Devices
from vof.gateways.fuse.info import one_line
from vof.gateways.fuse.nodes import Access, BytesHandle, File, Handle, Opening
from vof.gateways.fuse.options import OPTIONS
from vof.initiator.parameters import PARAMETERS, SessionParameters

FILE_NAME = "virtio-fabrics"

MAX_COMMAND = 4096
"""Bytes of the longest command."""

COMMANDS = ("create", "destroy")

KEYS = {
    "command": "create a device or destroy one",
    "tvqn": PARAMETERS["tvqn"],
    **{key: text for key, text in OPTIONS.items() if key in PARAMETERS},
    "name": "name of the device's folder (default: the last part of the tvqn)",
}
"""Every key with a line of help."""


class ControlFile(File):
    """Adds and removes devices: a write waits for a target, and no other write for that one."""

    access = Access.BOTH

    def __init__(self, control: Control) -> None:
        super().__init__()
        self._control = control

    def found(self) -> ControlFile:
        return ControlFile(self._control)

    async def open(self, opening: Opening) -> Handle:
        return _ControlHandle(self._control)


class Control:
    """What the control file's openings share.

    ``defaults`` are the parameters of what a command leaves out.
    """

    def __init__(self, devices: Devices, defaults: SessionParameters) -> None:
        self._devices = devices
        self._defaults = defaults
        self._last_error = "none"

    async def execute(self, data: bytes) -> None:
        """Carry out a command and remember what went wrong."""
        try:
            await self._execute(parse_command(data))
        except (VofError, OSError) as error:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self._last_error = f"{now} {error}"
            raise

    def text(self) -> str:
        """Return what reading tells."""
        width = max(map(len, KEYS)) + 1
        options = "".join(f"  {key + '=':{width}} {text}\n" for key, text in KEYS.items())
        return (
            f"command={'|'.join(COMMANDS)},KEY=VALUE,...\n{options}"
            f"last_error: {one_line(self._last_error)}\n"
        )

    async def _execute(self, values: dict[str, str]) -> None:
        command = values.pop("command", None)
        if command not in COMMANDS:
            given = "is missing" if command is None else f"'{command}' is not known"
            raise ConfigError(f"command= {given}; use command={' or command='.join(COMMANDS)}")
        if "tvqn" not in values:
            raise ConfigError(f"command={command}: tvqn= is missing; it names the device")
        name = values.pop("name", None)
        parameters = dataclasses.replace(self._defaults)
        for key, value in values.items():
            parameters.set(key, value)
        if command == "create":
            if parameters.timeout is None:
                raise ConfigError("timeout=0: a file that waits for ever could not be closed")
            await self._devices.create(parameters, name)
        else:
            assert parameters.tvqn is not None
            told = "taddr" in values or "tport" in values
            await self._devices.destroy(parameters.tvqn, parameters.where if told else None)


class _ControlHandle(BytesHandle):
    def __init__(self, control: Control) -> None:
        super().__init__(control.text().encode())
        self._control = control

    async def write(self, offset: int, data: bytes) -> int:
        await self._control.execute(data)
        return len(data)


def parse_command(data: bytes) -> dict[str, str]:
    """Return the keys and values of a command.

    Raises ConfigError for one that is too long (EMSGSIZE), is no text, or has a key twice, unknown
    or without a value.
    """
    if len(data) > MAX_COMMAND:
        raise ConfigError(
            f"the command is {len(data)} bytes long; at most {MAX_COMMAND} are read",
            errno=errno.EMSGSIZE,
        )
    try:
        text = data.decode().strip(" \t\r\n\0")
    except UnicodeDecodeError:
        raise ConfigError("the command is not valid UTF-8") from None
    values: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.strip().partition("=")
        if key not in KEYS:
            raise ConfigError(f"unknown key '{key}'; known are {', '.join(KEYS)}")
        if not equals or not value:
            raise ConfigError(f"{key}= has no value")
        if key in values:
            raise ConfigError(f"{key}= is given twice")
        values[key] = value
    return values
