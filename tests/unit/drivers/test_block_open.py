# SPDX-License-Identifier: BSD-3-Clause
"""What the block driver makes of what a device says of itself."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from tests.support.protocol_numbers import (
    EVERYTHING,
    F_BLK_SIZE,
    F_CONFIG_WCE,
    F_DISCARD,
    F_FLUSH,
    F_MQ,
    F_RO,
    F_SECURE_ERASE,
    F_SEG_MAX,
    F_SIZE_MAX,
    F_TOPOLOGY,
    F_VERSION_1,
    F_WRITE_ZEROES,
    GET_CONFIG,
    SET_CONFIG,
    SET_DRIVER_FEATURE,
)
from tests.support.scripted_target import on
from tests.support.sessions import parameters_for
from tests.support.target_fixtures import Serve
from tests.unit.drivers.opening import device, open_driver
from vof.drivers.block import BlockDriver
from vof.drivers.block_geometry import Geometry
from vof.errors import ConfigError, LocalProtocolError, RemoteProtocolError, VofError
from vof.initiator.session import State


def geometry_of(serve: Serve, features: int = EVERYTHING, **config: Any) -> Geometry:
    driver = open_driver(serve(device(features, **config)))
    driver.close()
    return driver.geometry


def refusal_of(serve: Serve, features: int = EVERYTHING, **config: Any) -> VofError:
    target = serve(device(features, **config))
    with pytest.raises(VofError) as caught:
        open_driver(target)
    return caught.value


def test_geometry(serve: Serve) -> None:
    assert geometry_of(serve, blk_size=4096, capacity=1000) == Geometry(
        capacity=512000,
        block_size=4096,
        physical_block_size=32768,
        optimal_io_size=1 << 20,
        size_max=65536,
        max_transfer=30 * 65536,
        max_discard=1024 * 512,
        max_write_zeroes=512 * 512,
        max_secure_erase=256 * 512,
        write_zeroes_may_unmap=True,
    )


def test_geometry_of_a_device_that_says_nothing(serve: Serve) -> None:
    """Config fields without their feature are not to be believed."""
    assert geometry_of(serve, F_VERSION_1) == Geometry(
        capacity=2048 * 512,
        block_size=512,
        physical_block_size=512,
        optimal_io_size=0,
        size_max=32 << 20,
        max_transfer=32 << 20,
        max_discard=0,
        max_write_zeroes=0,
        max_secure_erase=0,
        write_zeroes_may_unmap=False,
    )


def test_only_valid_fields_are_read_each_at_its_width(serve: Serve) -> None:
    """The reference target answers widths of 1, 2, 4 and 8 alone, and the Linux initiator's."""
    target = serve(device(F_SEG_MAX | F_MQ | F_TOPOLOGY | F_VERSION_1))
    BlockDriver.open(parameters_for(target), 1).close()
    reads = {
        struct.unpack_from("<HB", command.raw, 4)
        for command in target.commands
        if command.opcode == GET_CONFIG
    }
    assert reads == {(0, 8), (12, 4), (34, 2), (24, 1), (25, 1), (26, 2), (28, 4)}


def test_what_is_negotiated_is_what_is_wanted_of_what_is_offered(serve: Serve) -> None:
    """Never INDIRECT_DESC, EVENT_IDX, ACCESS_PLATFORM, or bits that nobody has named."""
    target = serve(device((1 << 64) - 1, about={"status": 0}))
    BlockDriver.open(parameters_for(target), 1).close()
    [command] = [each for each in target.commands if each.opcode == SET_DRIVER_FEATURE]
    assert struct.unpack_from("<Q", command.raw, 8) == (EVERYTHING | F_RO,)


@pytest.mark.parametrize(("features", "read_only"), [(EVERYTHING, False), (F_RO, True)])
def test_read_only(serve: Serve, features: int, read_only: bool) -> None:
    driver = open_driver(serve(device(features)))
    assert driver.read_only is read_only
    driver.close()


class TestCapacity:
    @pytest.mark.parametrize("sectors", [0, 1, 2**32 + 1, 2**54 - 1])
    def test_usable(self, serve: Serve, sectors: int) -> None:
        assert geometry_of(serve, capacity=sectors).capacity == sectors * 512

    @pytest.mark.parametrize("sectors", [2**54, 2**63, 2**64 - 1])
    def test_impossible(self, serve: Serve, sectors: int) -> None:
        error = refusal_of(serve, capacity=sectors)
        assert isinstance(error, RemoteProtocolError)
        assert f"the device's config is impossible: capacity of {sectors} sectors" in str(error)


