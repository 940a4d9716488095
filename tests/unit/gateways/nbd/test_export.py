# SPDX-License-Identifier: BSD-3-Clause
"""A virtio-blk as an NBD export: what a device allows, and the errno of what fails."""

from __future__ import annotations

import errno
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest

from tests.unit.gateways.memory_driver import MemoryDriver
from vof.errors import (
    CompletionError,
    ConfigError,
    ConnectError,
    DeviceError,
    LocalProtocolError,
    RemoteProtocolError,
    SessionLost,
)
from vof.gateways.nbd.export import LARGEST_SIZE, MAX_NBD_BLOCK, Export, nbd_errno
from vof.wire.blk import Feature


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (SessionLost("gone"), errno.ESHUTDOWN),
        (SessionLost("gone", errno=errno.ECONNRESET), errno.ESHUTDOWN),
        (RemoteProtocolError("broken"), errno.ESHUTDOWN),
        (DeviceError("failed", 1), errno.EIO),
        (DeviceError("not known", 2, errno=errno.ENOTSUP), errno.EIO),
        (CompletionError("vring", 7, errno=errno.EINVAL), errno.EIO),
        (CompletionError("vring", 7, errno=errno.ENOSPC), errno.EIO),
        (CompletionError("vring", 7, errno=errno.ENODEV), errno.EIO),
        (CompletionError("vring", 7, errno=errno.EPROTO), errno.EIO),
        (CompletionError("vring", 4096), errno.EIO),
        (LocalProtocolError("beyond", errno=errno.ENOSPC), errno.ENOSPC),
        (LocalProtocolError("beyond"), errno.EINVAL),
        (ConnectError("refused"), errno.EIO),
        (ConfigError("wrong"), errno.EINVAL),
        (OSError(errno.ENOSPC, "of no VofError's"), errno.EIO),
        (AssertionError(), errno.EIO),
        (KeyboardInterrupt(), errno.EIO),
        (MemoryError(), errno.EIO),
    ],
    ids=repr,
)
def test_errno_map(error: BaseException, number: int) -> None:
    assert nbd_errno(error) == number


