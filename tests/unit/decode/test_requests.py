# SPDX-License-Identifier: BSD-3-Clause
"""Requests of virtio-blk and virtio-rng, and answers, as far as their bytes are known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.decode.said import header
from vof.decode.message import Bytes, Named
from vof.decode.requests import (
    MAX_SEGMENTS,
    Description,
    Device,
    describe_answer,
    describe_request,
    may_hold_keys,
    secret_places,
)
from vof.wire import blk
from vof.wire.constants import DeviceId

BLOCK, RNG, CRYPTO = map(Device, (DeviceId.BLOCK, DeviceId.RNG, DeviceId.CRYPTO))
UNKNOWN = Device(None)


def block(readable: bytes, writable: int = 1) -> Description:
    return describe_request(BLOCK, Bytes(readable), len(readable), writable)


def answered(asked: Description, area: Bytes, written: int) -> Description:
    return describe_answer(asked, area, len(area.data), written)


def test_reads_and_writes() -> None:
    assert block(header(blk.RequestType.IN, 7), 4097) == {
        "device": "block", "type": Named(0, "IN"), "sector": 7, "bytes": 4096,
    }  # fmt: skip
    assert block(header(blk.RequestType.OUT, 7) + bytes(512)) == {
        "device": "block", "type": Named(1, "OUT"), "sector": 7, "bytes": 512,
    }  # fmt: skip


def test_the_others() -> None:
    assert block(header(blk.RequestType.FLUSH)) == {"device": "block", "type": Named(4, "FLUSH")}
    assert block(header(blk.RequestType.GET_ID), 21)["bytes"] == 20
    unknown = blk.REQUEST_HEADER.pack(99, 0, 5)
    assert block(unknown) == {"device": "block", "type": Named(99, "unknown")}


@pytest.mark.parametrize("kind", ["DISCARD", "WRITE_ZEROES", "SECURE_ERASE"])
def test_segments(kind: str) -> None:
    segments = b"".join(blk.DISCARD_SEGMENT.pack(place, 8, 1) for place in range(20))
    found = block(header(blk.RequestType[kind]) + segments + b"odd")["segments"]
    assert isinstance(found, list)
    assert found[1] == {"sector": 1, "num_sectors": 8, "flags": 1}
    assert len(found) == MAX_SEGMENTS
    assert block(header(blk.RequestType[kind]))["segments"] == []


def test_a_header_that_is_not_all_there() -> None:
    readable = header(blk.RequestType.OUT) + bytes(512)
    holes = Bytes(readable, (range(15, 20),))
    for known in (holes, Bytes(readable[:15])):
        assert describe_request(BLOCK, known, 528, 1) == {"device": "block"}
    later = Bytes(readable, (range(16, 528),))
    assert describe_request(BLOCK, later, 528, 1)["bytes"] == 512


def test_rng() -> None:
    asked = describe_request(RNG, Bytes(b""), 0, 64)
    assert asked == {"device": "rng", "bytes": 64}
    assert answered(asked, Bytes(bytes(20)), 20) == {"bytes": 20}


def test_an_unknown_device() -> None:
    assert describe_request(UNKNOWN, Bytes(bytes(40)), 40, 1) == {}
    assert answered({}, Bytes(b"\0"), 1) == {}


def test_answers() -> None:
    read = block(header(blk.RequestType.IN), 513)
    assert answered(read, Bytes(bytes(512) + b"\1"), 513) == {"status": Named(1, "IOERR")}
    assert answered(read, Bytes(bytes(512) + b"\7"), 513) == {"status": Named(7, "unknown")}
    assert answered(read, Bytes(bytes(513), (range(512, 513),)), 513) == {}
    assert answered(read, Bytes(b""), 0) == {}
    assert describe_answer(read, Bytes(bytes(512)), 513, 512) == {}  # it does not reach the status


@pytest.mark.parametrize(
    ("area", "expected"),
    [
        (b"serial\0junk".ljust(20, b"?") + b"\0", "serial"),
        (b"s" * 20 + b"\0", "s" * 20),
        (b"s" * 20 + bytes(108), "s" * 20),
        (b"\xff".ljust(20, b"\0") + b"\0", "\\xff"),
    ],
)
def test_the_serial_number(area: bytes, expected: str) -> None:
    asked = block(header(blk.RequestType.GET_ID), len(area))
    assert answered(asked, Bytes(area), len(area))["id"] == expected


def test_the_lifetime() -> None:
    asked = block(header(blk.RequestType.GET_LIFETIME), 7)
    found = answered(asked, Bytes(blk.LIFETIME.pack(1, 2, 3) + b"\0"), 7)
    assert found["device_lifetime_est_typ_a"] == 2
    assert "pre_eol_info" not in answered(asked, Bytes(bytes(6) + b"\1"), 7)


def test_where_keys_may_be() -> None:
    for device in (BLOCK, RNG):
        assert not may_hold_keys(device)
        assert secret_places(device, Bytes(bytes(40))) == ()
    for device in (CRYPTO, UNKNOWN):
        assert may_hold_keys(device)
        assert secret_places(device, Bytes(bytes(15))) == (range(15),)
    assert secret_places(UNKNOWN, Bytes(b"")) == ()


@given(
    device=st.sampled_from([BLOCK, RNG, CRYPTO, Device(20, 0), Device(20, 63), UNKNOWN]),
    readable=st.binary(max_size=120),
    hole=st.tuples(st.integers(0, 100), st.integers(0, 100)),
    area=st.binary(max_size=40),
)
def test_whatever_is_in_them(
    device: Device, readable: bytes, hole: tuple[int, int], area: bytes
) -> None:
    known = Bytes(readable, (range(*hole),) if hole[0] < hole[1] else ())
    asked = describe_request(device, known, len(readable), len(area))
    answered(asked, Bytes(area), len(area))
    for places in secret_places(device, known):
        assert 0 <= places.start < places.stop <= len(readable)
