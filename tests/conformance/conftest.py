# SPDX-License-Identifier: BSD-3-Clause
"""One suite for every transport: a target with known devices, and sessions with them.

A transport is one entry of ``TRANSPORTS``: what to write into the target's configuration and into a
session's parameters. A test that asks for ``served`` runs once for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.implementations import implementation, on_both
from tests.support.loopback import nothing_left_open
from tests.target.process import TargetProcess
from vof.drivers.block import BlockDriver
from vof.gateways.disk import Disk
from vof.initiator.parameters import SessionParameters
from vof.target.config import parse
from vof.target.server import Target

__all__ = ["implementation"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test runs with both implementations of the data path."""
    on_both(metafunc)


@dataclass(frozen=True)
class Transport:
    """How target and initiator meet."""

    name: str
    address: str
    parameters: dict[str, Any]


TRANSPORTS = [Transport("tcp", "127.0.0.1", {"transport": "tcp"})]

DISK_SIZE = 8 << 20

CONFIG = """
[target]
transport = tcp
address = {address}
port = 0
threads = 2

[file]
tvqn = conformance/file
model = block
backend = driver=block-posix,path={folder}/file.img,queues=4,serial=file-disk

[large blocks]
tvqn = conformance/4k
model = block
backend = driver=block-posix,path={folder}/4k.img,queues=2,block_size=4096

[read-only]
tvqn = conformance/read-only
model = block
backend = driver=block-posix,path={folder}/ro.img,readonly=yes

[memory]
tvqn = conformance/memory
model = block
backend = driver=block-memory,size=8M,queues=4,serial=memory-disk-of-20-ch
"""

WRITABLE = ["conformance/file", "conformance/4k", "conformance/memory"]


class Served:
    """A target in this process, and what it takes to reach it."""

    def __init__(self, target: Target, transport: Transport, folder: Path) -> None:
        self.target = target
        self.folder = folder
        self._transport = transport
        self._opened: list[BlockDriver] = []

    def parameters(self, tvqn: str, **changes: Any) -> SessionParameters:
        return SessionParameters(
            tvqn=tvqn,
            taddr=self.target.address,
            tport=self.target.port,
            **(self._transport.parameters | changes),
        )

    def open(self, tvqn: str, queues: int = 4, **changes: Any) -> BlockDriver:
        """Open a driver, which is closed at the end of the test if it was not before."""
        self._opened.append(BlockDriver.open(self.parameters(tvqn, **changes), queues))
        return self._opened[-1]

    def disk(self, tvqn: str, queues: int = 4) -> Disk:
        return Disk(self.open(tvqn, queues))

    def close(self) -> None:
        for driver in self._opened:
            driver.close()


def write_images(folder: Path) -> None:
    for name in ("file", "4k", "ro"):
        (folder / f"{name}.img").write_bytes(bytes(DISK_SIZE))


@pytest.fixture(params=TRANSPORTS, ids=lambda transport: transport.name)
def transport(request: pytest.FixtureRequest) -> Transport:
    found: Transport = request.param
    return found


@pytest.fixture
def served(transport: Transport, tmp_path: Path) -> Iterator[Served]:
    write_images(tmp_path)
    config = CONFIG.format(address=transport.address, folder=tmp_path)
    with nothing_left_open(), Target(parse(config, "conformance.conf")) as target:
        served = Served(target, transport, tmp_path)
        yield served
        served.close()


Spawn = Callable[[], tuple[TargetProcess, SessionParameters]]


@pytest.fixture
def spawn(transport: Transport, tmp_path: Path) -> Iterator[Spawn]:
    """Return a starter of targets that are processes, and parameters for their file disk."""
    write_images(tmp_path)
    config = tmp_path / "vtgt.conf"
    config.write_text(CONFIG.format(address=transport.address, folder=tmp_path))
    with ExitStack() as stack:

        def start() -> tuple[TargetProcess, SessionParameters]:
            process = stack.enter_context(TargetProcess(config))
            address, port = process.address
            parameters = SessionParameters(
                tvqn="conformance/file", taddr=address, tport=port, **transport.parameters
            )
            return process, parameters

        yield start
