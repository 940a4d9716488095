# SPDX-License-Identifier: BSD-3-Clause
"""The target ends, hangs, or loses its image, under load."""

from __future__ import annotations

import errno
import os
import signal
import time

import pytest

from tests.conformance.conftest import Served, Spawn
from tests.conformance.disks import DISK_SIZE, FILE, disks, read, write
from tests.support.loopback import Background
from tests.support.scripted_target import wait_until
from vof.drivers.block import BlockDriver
from vof.errors import DeviceError, SessionLost

devices = disks


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


@pytest.mark.one_dialect
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_under_load(spawn: Spawn, how: signal.Signals) -> None:
    process, parameters = spawn(FILE)
    driver = BlockDriver.open(parameters, 4)
    workers, _done = load(driver, 12)
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


@pytest.mark.one_dialect
def test_that_is_stopped_and_not_dead(spawn: Spawn) -> None:
    """A process that hangs answers nothing, and its kernel keeps the connection."""
    process, parameters = spawn(FILE)
    parameters.timeout = 0.5
    driver = BlockDriver.open(parameters, 2)
    workers, _done = load(driver, 4)
    process.signal(signal.SIGSTOP)
    for worker in workers:
        with pytest.raises(SessionLost, match=r"no answer to \w+ within 0\.5 s"):
            worker.result(10)
    process.signal(signal.SIGCONT)
    driver.close()


@pytest.mark.one_dialect
def test_an_image_cut_short_is_an_error_of_the_device(served: Served) -> None:
    driver = served.block(FILE, 1)
    os.truncate(served.folder / "file.img", DISK_SIZE // 2)
    with pytest.raises(DeviceError) as caught:
        read(driver, DISK_SIZE - 4096, 4096)
    assert caught.value.errno == errno.EIO
    assert read(driver, 0, 4096) == bytes(4096)
