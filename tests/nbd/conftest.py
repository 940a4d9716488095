# SPDX-License-Identifier: BSD-3-Clause
"""A vof-target process with a device of each kind, and nbdkits in front of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.nbd.nbdkit_process import WAYS, Nbdkit
from tests.support.scripted_target import Device, ScriptedTarget
from tests.target.process import TargetProcess

DISK_SIZE = 64 << 20

DISK = "nbd/disk"
LARGE_BLOCKS = "nbd/4k"
READ_ONLY = "nbd/read-only"
OTHER = "nbd/other"

CONFIG = """
[target]
port = 0
threads = 4

[disk]
tvqn = nbd/disk
model = block
backend = driver=block-posix,path={folder}/disk.img,queues=4,serial=nbd-disk

[large blocks]
tvqn = nbd/4k
model = block
backend = driver=block-posix,path={folder}/4k.img,queues=2,block_size=4096

[read-only]
tvqn = nbd/read-only
model = block
backend = driver=block-posix,path={folder}/ro.img,readonly=yes

[other]
tvqn = nbd/other
model = block
backend = driver=block-memory,size=64M,queues=2
"""

IMAGES = {"disk": DISK_SIZE, "4k": 1 << 20, "ro": 1 << 20}


class Served:
    """A running target process and the folder with its images."""

    def __init__(self, process: TargetProcess, folder: Path) -> None:
        self.process = process
        self.folder = folder

    @property
    def port(self) -> int:
        return self.process.address[1]

    def nbdkit(
        self,
        tvqn: str | None = None,
        *arguments: str,
        daemon: bool = False,
        options: Sequence[str] = (),
    ) -> Nbdkit:
        name = [] if tvqn is None else [f"tvqn={tvqn}"]
        return Nbdkit(f"tport={self.port}", *name, *arguments, daemon=daemon, options=options)


def start_target(folder: Path, *launcher: str) -> Served:
    for name, size in IMAGES.items():
        with (folder / f"{name}.img").open("wb") as image:
            image.truncate(size)
    config = folder / "vtgt.conf"
    config.write_text(CONFIG.format(folder=folder))
    return Served(TargetProcess(config, launcher=launcher), folder)


@pytest.fixture(scope="package", params=WAYS, autouse=True)
def way(request: pytest.FixtureRequest) -> None:
    """Every test here runs on each way from nbdkit to the target."""
    Nbdkit.way = WAYS[request.param]


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One target for all tests that leave it as it is, their data aside."""
    served = start_target(tmp_path_factory.mktemp("target"))
    with served.process:
        yield served


@pytest.fixture
def own_target(tmp_path: Path) -> Iterator[Served]:
    """A target that the test may end."""
    served = start_target(tmp_path)
    with served.process:
        yield served


@pytest.fixture(scope="package")
def disk(way: None, served: Served) -> Iterator[Nbdkit]:
    """One nbdkit on the ordinary disk for all tests that leave it running."""
    with served.nbdkit(DISK) as nbdkit:
        yield nbdkit


@pytest.fixture
def scripted() -> Iterator[ScriptedTarget]:
    """A target to make misbehave, before or after nbdkit has connected to it."""
    with ScriptedTarget(Device()) as target:
        yield target


def nbdkit_for(target: ScriptedTarget, *arguments: str) -> Nbdkit:
    return Nbdkit(f"tvqn={target.device.tvqn}", f"tport={target.port}", *arguments)
