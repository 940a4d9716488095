# SPDX-License-Identifier: BSD-3-Clause
"""A disk under fallocate(2), without a kernel."""

from __future__ import annotations

import errno

import pytest
import trio

from tests.unit.gateways.memory_driver import MemoryDriver
from vof.errors import VofError
from vof.gateways.fuse.block import DiskFile
from vof.gateways.fuse.errnos import fuse_errno
from vof.gateways.fuse.nodes import Opening
from vof.wire.blk import Feature

KEEP_SIZE, PUNCH_HOLE, COLLAPSE, ZERO, INSERT, UNSHARE = 0x01, 0x02, 0x08, 0x10, 0x20, 0x40

BLOCKS = 8
SIZE = BLOCKS * 512


def allocate(
    driver: MemoryDriver, mode: int, offset: int, length: int, *, synchronous: bool = False
) -> int:
    """Return the errno that the caller gets, or 0."""

    async def main() -> int:
        opening = Opening(read=True, write=True, synchronous=synchronous)
        handle = await DiskFile(driver.disk).open(opening)
        try:
            await handle.allocate(mode, offset, length)
        except (OSError, VofError) as error:
            return fuse_errno(error)
        return 0

    return trio.run(main)


@pytest.fixture
def driver() -> MemoryDriver:
    driver = MemoryDriver(BLOCKS)
    driver.content[:] = b"x" * SIZE
    return driver


@pytest.mark.parametrize(
    ("mode", "unmap"),
    [(PUNCH_HOLE | KEEP_SIZE, True), (ZERO | KEEP_SIZE, False), (ZERO, False)],
)
@pytest.mark.parametrize(("offset", "length"), [(0, SIZE), (512, 1024), (100, 1000), (1, 2)])
def test_a_range_reads_as_zeroes(
    driver: MemoryDriver, mode: int, unmap: bool, offset: int, length: int
) -> None:
    """Whole blocks by the device's own request, which for a hole may deallocate them."""
    model = bytearray(driver.content)
    model[offset : offset + length] = bytes(length)
    assert allocate(driver, mode, offset, length) == 0
    assert driver.content == model
    assert set(driver.unmapped) <= {unmap}
    assert bool(driver.unmapped) == (length >= 1000)
    assert not any(kind == "discard" for kind, _offset, _length in driver.calls)


def test_beyond_the_end(driver: MemoryDriver) -> None:
    """What would extend the file is refused; a hole ends with the device, as in any file."""
    assert allocate(driver, ZERO, SIZE - 512, 1024) == errno.EINVAL
    assert driver.calls == []
    assert allocate(driver, PUNCH_HOLE | KEEP_SIZE, SIZE - 512, 1 << 40) == 0
    assert driver.content == b"x" * (SIZE - 512) + bytes(512)
    driver.calls.clear()
    assert allocate(driver, PUNCH_HOLE | KEEP_SIZE, SIZE + 512, 512) == 0
    assert driver.calls == []


@pytest.mark.parametrize(
    "mode", [0, KEEP_SIZE, COLLAPSE, INSERT, UNSHARE | KEEP_SIZE, PUNCH_HOLE | ZERO | KEEP_SIZE]
)
def test_other_modes(driver: MemoryDriver, mode: int) -> None:
    assert allocate(driver, mode, 0, 512) == errno.EOPNOTSUPP
    assert driver.calls == []


@pytest.mark.parametrize("mode", [PUNCH_HOLE | KEEP_SIZE, ZERO])
def test_a_device_that_cannot(driver: MemoryDriver, mode: int) -> None:
    """DISCARD alone would do for neither: what is read afterwards is anyone's guess."""
    driver.features = Feature.FLUSH | Feature.DISCARD
    assert allocate(driver, mode, 0, SIZE) == errno.EOPNOTSUPP
    assert driver.calls == []


def test_a_failure_is_told(driver: MemoryDriver) -> None:
    driver.failing.add(512)
    assert allocate(driver, ZERO, 600, 100) == errno.EIO


def test_synchronous(driver: MemoryDriver) -> None:
    assert allocate(driver, ZERO, 0, 512, synchronous=True) == 0
    assert driver.calls[-1][0] == "flush"
