# SPDX-License-Identifier: BSD-3-Clause
"""The target's disks, for the tests of block devices."""

from __future__ import annotations

from pathlib import Path

import pytest

from vof.drivers.block import BlockDriver

DISK_SIZE = 8 << 20

FILE, MEMORY, LARGE_BLOCKS, READ_ONLY = (
    "conformance/file",
    "conformance/memory",
    "conformance/4k",
    "conformance/read-only",
)

WRITABLE = [FILE, LARGE_BLOCKS, MEMORY]

each_disk = pytest.mark.parametrize("tvqn", WRITABLE)
each_disk_one_over_rdma = pytest.mark.parametrize(
    "tvqn", [pytest.param(FILE, marks=pytest.mark.rdma), LARGE_BLOCKS, MEMORY]
)

DEVICES = """
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


def disks(folder: Path) -> str:
    """Return the configuration of the disks, their images made."""
    for name in ("file", "4k", "ro"):
        with (folder / f"{name}.img").open("xb") as image:
            image.truncate(DISK_SIZE)
    return DEVICES.format(folder=folder)


def read(driver: BlockDriver, offset: int, length: int) -> bytes:
    data = bytearray(b"\xdb" * length)
    request = driver.start_read(offset, memoryview(data))
    assert request is not None
    driver.finish(request)
    return bytes(data)


def write(driver: BlockDriver, offset: int, data: bytes) -> None:
    request = driver.start_write(offset, memoryview(data))
    assert request is not None
    driver.finish(request)
