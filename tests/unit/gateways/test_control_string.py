# SPDX-License-Identifier: BSD-3-Clause
"""The control string of the kernel's initiator."""

from __future__ import annotations

import errno

import pytest

from vof.errors import ConfigError
from vof.gateways.control_string import (
    KEYS,
    ControlCommand,
    is_control_string,
    parse_control_string,
)
from vof.initiator.parameters import SessionParameters

# As the proposal writes it.
EXAMPLE = (
    "command=create,transport=tcp,taddr=192.168.122.1,tport=15771,"
    "tvqn=virtio-target/block/block0.service,iaddr=192.168.122.1,iport=0,"
    "ivqn=vqn.uuid:42761df9-4c3f-4b27-843d-c88d1dcdce32"
)


def test_the_example_of_the_proposal() -> None:
    found = parse_control_string(EXAMPLE)
    assert (found.command, found.name) == ("create", None)
    parameters = SessionParameters()
    for key, value in found.values.items():
        parameters.set(key, value)
    assert parameters == SessionParameters(
        tvqn="virtio-target/block/block0.service",
        taddr="192.168.122.1",
        iaddr="192.168.122.1",
        ivqn="vqn.uuid:42761df9-4c3f-4b27-843d-c88d1dcdce32",
    )


def test_what_is_between_the_keys() -> None:
    assert parse_control_string(b"command=create,tvqn=a/b=c,tport=1\n") == ControlCommand(
        "create", None, {"tvqn": "a/b=c", "tport": "1"}
    )
    assert parse_control_string(" tvqn=x , command=destroy,name=disk0\0") == ControlCommand(
        "destroy", "disk0", {"tvqn": "x"}
    )


@pytest.mark.parametrize(
    ("data", "number", "words"),
    [
        (b"", errno.EINVAL, "unknown key ''"),
        (b"command", errno.EINVAL, "command= has no value"),
        (b"command=", errno.EINVAL, "command= has no value"),
        (b"=create", errno.EINVAL, "unknown key ''"),
        (b"command=create", errno.EINVAL, "tvqn= is missing"),
        (b"tvqn=a", errno.EINVAL, "command= is missing"),
        (b"command=connect,tvqn=a", errno.EINVAL, "'connect' is not known; use command=create"),
        (b"command=create,command=create", errno.EINVAL, "command= is given twice"),
        (b"command=create,,tvqn=a", errno.EINVAL, "unknown key ''"),
        (b"Command=create", errno.EINVAL, "unknown key 'Command'"),
        (b"\xff\xfe", errno.EINVAL, "not valid UTF-8"),
        ("command=create,tvqn=\udc80", errno.EINVAL, "not valid UTF-8"),
        (b"x" * 4097, errno.EMSGSIZE, "4097 bytes long; at most 4096"),
        ("é" * 2049, errno.EMSGSIZE, "4098 bytes long"),
    ],
)
def test_bad_commands(data: str | bytes, number: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        parse_control_string(data)
    assert caught.value.errno == number


def test_what_looks_like_one() -> None:
    assert is_control_string(EXAMPLE)
    assert is_control_string("tvqn=x, command=create")
    assert not is_control_string("virtio-target/block/block0.service")
    assert not is_control_string("disk0")


def test_the_keys_of_the_proposal_are_there() -> None:
    assert {"command", "transport", "taddr", "tport", "tvqn", "iaddr", "iport", "ivqn"} < set(KEYS)