class TestExport:
    @pytest.fixture
    def errnos(self) -> list[int]:
        return []

    @pytest.fixture
    def driver(self) -> MemoryDriver:
        return MemoryDriver(16)

    @pytest.fixture
    def export(self, driver: MemoryDriver, errnos: list[int]) -> Export:
        return Export(driver.disk, errnos.append)

    def test_size(self, export: Export) -> None:
        assert export.size() == 16 * 512
        assert Export(export.disk, lambda _errno: None, growing=True).size() == LARGEST_SIZE

    @pytest.mark.parametrize(
        ("block", "physical", "transfer", "sizes"),
        [
            (512, 512, 1 << 20, (4096, 1 << 20)),
            (4096, 4096, 1 << 20, (4096, 1 << 20)),
            (512, 65536, 1 << 20, (65536, 1 << 20)),
            (65536, 65536, 65536, (65536, 65536)),
            (512, 512, 512, (4096, 4096)),
            (512, 4096, 10_000, (4096, 8192)),
            (512, 1 << 30, 1 << 20, (MAX_NBD_BLOCK, MAX_NBD_BLOCK)),
            (512, 512, 1 << 30, (4096, MAX_NBD_BLOCK)),
        ],
    )
    def test_block_size(
        self, driver: MemoryDriver, block: int, physical: int, transfer: int,
        sizes: tuple[int, int],
    ) -> None:  # fmt: skip
        geometry = driver.geometry.__dict__ | {
            "block_size": block,
            "physical_block_size": physical,
            "max_transfer": transfer,
        }
        driver.geometry = type(driver.geometry)(**geometry)
        minimum, preferred, maximum = Export(driver.disk, print).block_size()
        assert (preferred, maximum) == sizes
        # what nbdkit demands: powers of two, each a multiple of the one before
        assert minimum <= 65536
        assert minimum & (minimum - 1) == 0
        assert preferred & (preferred - 1) == 0
        assert 512 <= preferred <= 32 << 20
        assert maximum % preferred == 0

    @pytest.mark.parametrize(
        ("feature", "flag"),
        [
            (Feature.FLUSH, Export.has_write_cache),
            (Feature.DISCARD, Export.can_trim),
            (Feature.WRITE_ZEROES, Export.can_zero),
        ],
    )
    def test_what_a_feature_allows(
        self, driver: MemoryDriver, export: Export, feature: Feature, flag: Callable[[Export], bool]
    ) -> None:
        assert flag(export)
        driver.features &= ~feature
        assert not flag(export)

    @pytest.mark.parametrize(
        ("limit", "flag"),
        [("max_discard", Export.can_trim), ("max_write_zeroes", Export.can_zero)],
    )
    def test_a_limit_of_0_allows_none(
        self, driver: MemoryDriver, limit: str, flag: Callable[[Export], bool]
    ) -> None:
        driver.geometry = type(driver.geometry)(**(driver.geometry.__dict__ | {limit: 0}))
        assert not flag(Export(driver.disk, print))

    @pytest.mark.parametrize(("transport", "why"), [("rdma", "over RDMA"), ("tcp", "in Python is")])
    def test_nothing_to_lend(
        self, driver: MemoryDriver, export: Export, transport: str, why: str
    ) -> None:
        parameters = SimpleNamespace(transport=transport)
        driver.session = SimpleNamespace(parameters=parameters)  # type: ignore[attr-defined]
        assert why in export.lend()

    def test_can_write(self, driver: MemoryDriver, export: Export) -> None:
        assert export.can_write()
        driver.read_only = True
        assert not export.can_write()

    def test_requests(self, driver: MemoryDriver, export: Export, errnos: list[int]) -> None:
        export.pwrite(memoryview(b"abc"), 1000)
        data = bytearray(5)
        export.pread(memoryview(data), 999)
        assert data == b"\0abc\0"
        export.zero(2, 1000, may_trim=True)
        export.zero(1024, 1024, may_trim=True)
        export.zero(1024, 1024, may_trim=False)
        assert driver.unmapped == [True, False]
        export.trim(1024, 512)
        export.flush()
        assert driver.calls[-2:] == [("discard", 512, 1024), ("flush", 0, 0)]
        assert driver.content[998:1005] == b"\0\0\0\0c\0\0"
        assert errnos == []

    def test_an_error_sets_the_errno_and_goes_on_up(
        self, driver: MemoryDriver, export: Export, errnos: list[int]
    ) -> None:
        driver.failing = {0}
        with pytest.raises(DeviceError):
            export.pread(memoryview(bytearray(512)), 0)
        with pytest.raises(LocalProtocolError):
            export.pwrite(memoryview(bytes(512)), 1 << 40)
        with pytest.raises(LocalProtocolError):
            export.trim(512, 1 << 40)
        driver.before = lambda _request: cast(None, 1 // 0)
        with pytest.raises(ZeroDivisionError):
            export.pwrite(memoryview(bytes(512)), 512)
        assert errnos == [errno.EIO, errno.ENOSPC, errno.EINVAL, errno.EIO]

    def test_zeroes_the_device_does_not_know_are_left_to_nbdkit(
        self, driver: MemoryDriver, export: Export, errnos: list[int]
    ) -> None:
        def refuse(offset: int, length: int, *, unmap: bool) -> None:
            assert (offset, length, unmap) == (0, 512, False)
            raise DeviceError("not known", 2, errno=errno.ENOTSUP)

        driver.write_zeroes = refuse  # type: ignore[method-assign]
        with pytest.raises(DeviceError):
            export.zero(512, 0, may_trim=False)
        with pytest.raises(LocalProtocolError):
            export.zero(512, 1 << 40, may_trim=False)
        assert errnos == [errno.ENOTSUP, errno.ENOSPC]
