# SPDX-License-Identifier: BSD-3-Clause
"""The block driver and the real target: every request, many threads, several devices, one end."""

from __future__ import annotations

import errno
import os
import random
import signal
import time

import pytest

from tests.conformance.conftest import DISK_SIZE, WRITABLE, Served, Spawn
from tests.support.loopback import Background
from tests.support.scripted_target import wait_until
from vof.drivers.block import BlockDriver
from vof.errors import DeviceError, LocalProtocolError, SessionLost
from vof.gateways.disk import Disk
from vof.initiator.session import Session
from vof.wire.blk import Feature

READ_ONLY = "conformance/read-only"


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


class TestDescription:
    def test_capacity_and_blocks(self, served: Served) -> None:
        for tvqn, block in (("conformance/file", 512), ("conformance/4k", 4096)):
            geometry = served.open(tvqn).geometry
            assert geometry.capacity == DISK_SIZE
            assert geometry.block_size == block
            assert geometry.max_transfer % block == 0

    @pytest.mark.parametrize(
        ("tvqn", "serial"),
        [
            ("conformance/file", "file-disk"),
            ("conformance/memory", "memory-disk-of-20-ch"),
            ("conformance/4k", ""),
        ],
    )
    def test_serial(self, served: Served, tvqn: str, serial: str) -> None:
        assert served.open(tvqn).get_id() == serial

    def test_queues(self, served: Served) -> None:
        assert len(served.open("conformance/file", 4).session.virtqueues) == 4
        assert len(served.open("conformance/file", 2).session.virtqueues) == 2
        assert len(served.open("conformance/4k", 4).session.virtqueues) == 2
        assert len(served.open(READ_ONLY, 4).session.virtqueues) == 1

    def test_read_only(self, served: Served) -> None:
        assert served.open(READ_ONLY).read_only
        assert not served.open("conformance/file").read_only


@pytest.mark.parametrize("tvqn", WRITABLE)
class TestRequests:
    def test_what_was_written_is_read(self, served: Served, tvqn: str) -> None:
        driver = served.open(tvqn)
        rng = random.Random(tvqn)
        largest = min(driver.geometry.max_transfer, DISK_SIZE)
        for length in (4096, 8192, 128 << 10, largest):
            data = rng.randbytes(length)
            offset = (DISK_SIZE - length) // 4096 * 4096
            write(driver, offset, data)
            assert read(driver, offset, length) == data

    def test_first_and_last_block(self, served: Served, tvqn: str) -> None:
        driver = served.open(tvqn)
        block = driver.geometry.block_size
        for offset in (0, DISK_SIZE - block):
            data = random.Random(offset).randbytes(block)
            write(driver, offset, data)
            assert read(driver, offset, block) == data

    def test_flush(self, served: Served, tvqn: str) -> None:
        driver = served.open(tvqn)
        if driver.features & Feature.FLUSH:
            driver.flush()
        else:
            with pytest.raises(LocalProtocolError):
                driver.flush()

    @pytest.mark.parametrize("unmap", [False, True])
    def test_write_zeroes(self, served: Served, tvqn: str, unmap: bool) -> None:
        driver = served.open(tvqn)
        assert driver.features & Feature.WRITE_ZEROES
        write(driver, 0, b"\xff" * 65536)
        driver.write_zeroes(8192, 16384, unmap=unmap)
        assert read(driver, 0, 65536) == b"\xff" * 8192 + bytes(16384) + b"\xff" * 40960

    def test_discard_leaves_the_rest_alone(self, served: Served, tvqn: str) -> None:
        driver = served.open(tvqn)
        assert driver.features & Feature.DISCARD
        write(driver, 0, b"\xff" * 65536)
        driver.discard(8192, 16384)
        found = read(driver, 0, 65536)
        assert found[:8192] == b"\xff" * 8192
        assert found[24576:] == b"\xff" * 40960

    def test_cache_mode(self, served: Served, tvqn: str) -> None:
        driver = served.open(tvqn)
        if not driver.features & Feature.CONFIG_WCE:
            with pytest.raises(LocalProtocolError):
                driver.set_writeback(False)
            return
        for writeback in (False, True):
            driver.set_writeback(writeback)
            write(driver, 0, bytes(4096))

    def test_what_is_not_offered_is_not_sent(self, served: Served, tvqn: str) -> None:
        driver = served.open(tvqn)
        for feature, call in (
            (Feature.LIFETIME, driver.get_lifetime),
            (Feature.SECURE_ERASE, lambda: driver.secure_erase(0, 4096)),
        ):
            if not driver.features & feature:
                with pytest.raises(LocalProtocolError):
                    call()

    def test_beyond_the_capacity_is_an_error_of_that_request(
        self, served: Served, tvqn: str
    ) -> None:
        driver = served.open(tvqn)
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


