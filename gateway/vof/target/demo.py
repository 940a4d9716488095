# SPDX-License-Identifier: BSD-3-Clause
"""The ready-made set of ``vof-target --demo``: two sparse disks and one in memory, on loopback.

Owns which devices these are and the words that tell a newcomer what to type. Must not serve them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vof.errors import ConfigError
from vof.target.backends.memory import MemoryOptions
from vof.target.backends.posix import PosixOptions
from vof.target.config import Config, DeviceConfig, Settings
from vof.target.devices.block import BlockOptions
from vof.wire.constants import DEFAULT_PORT

_IMAGE_SIZE = 1 << 30
_MEMORY_SIZE = 64 << 20


@dataclass(frozen=True)
class _Disk:
    serial: str
    queues: int
    kind: str


_DISKS = {
    "block0": _Disk("vof-000001", 4, "1 GiB, sparse file, 4 queues"),
    "block1": _Disk("vof-000002", 1, "1 GiB, sparse file, 1 queue"),
    "block2": _Disk("vof-000003", 1, "64 MiB, in memory, 1 queue"),
}


def demo_config(directory: Path, address: str, port: int) -> Config:
    """Return the set, its images made in ``directory`` where they are not there. Raises
    ConfigError.
    """
    devices = []
    for section, disk in _DISKS.items():
        backend: PosixOptions | MemoryOptions
        if section == "block2":
            backend = MemoryOptions(_MEMORY_SIZE)
        else:
            backend = PosixOptions(path=str(_image(directory, section)))
        devices.append(
            DeviceConfig(
                where=f"demo: [{section}]",
                tvqn=_tvqn(section),
                model="block",
                features=0,
                options=BlockOptions(queues=disk.queues, serial=disk.serial),
                backend=backend,
            )
        )
    return Config(Settings(address=address, port=port), tuple(devices))


def demo_words(directory: Path, address: str, port: int) -> str:
    """Return what to try."""
    where = "" if address == "127.0.0.1" else f" taddr={address}"
    where += "" if port == DEFAULT_PORT else f" tport={port}"
    disks = "".join(f"  {_tvqn(name)}   {disk.kind}\n" for name, disk in _DISKS.items())
    return (
        f"Disks (images in {directory}):\n{disks}"
        "Try, in another terminal at the top of a checkout:\n"
        f"  nbdkit python nbdkit-plugin/vof_plugin.py tvqn={_tvqn('block0')}{where} "
        "--run 'nbdinfo \"$uri\"'\n"
    )


def _tvqn(section: str) -> str:
    return f"virtio-target/block/{section}.service"


def _image(directory: Path, section: str) -> Path:
    path = directory / f"{section}.img"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            if not file.tell():
                file.truncate(_IMAGE_SIZE)
    except OSError as error:
        raise ConfigError(f"cannot make the image {path}: {error.strerror}") from None
    return path.resolve()
