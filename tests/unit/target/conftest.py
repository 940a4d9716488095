# SPDX-License-Identifier: BSD-3-Clause
"""A real full disk and a real block device. Property tests are not timed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("vof", deadline=None)
settings.load_profile("vof")

NEEDS_ROOT = "needs root: a mount or a loop device is made"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    if os.geteuid():
        pytest.skip(NEEDS_ROOT)
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "none", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.fixture
def block_device(tmp_path: Path) -> Iterator[Path]:
    """A block device of 8 MiB."""
    if os.geteuid():
        pytest.skip(NEEDS_ROOT)
    image = tmp_path / "loop.img"
    image.touch()
    os.truncate(image, 8 << 20)
    made = subprocess.run(
        ["losetup", "--find", "--show", image], check=True, capture_output=True, text=True
    )
    device = Path(made.stdout.strip())
    yield device
    subprocess.run(["losetup", "--detach", device], check=True)
