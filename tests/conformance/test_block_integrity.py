# SPDX-License-Identifier: BSD-3-Clause
"""Disks keep what is written to them: many requests, threads, devices and sessions at once."""

from __future__ import annotations

import random

import pytest

from tests.conformance.conftest import Served
from tests.conformance.disks import (
    DISK_SIZE,
    FILE,
    MEMORY,
    WRITABLE,
    disks,
    each_disk_one_over_rdma,
)
from tests.support.loopback import Background
from vof.gateways.disk import Disk
from vof.wire.dialect import V5

devices = disks


class TestIntegrity:
    @each_disk_one_over_rdma
    def test_any_request_against_a_model(self, served: Served, tvqn: str) -> None:
        disk = served.disk(tvqn)
        model = bytearray(DISK_SIZE)
        rng = random.Random(f"model of {tvqn}")
        for _ in range(served.way.rounds(250)):
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

    @pytest.mark.parametrize("queues", [1, pytest.param(4, marks=pytest.mark.rdma)])
    @pytest.mark.rdma_once
    def test_many_threads(self, served: Served, queues: int) -> None:
        """16 threads, each with a region whose borders cut through blocks."""
        disk = served.disk(FILE, queues)
        threads = 16
        region = DISK_SIZE // threads
        cuts = [0, *(number * region + 100 for number in range(1, threads)), DISK_SIZE]

        def work(number: int) -> bytearray:
            rng = random.Random(number)
            start, end = cuts[number], cuts[number + 1]
            model = bytearray(end - start)
            for _ in range(served.way.rounds(30)):
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
        one, two = served.disk(FILE, 1), served.disk(FILE, 2)
        one.write(12345, memoryview(b"from one"))
        one.flush()
        found = bytearray(8)
        two.read(12345, memoryview(found))
        assert found == b"from one"
        one.driver.close()
        two.write(12345, memoryview(b"from two"))
        two.read(12345, memoryview(found))
        assert found == b"from two"

    @pytest.mark.rdma
    def test_a_queue_filled_to_the_brim(self, served: Served) -> None:
        driver = served.block(MEMORY, 1)
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
        # A size counts descriptors, of which each has three; in v5 commands.
        room = size if served.way.dialect == V5.name else size // 3
        assert len(requests) == min(room, DISK_SIZE // 4096)
        for request in requests:
            driver.finish(request)
        assert found[: len(requests) * 4096] == data[: len(requests) * 4096]