def test_a_read_only_device_refuses_what_changes_it(served: Served) -> None:
    driver = served.open(READ_ONLY)
    assert read(driver, 0, 4096) == bytes(4096)
    with pytest.raises(DeviceError):
        write(driver, 0, b"x" * 4096)
    for call in (driver.discard, driver.write_zeroes):
        with pytest.raises(LocalProtocolError):
            call(0, 4096)
    assert (served.folder / "ro.img").read_bytes() == bytes(DISK_SIZE)


class TestIntegrity:
    @pytest.mark.parametrize("tvqn", WRITABLE)
    def test_any_request_against_a_model(self, served: Served, tvqn: str) -> None:
        disk = served.disk(tvqn)
        model = bytearray(DISK_SIZE)
        rng = random.Random(f"model of {tvqn}")
        for _ in range(250):
            offset = rng.randrange(DISK_SIZE)
            length = min(rng.choice((1, 100, 4096, 70_000, 1 << 20)), DISK_SIZE - offset)
            if rng.random() < 0.5:
                offset, length = offset // 4096 * 4096, -(-length // 4096) * 4096
                length = min(length, DISK_SIZE - offset)
            place = slice(offset, offset + length)
            kind = rng.choice(("read", "write", "write", "zero", "flush"))
            if kind == "read":
                data = bytearray(length)
                disk.read(offset, memoryview(data))
                assert data == model[place]
            elif kind == "write":
                model[place] = rng.randbytes(length)
                disk.write(offset, memoryview(bytes(model[place])))
            elif kind == "zero":
                model[place] = bytes(length)
                disk.write_zeroes(offset, length, unmap=rng.random() < 0.5)
            else:
                disk.flush()
        whole = bytearray(DISK_SIZE)
        disk.read(0, memoryview(whole))
        assert whole == model

    @pytest.mark.parametrize("queues", [1, 4])
    def test_many_threads(self, served: Served, queues: int) -> None:
        """16 threads, each with a region whose borders cut through blocks."""
        disk = served.disk("conformance/file", queues)
        threads = 16
        region = DISK_SIZE // threads
        cuts = [0, *(number * region + 100 for number in range(1, threads)), DISK_SIZE]

        def work(number: int) -> bytearray:
            rng = random.Random(number)
            start, end = cuts[number], cuts[number + 1]
            model = bytearray(end - start)
            for _ in range(30):
                length = rng.choice((1, 511, 512, 4096, 10_000, 65_536))
                place = rng.randrange(len(model) - length)
                if rng.random() < 0.6:
                    data = rng.randbytes(length)
                    model[place : place + length] = data
                    disk.write(start + place, memoryview(data))
                else:
                    found = bytearray(length)
                    disk.read(start + place, memoryview(found))
                    assert found == model[place : place + length]
            return model

        workers = [Background(work, number) for number in range(threads)]
        model = b"".join(worker.result(60) for worker in workers)
        disk.flush()
        assert (served.folder / "file.img").read_bytes() == model

    def test_several_devices_at_once(self, served: Served) -> None:
        disks = {tvqn: served.disk(tvqn) for tvqn in WRITABLE}
        models = {tvqn: random.Random(tvqn).randbytes(DISK_SIZE) for tvqn in WRITABLE}

        def fill(tvqn: str) -> None:
            for place in range(0, DISK_SIZE, 1 << 18):
                disks[tvqn].write(place, memoryview(models[tvqn][place : place + (1 << 18)]))

        workers = [Background(fill, tvqn) for tvqn in WRITABLE]
        for worker in workers:
            worker.result(60)
        for tvqn in WRITABLE:
            found = bytearray(DISK_SIZE)
            disks[tvqn].read(0, memoryview(found))
            assert found == models[tvqn]

    def test_sessions_with_one_device_see_each_others_writes(self, served: Served) -> None:
        one, two = served.disk("conformance/file", 1), served.disk("conformance/file", 2)
        one.write(12345, memoryview(b"from one"))
        one.flush()
        found = bytearray(8)
        two.read(12345, memoryview(found))
        assert found == b"from one"
        one.driver.close()
        two.write(12345, memoryview(b"from two"))
        two.read(12345, memoryview(found))
        assert found == b"from two"

    def test_a_queue_filled_to_the_brim(self, served: Served) -> None:
        driver = served.open("conformance/memory", 1)
        data = random.Random("brim").randbytes(DISK_SIZE)
        write_all = Disk(driver)
        write_all.write(0, memoryview(data))
        found = bytearray(DISK_SIZE)
        requests = []
        for place in range(0, DISK_SIZE, 4096):
            view = memoryview(found)[place : place + 4096]
            request = driver.start_read(place, view, wait=False)
            if request is None:
                break
            requests.append(request)
        size = driver.session.virtqueues[0].size
        assert len(requests) == min(size // 3, DISK_SIZE // 4096)
        for request in requests:
            driver.finish(request)
        assert found[: len(requests) * 4096] == data[: len(requests) * 4096]


class TestSession:
    def test_many_one_after_the_other_leave_nothing(self, served: Served) -> None:
        for _ in range(20):
            driver = served.open("conformance/file", 2)
            read(driver, 0, 512)
            driver.close()

    def test_the_name_of_nobody(self, served: Served) -> None:
        with pytest.raises(Exception, match="has no device 'conformance/none'"):
            served.open("conformance/none")

    def test_keepalive(self, served: Served) -> None:
        with Session.open(served.parameters("conformance/file")) as session:
            session.control.keepalive()
            assert session.control.get_status() == 0


class TestEndOfTheTarget:
    @staticmethod
    def load(driver: BlockDriver, threads: int) -> tuple[list[Background[None]], list[int]]:
        """Keep a driver busy from many threads until it fails; count requests done."""
        done = [0] * threads

        def work(number: int) -> None:
            data = os.urandom(65536)
            while True:
                write(driver, number * 65536, data)
                assert read(driver, number * 65536, 65536) == data
                done[number] += 1

        workers = [Background(work, number) for number in range(threads)]
        wait_until(lambda: min(done) > 2, "requests of every thread")
        return workers, done

    @pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
    def test_under_load(self, spawn: Spawn, how: signal.Signals) -> None:
        process, parameters = spawn()
        driver = BlockDriver.open(parameters, 4)
        workers, _done = self.load(driver, 12)
        process.signal(how)
        start = time.monotonic()
        for worker in workers:
            with pytest.raises(SessionLost) as caught:
                worker.result(10)
            assert caught.value.errno == errno.ESHUTDOWN
        assert time.monotonic() - start < 8
        for _ in range(3):
            with pytest.raises(SessionLost):
                driver.flush()
        driver.close()

    def test_that_is_stopped_and_not_dead(self, spawn: Spawn) -> None:
        """A process that hangs answers nothing, and its kernel keeps the connection."""
        process, parameters = spawn()
        parameters.timeout = 0.5
        driver = BlockDriver.open(parameters, 2)
        workers, _done = self.load(driver, 4)
        process.signal(signal.SIGSTOP)
        for worker in workers:
            with pytest.raises(SessionLost, match=r"no answer to \w+ within 0\.5 s"):
                worker.result(10)
        process.signal(signal.SIGCONT)
        driver.close()

    def test_an_image_cut_short_is_an_error_of_the_device(self, served: Served) -> None:
        driver = served.open("conformance/file", 1)
        os.truncate(served.folder / "file.img", DISK_SIZE // 2)
        with pytest.raises(DeviceError) as caught:
            read(driver, DISK_SIZE - 4096, 4096)
        assert caught.value.errno == errno.EIO
        assert read(driver, 0, 4096) == bytes(4096)
