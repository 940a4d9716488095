# SPDX-License-Identifier: BSD-3-Clause
"""Numbers are told by the names that the specifications give them."""

from __future__ import annotations

import pytest

from vof.decode import meanings
from vof.decode.association import Association
from vof.decode.message import Bits, Named, Value, bits, named, plain
from vof.decode.requests import Device
from vof.wire import blk, crypto
from vof.wire.constants import VENDOR_VOF, VENDOR_VTGT, CommonFeature, DeviceId
from vof.wire.dialect import PROPOSAL, V5

BLOCK = Association(dialects=(V5,), device=Device(DeviceId.BLOCK))
CRYPTO = Association(dialects=(V5,), device=Device(DeviceId.CRYPTO))
RNG = Association(dialects=(V5,), device=Device(DeviceId.RNG))
UNKNOWN = Association(dialects=(PROPOSAL,))


def test_features_are_the_devices_own() -> None:
    value = blk.Feature.SIZE_MAX | CommonFeature.VERSION_1 | 1 << 60
    for association, name in ((BLOCK, "SIZE_MAX"), (CRYPTO, "CIPHER_STATELESS_MODE"),
                              (RNG, "bit 1"), (UNKNOWN, "bit 1")):  # fmt: skip
        found = meanings.of_value("get_device_feature", int(value), association)
        assert found == {"features": Bits(value, (name, "VERSION_1", "bit 60"))}
    assert meanings.of_command("set_driver_feature", {"value": 0}, BLOCK) == {
        "features": Bits(0, ())
    }


def test_transport_features() -> None:
    assert meanings.of_value("get_feature", 3, BLOCK) == {
        "value": Bits(3, ("KEYED_NUM_DESCS", "KEYED_EAGER_BUF"))
    }
    assert meanings.of_value("get_feature", 128, UNKNOWN) == {"value": 128}  # descriptors
    assert meanings.of_command("set_feature", {"feature_select": 0, "value": 4}, BLOCK) == {
        "feature_select": 0,
        "value": Bits(4, ("bit 2",)),
    }


@pytest.mark.parametrize(
    ("association", "place", "name"),
    [
        (BLOCK, (0, 8), "capacity"),
        (BLOCK, (4, 4), "capacity[4]"),
        (BLOCK, (0, 4), "capacity[0]"),
        (BLOCK, (34, 2), "num_queues"),
        (BLOCK, (72, 1), None),
        (CRYPTO, (4, 4), "max_dataqueues"),
        (RNG, (0, 1), None),
        (UNKNOWN, (0, 8), None),
    ],
)
def test_fields_of_the_config_space(
    association: Association, place: tuple[int, int], name: str | None
) -> None:
    offset, width = place
    fields = {"offset": offset, "bytes": width, "value": (1 << 64) - 1}
    found = meanings.of_command("get_config", fields, association)
    assert found.get("field") == name
    assert (found["offset"], found["bytes"]) == place
    assert meanings.of_command("set_config", fields, association)["value"] == (1 << width * 8) - 1


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("connect", 3, {"target_id": 3}),
        ("get_vendor_id", VENDOR_VTGT, {"vendor": Named(VENDOR_VTGT, "vtgt")}),
        ("get_vendor_id", VENDOR_VOF, {"vendor": Named(VENDOR_VOF, "vof")}),
        ("get_vendor_id", 5, {"vendor": Named(5, "unknown")}),
        ("get_device_id", 20, {"device": Named(20, "crypto")}),
        ("get_device_id", 1, {"device": Named(1, "unknown")}),
        ("get_status", 0x8F, {"device_status": Bits(
            0x8F, ("ACKNOWLEDGE", "DRIVER", "DRIVER_OK", "FEATURES_OK", "FAILED"))}),
        ("get_num_queues", 4, {"queues": 4}),
        ("get_config", 9, {"value": 9}),
    ],
)  # fmt: skip
def test_values(name: str, value: int, expected: dict[str, Value]) -> None:
    assert meanings.of_value(name, value, BLOCK) == expected


def test_status() -> None:
    assert meanings.completion_status(0) == Named(0, "ok")
    assert meanings.completion_status(19) == Named(19, "ENODEV")
    assert meanings.completion_status(4096) == Named(4096, "other")
    assert meanings.completion_status(3000) == Named(3000, "unknown")


def test_names_of_numbers_and_bits() -> None:
    assert named(crypto.Service, 4, lower=True) == Named(4, "akcipher")
    assert bits(0b101, blk.Feature) == Bits(5, ("BARRIER", "SEG_MAX"))


def test_values_in_json() -> None:
    value: Value = {"a": Named(1, "x"), "b": [Bits(2, ("y",)), 3, "z"], "c": {"d": 4}}
    assert plain(value) == {
        "a": {"value": 1, "name": "x"},
        "b": [{"value": 2, "names": ["y"]}, 3, "z"],
        "c": {"d": 4},
    }
