# SPDX-License-Identifier: BSD-3-Clause
"""The control file ``virtio-fabrics``, after the kernel initiator's /dev/virtio-fabrics.

One write(2) is one command, ``command=create,KEY=VALUE,…`` or ``command=destroy,…`` with the keys
of ``control_string``; its error is the write's. Reading tells the keys and the last error in words,
for an errno cannot. Must not know how a device is opened.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

from vof.errors import ConfigError, VofError
from vof.gateways import control_string
from vof.gateways.control_string import COMMANDS, ControlCommand, parse_control_string
from vof.gateways.fuse.devices import Devices
from vof.gateways.fuse.nodes import Access, BytesHandle, File, Handle, Opening
from vof.gateways.settings.keys import MOUNT
from vof.initiator.parameters import PARAMETERS, SessionParameters
from vof.logline import printable

FILE_NAME = "virtio-fabrics"

KEYS = {
    key: MOUNT[key].text if key in PARAMETERS and key in MOUNT else text
    for key, text in control_string.KEYS.items()
}
"""Every key with a line of help; the defaults are a mount's."""


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
    """The control file, for all its openings.

    ``defaults`` are the parameters of what a command leaves out.
    """

    def __init__(self, devices: Devices, defaults: SessionParameters) -> None:
        self._devices = devices
        self._defaults = defaults
        self._last_error = "none"

    async def execute(self, data: bytes) -> None:
        """Carry out a command and remember what went wrong."""
        try:
            await self._execute(parse_control_string(data))
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
            f"last_error: {printable(self._last_error)}\n"
        )

    async def _execute(self, asked: ControlCommand) -> None:
        parameters = dataclasses.replace(self._defaults)
        for key, value in asked.values.items():
            parameters.set(key, value)
        if asked.command == "create":
            if parameters.timeout is None:
                raise ConfigError("timeout=0: a file that waits for ever could not be closed")
            await self._devices.create(parameters, asked.name)
        else:
            assert parameters.tvqn is not None
            told = "taddr" in asked.values or "tport" in asked.values
            await self._devices.destroy(parameters.tvqn, parameters.where if told else None)


class _ControlHandle(BytesHandle):
    def __init__(self, control: Control) -> None:
        super().__init__(control.text().encode())
        self._control = control

    async def write(self, offset: int, data: bytes) -> int:
        await self._control.execute(data)
        return len(data)
