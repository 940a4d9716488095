# SPDX-License-Identifier: BSD-3-Clause
"""The block driver and the real target: what a device says of itself, and every request."""

from __future__ import annotations

import errno
import random

import pytest

from tests.conformance.conftest import Served
from tests.conformance.disks import (
    DISK_SIZE,
    FILE,
    LARGE_BLOCKS,
    MEMORY,
    READ_ONLY,
    disks,
    each_disk,
    each_disk_one_over_rdma,
    read,
    write,
)
from vof.errors import ConnectError, DeviceError, LocalProtocolError
from vof.wire.blk import Feature

devices = disks


@pytest.mark.one_dialect
class TestDescription:
    def test_capacity_and_blocks(self, served: Served) -> None:
        for tvqn, block in ((FILE, 512), (LARGE_BLOCKS, 4096)):
            geometry = served.block(tvqn).geometry
            assert geometry.capacity == DISK_SIZE
            assert geometry.block_size == block
            assert geometry.max_transfer % block == 0

    @pytest.mark.parametrize(
        ("tvqn", "serial"),
        [(FILE, "file-disk"), (MEMORY, "memory-disk-of-20-ch"), (LARGE_BLOCKS, "")],
    )
    def test_serial(self, served: Served, tvqn: str, serial: str) -> None:
        assert served.block(tvqn).get_id() == serial

    def test_queues(self, served: Served) -> None:
        assert len(served.block(FILE, 4).session.virtqueues) == 4
        assert len(served.block(FILE, 2).session.virtqueues) == 2
        assert len(served.block(LARGE_BLOCKS, 4).session.virtqueues) == 2
        assert len(served.block(READ_ONLY, 4).session.virtqueues) == 1

    def test_read_only(self, served: Served) -> None:
        assert served.block(READ_ONLY).read_only
        assert not served.block(FILE).read_only


class TestRequests:
    @each_disk_one_over_rdma
    def test_what_was_written_is_read(self, served: Served, tvqn: str) -> None:
        driver = served.block(tvqn)
        rng = random.Random(tvqn)
        largest = min(driver.geometry.max_transfer, DISK_SIZE)
        for length in (4096, 8192, 128 << 10, largest):
            data = rng.randbytes(length)
            offset = (DISK_SIZE - length) // 4096 * 4096
            write(driver, offset, data)
            assert read(driver, offset, length) == data

    @each_disk
    def test_first_and_last_block(self, served: Served, tvqn: str) -> None:
        driver = served.block(tvqn)
        block = driver.geometry.block_size
        for offset in (0, DISK_SIZE - block):
            data = random.Random(offset).randbytes(block)
            write(driver, offset, data)
            assert read(driver, offset, block) == data

    @each_disk
    def test_flush(self, served: Served, tvqn: str) -> None:
        driver = served.block(tvqn)
        if driver.features & Feature.FLUSH:
            driver.flush()
        else:
            with pytest.raises(LocalProtocolError):
                driver.flush()

    @each_disk
    @pytest.mark.parametrize("unmap", [False, True])
    def test_write_zeroes(self, served: Served, tvqn: str, unmap: bool) -> None:
        driver = served.block(tvqn)
        assert driver.features & Feature.WRITE_ZEROES
        write(driver, 0, b"\xff" * 65536)
        driver.write_zeroes(8192, 16384, unmap=unmap)
        assert read(driver, 0, 65536) == b"\xff" * 8192 + bytes(16384) + b"\xff" * 40960

    @each_disk
    def test_discard_leaves_the_rest_alone(self, served: Served, tvqn: str) -> None:
        driver = served.block(tvqn)
        assert driver.features & Feature.DISCARD
        write(driver, 0, b"\xff" * 65536)
        driver.discard(8192, 16384)
        found = read(driver, 0, 65536)
        assert found[:8192] == b"\xff" * 8192
        assert found[24576:] == b"\xff" * 40960

    @each_disk
    def test_cache_mode(self, served: Served, tvqn: str) -> None:
        driver = served.block(tvqn)
        if not driver.features & Feature.CONFIG_WCE:
            with pytest.raises(LocalProtocolError):
                driver.set_writeback(False)
            return
        for writeback in (False, True):
            driver.set_writeback(writeback)
            write(driver, 0, bytes(4096))

    @each_disk
    def test_what_is_not_offered_is_not_sent(self, served: Served, tvqn: str) -> None:
        driver = served.block(tvqn)
        for feature, call in (
            (Feature.LIFETIME, driver.get_lifetime),
            (Feature.SECURE_ERASE, lambda: driver.secure_erase(0, 4096)),
        ):
            if not driver.features & feature:
                with pytest.raises(LocalProtocolError):
                    call()

    @each_disk_one_over_rdma
    @pytest.mark.rdma_once
    def test_beyond_the_capacity_is_an_error_of_that_request(
        self, served: Served, tvqn: str
    ) -> None:
        driver = served.block(tvqn)
        block = driver.geometry.block_size
        for offset, length in (
            (DISK_SIZE, block),
            (DISK_SIZE - block, 2 * block),
            (1 << 60, block),
        ):
            with pytest.raises(DeviceError) as caught:
                read(driver, offset, length)
            assert caught.value.errno == errno.EIO
            with pytest.raises(DeviceError):
                write(driver, offset, bytes(length))
            with pytest.raises(DeviceError):
                driver.discard(offset, length)
            with pytest.raises(DeviceError):
                driver.write_zeroes(offset, length)
        assert read(driver, DISK_SIZE - block, block) == bytes(block)


@pytest.mark.rdma
@pytest.mark.rdma_once
def test_a_read_only_device_refuses_what_changes_it(served: Served) -> None:
    driver = served.block(READ_ONLY)
    assert read(driver, 0, 4096) == bytes(4096)
    with pytest.raises(DeviceError):
        write(driver, 0, b"x" * 4096)
    for call in (driver.discard, driver.write_zeroes):
        with pytest.raises(LocalProtocolError):
            call(0, 4096)
    assert (served.folder / "ro.img").read_bytes() == bytes(DISK_SIZE)


class TestSession:
    @pytest.mark.rdma
    @pytest.mark.rdma_once
    def test_many_one_after_the_other_leave_nothing(self, served: Served) -> None:
        for _ in range(served.way.rounds(20)):
            driver = served.block(FILE, 2)
            read(driver, 0, 512)
            driver.close()

    def test_the_name_of_nobody(self, served: Served) -> None:
        with pytest.raises(ConnectError, match="has no device 'conformance/none'"):
            served.block("conformance/none")

    def test_keepalive(self, served: Served) -> None:
        session = served.session(FILE)
        session.control.keepalive()
        assert session.control.get_status() == 0

    def test_the_dialect_is_the_one_that_was_asked_for(self, served: Served) -> None:
        assert served.session(FILE).dialect == served.way.dialect
