# SPDX-License-Identifier: BSD-3-Clause
"""One suite for every way to meet: a target with a module's devices, and sessions with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest

from tests.conformance.ways import BY_HAND, ONE_DIALECT, RDMA_ADDRESS, WAYS, Way
from tests.support.implementations import implementation, on_both
from tests.support.loopback import nothing_left_open
from tests.target.process import TargetProcess
from vof.drivers.block import BlockDriver
from vof.drivers.console import ConsoleDriver
from vof.drivers.crypto import CryptoDriver
from vof.drivers.rng import RngDriver
from vof.gateways.disk import Disk
from vof.initiator.parameters import SessionParameters
from vof.initiator.session import Session
from vof.target.config import parse
from vof.target.server import Target

__all__ = ["implementation"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test runs with both implementations of the data path, most in every way."""
    if "way" not in metafunc.fixturenames:
        on_both(metafunc)
        return
    once = {"one_dialect", "rdma_once"} if RDMA_ADDRESS else {"one_dialect"}
    marks = {mark.name for mark in metafunc.definition.iter_markers()}
    ways = ONE_DIALECT if once & marks else WAYS
    metafunc.parametrize(
        ("way", "implementation"),
        [pytest.param(way, way.implementation, id=way.name) for way in ways],
        indirect=["implementation"],
    )


CONFIG = """
[target]
transport = {way.transport}
address = {way.address}
port = 0
threads = 2
"""


class Closing(Protocol):
    def close(self) -> None: ...


_C = TypeVar("_C", bound=Closing)


class Served:
    """A target in this process, and what it takes to reach it."""

    def __init__(self, target: Target, way: Way, folder: Path) -> None:
        self.target = target
        self.folder = folder
        self.way = way
        self._opened: list[Closing] = []

    def parameters(self, tvqn: str, **changes: Any) -> SessionParameters:
        return SessionParameters(
            tvqn=tvqn,
            taddr=self.target.address,
            tport=self.target.port,
            **(self.way.parameters | changes),
        )

    # Each is closed at the end of the test if it was not before.

    def session(self, tvqn: str) -> Session:
        return self.open(Session.open, tvqn)

    def block(self, tvqn: str, queues: int = 4) -> BlockDriver:
        return self.open(lambda parameters: BlockDriver.open(parameters, queues), tvqn)

    def disk(self, tvqn: str, queues: int = 4) -> Disk:
        return Disk(self.block(tvqn, queues))

    def rng(self, tvqn: str) -> RngDriver:
        return self.open(RngDriver.open, tvqn)

    def console(self, tvqn: str) -> ConsoleDriver:
        return self.open(ConsoleDriver.open, tvqn)

    def crypto(self, tvqn: str, queues: int = 2) -> CryptoDriver:
        return self.open(lambda parameters: CryptoDriver.open(parameters, queues), tvqn)

    def open(self, opener: Callable[[SessionParameters], _C], tvqn: str, **changes: Any) -> _C:
        """Return what ``opener`` returns for parameters with these changes."""
        item = opener(self.parameters(tvqn, **changes))
        self._opened.append(item)
        return item

    def close(self) -> None:
        for item in self._opened:
            item.close()


@pytest.fixture
def config(request: pytest.FixtureRequest, way: Way, tmp_path: Path) -> str:
    """The target's configuration: the module's function ``devices`` says with which devices."""
    devices: str = request.module.devices(tmp_path)
    return CONFIG.format(way=way) + devices


@pytest.fixture
def served(config: str, way: Way, tmp_path: Path) -> Iterator[Served]:
    with nothing_left_open(), Target(parse(config, "conformance.conf")) as target:
        served = Served(target, way, tmp_path)
        yield served
        served.close()


@pytest.fixture
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, int]]:
    """Where a target of the module's devices listens, for an initiator made by hand over TCP."""
    text = CONFIG.format(way=BY_HAND) + request.module.devices(tmp_path)
    with nothing_left_open(), Target(parse(text, "conformance.conf")) as target:
        yield target.address, target.port


Spawn = Callable[[str], tuple[TargetProcess, SessionParameters]]


@pytest.fixture
def spawn(config: str, way: Way, tmp_path: Path) -> Iterator[Spawn]:
    """Return a starter of targets that are processes, which returns parameters for a device."""
    path = tmp_path / "vtgt.conf"
    path.write_text(config)
    with ExitStack() as stack:

        def start(tvqn: str) -> tuple[TargetProcess, SessionParameters]:
            process = stack.enter_context(TargetProcess(path))
            address, port = process.address
            return process, SessionParameters(
                tvqn=tvqn, taddr=address, tport=port, **way.parameters
            )

        yield start
