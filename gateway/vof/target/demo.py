# SPDX-License-Identifier: BSD-3-Clause
"""The ready-made set of ``vof-target --demo``: disks, an rng and a crypto device, on loopback.

Owns which devices these are and the words that tell a newcomer what to type. Must not serve them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vof.errors import ConfigError
from vof.metrics.endpoint import NOWHERE, Endpoint
from vof.target.backends.crypto_openssl import OpensslOptions
from vof.target.backends.memory import MemoryOptions
from vof.target.backends.posix import PosixOptions
from vof.target.backends.rng_random import RandomOptions
from vof.target.config import Config, DeviceConfig, Settings
from vof.target.devices.block import BlockOptions
from vof.target.devices.crypto import CryptoDeviceOptions
from vof.target.devices.rng import RngDeviceOptions
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

_OTHERS = {
    "rng0": "random bytes of this machine's kernel",
    "crypto0": "ciphers, digests and signatures by OpenSSL, 1 data queue",
}


def demo_config(
    directory: Path, address: str, ports: tuple[int, ...], metrics: Endpoint = NOWHERE
) -> Config:
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
    devices.append(
        DeviceConfig(
            where="demo: [rng0]",
            tvqn=_tvqn("rng0"),
            model="rng",
            features=0,
            options=RngDeviceOptions(),
            backend=RandomOptions(),
        )
    )
    devices.append(
        DeviceConfig(
            where="demo: [crypto0]",
            tvqn=_tvqn("crypto0"),
            model="crypto",
            features=0,
            options=CryptoDeviceOptions(),
            backend=OpensslOptions(),
        )
    )
    return Config(Settings(address=address, ports=ports, metrics=metrics), tuple(devices))


def demo_words(directory: Path, address: str, ports: Sequence[int]) -> str:
    """Return what to try."""
    given = {} if address == "127.0.0.1" else {"taddr": address}
    given |= {} if DEFAULT_PORT in ports else {"tport": str(ports[0])}
    options = "".join(f" --{key} {value}" for key, value in given.items())
    where = "".join(f" {key}={value}" for key, value in given.items())
    kinds = {name: disk.kind for name, disk in _DISKS.items()} | _OTHERS
    wide = max(len(_tvqn(name)) for name in kinds)
    devices = "".join(f"  {_tvqn(name):{wide}}   {kind}\n" for name, kind in kinds.items())
    return (
        f"Devices (images of the disks in {directory}):\n{devices}"
        "Try, in another terminal:\n"
        f"  vofctl info {_tvqn('block0')}{options}\n"
        f"  vofctl connect {_tvqn('block0')}{options}\n"
        "or, at the top of a checkout:\n"
        f"  nbdkit python nbdkit-plugin/vof_plugin.py tvqn={_tvqn('block0')}{where} "
        "--run 'nbdinfo \"$uri\"'\n"
    )


def _tvqn(section: str) -> str:
    return f"virtio-target/{section.rstrip('0123456789')}/{section}.service"


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
