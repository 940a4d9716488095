# SPDX-License-Identifier: BSD-3-Clause
"""Every device type is registered, and every backend leads somewhere."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module

import pytest

from vof.target import devices
from vof.target.clock import Clock
from vof.target.config import parse
from vof.target.devices.device import Device
from vof.target.models import MODELS
from vof.wire.constants import DeviceId

LINES = {
    "block": "driver=block-memory,size=64K",
    "rng": "driver=rng-simulator",
    "console": "driver=console-echo",
    "crypto": "driver=crypto-openssl",
}
"""A backend of each."""


def types() -> set[type[Device]]:
    """Return every device type there is a module of."""
    found = set()
    for each in pkgutil.iter_modules(devices.__path__):
        module = import_module(f"{devices.__name__}.{each.name}")
        for _name, value in inspect.getmembers(module, inspect.isclass):
            if issubclass(value, Device) and value.__module__ == module.__name__:
                found.add(value)
    return found - {Device}


def test_every_type_is_registered_once() -> None:
    ids = [model.device_id for model in MODELS.values()]
    assert len(set(ids)) == len(ids)
    assert {item.device_id for item in types()} == set(ids)
    assert set(ids) <= set(DeviceId)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_makes_what_it_says(name: str) -> None:
    text = f"[it]\ntvqn = a/b\nmodel = {name}\nbackend = {LINES[name]}\n"
    (item,) = parse(text, "test.conf").devices
    clock = Clock()
    device = item.open(clock)
    assert device.device_id == MODELS[name].device_id
    assert device.tvqn == "a/b"
    assert device.facts() == {}
    # Its policy is one for each queue, and every instance can be had.
    for queue in range(device.num_queues):
        assert device.policy(queue) is not None
    device.new_instance().close()
    device.close()
