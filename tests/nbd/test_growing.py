# SPDX-License-Identifier: BSD-3-Clause
"""growing=yes: a disk that grows while an NBD connection to it is open."""

from __future__ import annotations

import os
from collections.abc import Callable

import nbd
import pytest

from tests.nbd.conftest import DISK, DISK_SIZE, Served
from tests.support.scripted_target import wait_until

pytestmark = pytest.mark.nbdkit

MIB = 1 << 20


def test_what_the_disk_has_is_carried(own_target: Served) -> None:
    with own_target.nbdkit(DISK, "growing=yes") as nbdkit, nbdkit.client() as client:
        assert client.get_size() == 1 << 62
        calls: tuple[Callable[[], object], ...] = (
            lambda: client.pread(512, DISK_SIZE),
            lambda: client.pwrite(bytes(512), DISK_SIZE),
            lambda: client.pread(512, (1 << 62) - 512),
            lambda: client.trim(512, DISK_SIZE),
            lambda: client.zero(512, DISK_SIZE - 256),
        )
        for call in calls:
            with pytest.raises(nbd.Error):
                call()
        client.pwrite(b"x" * 512, DISK_SIZE - 512)
        os.truncate(own_target.folder / "disk.img", DISK_SIZE + MIB)
        wait_until(lambda: "event=resized" in nbdkit.log, "the new size")
        assert "clients see it" not in nbdkit.log  # this one does
        client.pwrite(b"y" * MIB, DISK_SIZE)
        assert client.pread(1024, DISK_SIZE - 512) == b"x" * 512 + b"y" * 512
        with pytest.raises(nbd.Error):
            client.pread(512, DISK_SIZE + MIB)