@pytest.mark.parametrize(
    ("features", "config", "text"),
    [
        (F_BLK_SIZE, {"blk_size": 0}, "blk_size 0"),
        (F_BLK_SIZE, {"blk_size": 3}, "blk_size 3"),
        (F_BLK_SIZE, {"blk_size": 256}, "blk_size 256"),
        (F_BLK_SIZE, {"blk_size": 513}, "blk_size 513"),
        (F_BLK_SIZE, {"blk_size": 1 << 20}, "blk_size 1048576"),
        (F_BLK_SIZE, {"blk_size": 0xFFFFFFFF}, "blk_size 4294967295"),
        (F_SIZE_MAX, {"size_max": 0}, "size_max 0"),
        (F_SIZE_MAX, {"size_max": 511}, "size_max 511"),
        (F_SEG_MAX, {"seg_max": 0}, "seg_max 0"),
        (
            F_SIZE_MAX | F_BLK_SIZE,
            {"size_max": 1024, "blk_size": 4096},
            "size_max 1024 with blk_size 4096",
        ),
        (0, {"about": {"max_segs": 2}}, "max_segs 2 with a virtqueue of 128"),
        (0, {"about": {"queue_size": 2}}, "max_segs 128 with a virtqueue of 2"),
    ],
)
def test_impossible_config(serve: Serve, features: int, config: dict[str, Any], text: str) -> None:
    error = refusal_of(serve, features, **config)
    assert isinstance(error, RemoteProtocolError)
    assert str(error).endswith(f"the device's config is impossible: {text}")


class TestLimits:
    @pytest.mark.parametrize("field", ["discard", "write_zeroes", "secure_erase"])
    @pytest.mark.parametrize(
        ("sectors", "segments", "size"),
        [(0, 1, 0), (8, 0, 0), (7, 1, 0), (15, 1, 4096), (2**32 - 1, 5, (2**32 - 8) * 512)],
    )
    def test_of_range_requests(
        self, serve: Serve, field: str, sectors: int, segments: int, size: int
    ) -> None:
        config = {field: (sectors, segments, 0), "blk_size": 4096}
        features = F_DISCARD | F_WRITE_ZEROES | F_SECURE_ERASE | F_BLK_SIZE
        assert getattr(geometry_of(serve, features, **config), f"max_{field}") == size

    @pytest.mark.parametrize(
        ("exponent", "size"), [(0, 512), (3, 4096), (15, 1 << 24), (16, 512), (255, 512)]
    )
    def test_of_the_physical_block(self, serve: Serve, exponent: int, size: int) -> None:
        assert geometry_of(serve, physical_exp=exponent).physical_block_size == size


class TestQueues:
    @pytest.mark.parametrize(
        ("about", "asked", "opened"),
        [
            ({"num_queues": 4}, 2, 2),
            ({"num_queues": 4}, 9, 4),
            ({"num_queues": 2}, 9, 2),
            ({"num_queues": 9}, 9, 4),
            ({"num_queues": 4, "features": EVERYTHING & ~F_MQ}, 9, 1),
        ],
        ids=["asked", "both", "transport", "config", "without MQ"],
    )
    def test_number(self, serve: Serve, about: dict[str, int], asked: int, opened: int) -> None:
        target = serve(device(about=about))
        driver = open_driver(target, asked)
        assert len(driver.session.virtqueues) == opened
        assert len(target.connections) == 1 + opened
        driver.close()

    @pytest.mark.parametrize(
        "config", [{"about": {"num_queues": 0}}, {"num_queues": 0}], ids=["transport", "config"]
    )
    def test_none(self, serve: Serve, config: dict[str, Any]) -> None:
        error = refusal_of(serve, **config)
        assert "the device has no virtqueue" in str(error)


@pytest.mark.parametrize(
    ("device_id", "text"),
    [(4, "is a virtio-rng, not a virtio-blk"), (99, "is of virtio device type 99, not a")],
)
def test_another_type_of_device(serve: Serve, device_id: int, text: str) -> None:
    error = refusal_of(serve, about={"device_id": device_id})
    assert isinstance(error, ConfigError)
    assert text in str(error)


def test_a_ready_driver(serve: Serve) -> None:
    target = serve(device())
    driver = open_driver(target)
    assert target.device.status == 0xF
    states = [driver.session.state]
    driver.close()
    driver.close()
    assert [*states, driver.session.state] == [State.READY, State.CLOSED]


class TestWriteCache:
    """CONFIG_WCE is not to be offered without FLUSH (virtio 1.2 §5.2.5.2)."""

    def test_what_cannot_be_flushed_is_turned_off(self, serve: Serve) -> None:
        target = serve(device(F_CONFIG_WCE, writeback=1))
        driver = open_driver(target)
        assert target.device.config[32] == 0
        with pytest.raises(LocalProtocolError, match="does not offer FLUSH"):
            driver.set_writeback(True)
        driver.close()

    @pytest.mark.parametrize(("features", "mode"), [(F_CONFIG_WCE | F_FLUSH, 1), (F_CONFIG_WCE, 0)])
    def test_what_is_good_stays_as_it_is(self, serve: Serve, features: int, mode: int) -> None:
        target = serve(device(features, writeback=mode))
        BlockDriver.open(parameters_for(target)).close()
        assert SET_CONFIG not in target.opcodes()

    @pytest.mark.parametrize("status", [0, 22])
    def test_what_stays_on_is_refused(self, serve: Serve, status: int) -> None:
        keep = on(SET_CONFIG, lambda command: command.reply(status=status))
        target = serve(device(F_CONFIG_WCE, writeback=1), keep)
        with pytest.raises(RemoteProtocolError, match="write cache that cannot be turned off"):
            open_driver(target)
