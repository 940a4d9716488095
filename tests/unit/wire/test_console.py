# SPDX-License-Identifier: BSD-3-Clause
"""virtio-console's config space by bytes written by hand, and what is no request of it."""

from __future__ import annotations

import pytest

from vof.errors import RemoteProtocolError
from vof.wire.console import (
    FIELDS_BY_FEATURE,
    RECEIVE_QUEUE,
    TRANSMIT_QUEUE,
    Config,
    Feature,
    check_request,
)
from vof.wire.layout import layout_of

GOLDEN = bytes.fromhex("5000 1900 02000000 41000000")
"""80 columns, 25 rows, two ports, the letter A."""


def test_config_space() -> None:
    config = Config(cols=80, rows=25, max_nr_ports=2, emerg_wr=ord("A"))
    assert layout_of(Config).pack(*config) == GOLDEN
    assert Config(*layout_of(Config).unpack(GOLDEN)) == config


def test_features() -> None:
    assert [int(bit) for bit in Feature] == [1, 2, 4]
    assert {name for names in FIELDS_BY_FEATURE.values() for name in names} == set(Config._fields)


def test_requests() -> None:
    check_request(RECEIVE_QUEUE, 0, 1)
    check_request(TRANSMIT_QUEUE, 1, 0)


@pytest.mark.parametrize("queue", [RECEIVE_QUEUE, TRANSMIT_QUEUE])
@pytest.mark.parametrize("sizes", [(0, 0), (1, 1)])
def test_no_requests(queue: int, sizes: tuple[int, int]) -> None:
    with pytest.raises(RemoteProtocolError, match="a console's"):
        check_request(queue, *sizes)


def test_bytes_of_the_wrong_direction() -> None:
    for queue, sizes in ((RECEIVE_QUEUE, (1, 0)), (TRANSMIT_QUEUE, (0, 1))):
        with pytest.raises(RemoteProtocolError):
            check_request(queue, *sizes)
