# SPDX-License-Identifier: BSD-3-Clause
"""What the crypto driver makes of what a device says of itself."""

from __future__ import annotations

import errno
import struct
from typing import Any

import pytest

from tests.support.protocol_numbers import F_VERSION_1, GET_CONFIG, SET_DRIVER_FEATURE, VENDOR_VTGT
from tests.support.sessions import parameters_for
from tests.support.target_fixtures import Serve
from tests.unit.drivers.crypto_device import (
    F_REVISION_1,
    F_STATELESS,
    device,
    open_driver,
)
from vof.drivers.crypto import MAX_SIZE, CryptoDriver
from vof.errors import ConfigError, ConnectError, RemoteProtocolError
from vof.initiator.session import State
from vof.wire.crypto import (
    AeadAlgorithm,
    CipherAlgorithm,
    Feature,
    HashAlgorithm,
    Service,
)


def test_a_ready_driver(serve: Serve) -> None:
    target = serve(device())
    driver = open_driver(target)
    assert target.device.status == 0xF
    assert driver.config.algorithms(Service.CIPHER) == {
        CipherAlgorithm.AES_CBC,
        CipherAlgorithm.AES_CTR,
    }
    assert driver.config.algorithms(Service.HASH) == {HashAlgorithm.SHA_256}
    assert driver.config.algorithms(Service.AEAD) == {AeadAlgorithm.GCM}
    assert driver.max_size == 4096
    states = [driver.session.state]
    driver.close()
    driver.close()
    assert [*states, driver.session.state] == [State.READY, State.CLOSED]


def test_every_field_is_read_at_its_width(serve: Serve) -> None:
    target = serve(device())
    CryptoDriver.open(parameters_for(target)).close()
    reads = {
        struct.unpack_from("<HB", command.raw, 4)
        for command in target.commands
        if command.opcode == GET_CONFIG
    }
    assert reads == {(place, 4) for place in range(0, 48, 4)} | {(48, 8)}


def test_what_is_negotiated_is_what_is_wanted_of_what_is_offered(serve: Serve) -> None:
    target = serve(device((1 << 64) - 1))
    CryptoDriver.open(parameters_for(target)).close()
    [command] = [each for each in target.commands if each.opcode == SET_DRIVER_FEATURE]
    assert struct.unpack_from("<Q", command.raw, 8) == (F_REVISION_1 | F_STATELESS | F_VERSION_1,)


@pytest.mark.parametrize(
    ("features", "services"),
    [
        (0, []),
        (F_REVISION_1, []),
        (F_STATELESS, []),
        (F_REVISION_1 | F_STATELESS, list(Service)),
        (F_REVISION_1 | 1 << 3, [Service.MAC]),
    ],
)
def test_stateless_mode(serve: Serve, features: int, services: list[Service]) -> None:
    """Each of its bits needs REVISION_1 (5.9.3.1)."""
    driver = open_driver(serve(device(features)))
    assert [service for service in Service if driver.stateless(service)] == services
    assert driver.features == Feature(features)
    driver.close()


class TestQueues:
    @pytest.mark.parametrize(
        ("there", "asked", "opened"),
        [(1, 4, [0, 1]), (3, 2, [0, 1, 3]), (3, 9, [0, 1, 2, 3]), (64, 1, [0, 64])],
    )
    def test_the_control_queue_is_the_last(
        self, serve: Serve, there: int, asked: int, opened: list[int]
    ) -> None:
        target = serve(device(about={"num_queues": there + 1}, max_dataqueues=there))
        driver = open_driver(target, asked)
        assert [each.queue for each in target.connections] == [-1, *opened]
        driver.close()

    @pytest.mark.parametrize(
        ("num_queues", "max_dataqueues"), [(0, 1), (1, 0), (1, 1), (2, 2), (3, 1), (2, 0xFFFFFFFF)]
    )
    def test_impossible(self, serve: Serve, num_queues: int, max_dataqueues: int) -> None:
        target = serve(device(about={"num_queues": num_queues}, max_dataqueues=max_dataqueues))
        with pytest.raises(RemoteProtocolError, match="config is impossible: max_dataqueues"):
            open_driver(target)

    @pytest.mark.parametrize(
        ("size", "vendor", "depth", "control_depth"),
        [
            (128, 1, 2 * (128 // 7), 128 // 7),
            (13, 1, 2, 1),
            (3, 1, 2, 1),
            (1024, VENDOR_VTGT, 2, 1),
        ],
    )
    def test_depth(
        self, serve: Serve, size: int, vendor: int, depth: int, control_depth: int
    ) -> None:
        target = serve(device(about={"queue_size": size, "vendor_id": vendor}))
        driver = open_driver(target)
        assert (driver.depth, driver.control_depth) == (depth, control_depth)
        driver.close()


@pytest.mark.parametrize(
    ("said", "meant"), [(0, MAX_SIZE), (1, 1), (MAX_SIZE, MAX_SIZE), (1 << 63, MAX_SIZE)]
)
def test_max_size(serve: Serve, said: int, meant: int) -> None:
    driver = open_driver(serve(device(max_size=said)))
    assert driver.max_size == meant
    driver.close()


@pytest.mark.parametrize(
    ("service", "limit"),
    [
        (Service.CIPHER, 32),
        (Service.AEAD, 32),
        (Service.MAC, 64),
        (Service.HASH, 0),
        (Service.AKCIPHER, 4096),
    ],
)
def test_key_lengths(serve: Serve, service: Service, limit: int) -> None:
    driver = open_driver(serve(device()))
    assert driver.max_key_length(service) == limit
    driver.close()


def test_a_device_that_is_not_ready(serve: Serve) -> None:
    with pytest.raises(ConnectError, match="is not ready") as caught:
        open_driver(serve(device(status=0)))
    assert caught.value.errno == errno.EAGAIN


@pytest.mark.parametrize("about", [{"device_id": 2}, {"device_id": 99}])
def test_another_type_of_device(serve: Serve, about: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="is not a virtio-crypto"):
        open_driver(serve(device(about=about)))
