# SPDX-License-Identifier: BSD-3-Clause
"""Every device type that has a driver stands wherever types are listed or described.

A list that lacks one raises nothing: the device is then shown by its number, or not at all.
"""

from __future__ import annotations

import importlib
import pkgutil
from unittest.mock import Mock

import pytest

import vof.drivers
from tests.meta.tree import ROOT
from vof.decode.association import Association
from vof.decode.meanings import of_command
from vof.decode.message import Bytes
from vof.decode.requests import Device, describe_answer, describe_request
from vof.drivers.registry import TYPES, DeviceType, drives
from vof.errors import WrongDevice
from vof.gateways.cli.decode import DEVICES
from vof.gateways.device_names import FEATURES, device_type
from vof.gateways.fuse.devices import OPENERS
from vof.wire.constants import Command, DeviceId
from vof.wire.dialect import V5

for _module in pkgutil.iter_modules(vof.drivers.__path__, "vof.drivers."):
    importlib.import_module(_module.name)

each_type = pytest.mark.parametrize(
    ("device_id", "kind"), TYPES.items(), ids=[kind.name for kind in TYPES.values()]
)


def test_each_number_has_a_driver() -> None:
    assert set(TYPES) == set(DeviceId)


@each_type
def test_names(device_id: DeviceId, kind: DeviceType) -> None:
    assert device_type(device_id) == f"virtio-{device_id.name.lower()}"
    assert device_id in FEATURES
    assert DEVICES[device_id.name.lower()] == device_id


@each_type
def test_its_driver_takes_no_other_device(device_id: DeviceId, kind: DeviceType) -> None:
    session = Mock(device_id=9, tvqn="a/b")
    with pytest.raises(WrongDevice, match=f"'a/b' is .*{kind.name}"):
        kind.driver.attach(session)
    session.close.assert_called_once()


@each_type
def test_it_is_shown_as_files(device_id: DeviceId, kind: DeviceType) -> None:
    assert device_id in OPENERS


@each_type
def test_its_requests_are_decoded(device_id: DeviceId, kind: DeviceType) -> None:
    asked = describe_request(Device(device_id), Bytes(bytes(256)), 256, 256)
    assert asked.get("device") == device_id.name.lower()
    assert describe_answer(asked, Bytes(bytes(256)), 256, 256)


@each_type
def test_its_config_space_is_decoded(device_id: DeviceId, kind: DeviceType) -> None:
    association = Association(dialects=(V5,), device=Device(device_id))
    for name, (offset, size) in (kind.config.fields if kind.config else {}).items():
        asked = {"offset": offset, "bytes": size}
        assert of_command(Command.GET_CONFIG, asked, association)["field"] == name


@pytest.mark.parametrize(
    "paper",
    ["README.md", "docs/architecture.md", "man/vof.7", "man/vof-mount.1"],
)
@each_type
def test_papers(device_id: DeviceId, kind: DeviceType, paper: str) -> None:
    assert kind.name in (ROOT / paper).read_text(encoding="utf-8")


@each_type
def test_the_decoder_s_manual(device_id: DeviceId, kind: DeviceType) -> None:
    assert device_id.name.lower() in (ROOT / "man" / "vofctl-decode.8").read_text(encoding="utf-8")


def test_a_type_has_one_driver() -> None:
    with pytest.raises(AssertionError):
        drives(DeviceId.RNG, "virtio-rng")(TYPES[DeviceId.RNG].driver)
