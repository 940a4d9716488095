# SPDX-License-Identifier: BSD-3-Clause
"""What NBD's gateways add to the complaint about a device that is no disk."""

from __future__ import annotations

import pytest

from vof.errors import ConfigError, VofError, WrongDevice
from vof.gateways.disks_only import disks_only


def test_a_device_that_is_no_disk() -> None:
    with pytest.raises(WrongDevice) as raised, disks_only():
        raise WrongDevice("'t' is a virtio-rng, not a virtio-blk")
    assert str(raised.value) == (
        "'t' is a virtio-rng, not a virtio-blk: NBD takes disks only; vof-mount shows an rng or "
        "crypto device as files"
    )


@pytest.mark.parametrize("error", [ConfigError("x"), VofError("x"), KeyboardInterrupt()])
def test_all_else_is_left_alone(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised, disks_only():
        raise error
    assert raised.value is error
