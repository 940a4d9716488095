# SPDX-License-Identifier: BSD-3-Clause
"""Targets and mounts for the tests on a real mount."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fuse.mounting import Mount, clear_away
from tests.support.scripted_rng import ScriptedRng
from tests.target.process import TargetProcess

DISK = "fuse/disks/disk0.service"
OTHER_DISK = "fuse/others/disk0.service"
READ_ONLY = "fuse/disks/ro.service"
DISK_SIZE = 16 << 20

CONFIG = """
[target]
port = 0
threads = 4

[disk]
tvqn = fuse/disks/disk0.service
model = block
backend = driver=block-posix,path={folder}/disk.img,queues=4,serial=fuse-disk

[other]
tvqn = fuse/others/disk0.service
model = block
backend = driver=block-memory,size=1M

[read-only]
tvqn = fuse/disks/ro.service
model = block
backend = driver=block-posix,path={folder}/ro.img,readonly=yes
"""

MakeMount = Callable[..., Mount]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A mountpoint, cleared whatever happens."""
    path = tmp_path / "mnt"
    path.mkdir()
    yield path
    clear_away(path)


@pytest.fixture
def mount(folder: Path) -> Iterator[MakeMount]:
    """Return a maker of mounts on ``folder``, unmounted at the end."""
    with ExitStack() as stack:

        def make(*tvqns: str, **options: object) -> Mount:
            return stack.enter_context(Mount(folder, *tvqns, **options))

        yield make


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[TargetProcess]:
    """A vof-target with three disks; the images are in ``tmp_path``."""
    for name, size in (("disk", DISK_SIZE), ("ro", 1 << 20)):
        with (tmp_path / f"{name}.img").open("wb") as image:
            image.truncate(size)
    config = tmp_path / "target.conf"
    config.write_text(CONFIG.format(folder=tmp_path), encoding="utf-8")
    with TargetProcess(config) as process:
        yield process


@pytest.fixture
def rng() -> Iterator[ScriptedRng]:
    """A scripted target with a virtio-rng."""
    with ScriptedRng() as target:
        yield target
