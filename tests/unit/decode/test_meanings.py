# SPDX-License-Identifier: BSD-3-Clause
"""Numbers are told by the names that the specifications give them."""

from __future__ import annotations

import pytest

from vof.decode import meanings
from vof.decode.association import Association
from vof.decode.message import Bits, Named, Value, bits, named, plain
from vof.decode.requests import Device
from vof.wire import blk, crypto
from vof.wire.constants import VENDOR_VOF, VENDOR_VTGT, Command, CommonFeature, DeviceId
from vof.wire.dialect import DIALECTS, PROPOSAL, V2, V5

BLOCK = Association(dialects=(V5,), device=Device(DeviceId.BLOCK))
CRYPTO = Association(dialects=(V5,), device=Device(DeviceId.CRYPTO))
RNG = Association(dialects=(V5,), device=Device(DeviceId.RNG))
UNKNOWN = Association(dialects=(PROPOSAL,))


def test_features_are_the_devices_own() -> None:
    value = blk.Feature.SIZE_MAX | CommonFeature.VERSION_1 | 1 << 60
    for association, name in ((BLOCK, "SIZE_MAX"), (CRYPTO, "CIPHER_STATELESS_MODE"),
                              (RNG, "bit 1"), (UNKNOWN, "bit 1")):  # fmt: skip
        found = meanings.of_value(
            Command.GET_DEVICE_FEATURE, int(value), {"feature_select": 0}, association
        )
        assert found == {"features": Bits(value, (name, "VERSION_1", "bit 60"))}
    assert meanings.of_command(
        Command.SET_DRIVER_FEATURE, {"feature_select": 0, "feature": 0}, BLOCK
    ) == {"features": Bits(0, ())}


def test_features_beyond_the_first_word() -> None:
    asked = {"feature_select": 1}
    found = meanings.of_value(Command.GET_DEVICE_FEATURE, 5, asked, BLOCK)
    assert found == {"features": Bits(5, ("bit 64", "bit 66"))}
    asked = {"feature_select": 0xFFFF_FFFF, "feature": 1}
    found = meanings.of_command(Command.SET_FEATURE, asked, BLOCK)
    assert found["value"] == Bits(1, (f"bit {0xFFFF_FFFF * 64}",))


def test_transport_features() -> None:
    asked = {"feature_select": 0}
    assert meanings.of_value(Command.GET_FEATURE, 3, asked, BLOCK) == {
        "value": Bits(3, ("KEYED_NUM_DESCS", "KEYED_EAGER_BUF"))
    }
    for dialect in (PROPOSAL, V2):
        association = Association(dialects=(dialect,))
        found = meanings.of_value(Command.GET_FEATURE, 128, asked, association)
        assert found == {"value": 128}  # descriptors
    assert meanings.of_command(Command.SET_FEATURE, asked | {"feature": 4}, BLOCK) == {
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
    found = meanings.of_command(Command.GET_CONFIG, fields, association)
    assert found.get("field") == name
    assert (found["offset"], found["bytes"]) == place
    found = meanings.of_command(Command.SET_CONFIG, fields, association)
    assert found["value"] == (1 << width * 8) - 1


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("get_vendor_id", VENDOR_VTGT, {"vendor": Named(VENDOR_VTGT, "vtgt")}),
        ("get_vendor_id", VENDOR_VOF, {"vendor": Named(VENDOR_VOF, "vof")}),
        ("get_vendor_id", 5, {"vendor": Named(5, "unknown")}),
        ("get_device_id", 20, {"device": Named(20, "crypto")}),
        ("get_device_id", 1, {"device": Named(1, "unknown")}),
        ("get_status", 0x8F, {"device_status": Bits(
            0x8F, ("ACKNOWLEDGE", "DRIVER", "DRIVER_OK", "FEATURES_OK", "FAILED"))}),
        ("get_num_queues", 4, {"queues": 4}),
        ("get_num_queues", 0x7777_0004, {"queues": 4}),  # behind it, anything
        ("get_vq_size", 64, {"size": 64}),
        ("get_keyed_num_descs", 255, {"descs": 255}),
        ("vq", 513, {"written": 513}),
        ("reset_device", 0, {}),
    ],
)  # fmt: skip
def test_values(name: str, value: int, expected: dict[str, Value]) -> None:
    assert meanings.of_value(Command(name), value, {}, BLOCK) == expected


def test_values_of_a_width_that_was_asked_for() -> None:
    found = meanings.of_value(Command.GET_CONFIG, 0x1234_5678, {"bytes": 2}, BLOCK)
    assert found == {"value": 0x5678}


def test_the_id_that_a_connect_is_answered_with() -> None:
    for name in ("target_id", "device_instance_id"):
        found = meanings.of_value(Command.CONNECT, 0x5555_0003, {name: 0xFFFF}, BLOCK)
        assert found == {name: 3}


def test_status() -> None:
    for dialect in DIALECTS:
        assert meanings.completion_status(0, dialect) == Named(0, "ok")
    for status, words in (
        (19, "ENODEV (No such device)"), (4096, "some other error"), (3000, "no errno"),
    ):  # fmt: skip
        assert meanings.completion_status(status, V2) == Named(status, words)
    for status, words in (
        (0x1001, "there is no target of that tvqn"),
        (0x1022, "queue size too large"),
        (19, "a status that no text has"),
    ):
        assert meanings.completion_status(status, V5) == Named(status, words)


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
