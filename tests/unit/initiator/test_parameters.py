# SPDX-License-Identifier: BSD-3-Clause
"""What a user may write to reach a device, key by key."""

from __future__ import annotations

import re

import pytest

from vof.errors import ConfigError
from vof.initiator.parameters import PARAMETERS, SessionParameters, parse_integer
from vof.initiator.portal import Portal
from vof.wire.constants import Transport

GOOD = [
    ("tvqn", "a/b:c d", "a/b:c d"),
    ("tvqn", "ü" * 127, "ü" * 127),
    ("ivqn", "x" * 255, "x" * 255),
    ("taddr", "::1", "::1"),
    ("iaddr", "eth0.example", "eth0.example"),
    ("tport", "1", 1),
    ("tport", "65535", 65535),
    ("tport", "0015771", 15771),
    ("iport", "0", 0),
    ("iport", "65535", 65535),
    ("transport", "tcp", "tcp"),
    ("transport", "rdma", "rdma"),
    ("dialect", "auto", "auto"),
    ("dialect", "proposal", "proposal"),
    ("queue_size", "4", 4),
    ("queue_size", "32768", 32768),
    ("eager", "on", True),
    ("eager", "off", False),
    ("timeout", "0", None),
    ("timeout", "0.0", None),
    ("timeout", "2.5", 2.5),
    ("timeout", "86400", 86400.0),
]

BAD = [
    ("tvqn", "", "tvqn is empty"),
    ("tvqn", "x" * 256, "tvqn is 256 bytes long; at most 255 are allowed"),
    ("tvqn", "ü" * 128, "tvqn is 256 bytes long; at most 255 are allowed"),
    ("tvqn", "a\0b", "tvqn contains a NUL"),
    ("tvqn", "\udcff", "tvqn is not valid UTF-8"),
    ("ivqn", "", "ivqn is empty"),
    ("ivqn", "x" * 256, "ivqn is 256 bytes long"),
    ("taddr", "", "taddr= is empty; give"),
    ("taddr", "[::1]:15771", "has a port, which does not belong here; use taddr=[::1] and tport="),
    ("taddr", "9" * 5000, "9... is 5000 characters long, more than any"),
    ("iaddr", "", "iaddr= is empty; give"),
    ("iaddr", "h:1", "iaddr=h:1 has a port, which does not belong here; use iaddr=h and iport=1"),
    ("tport", "0", "tport=0: not a number from 1 to 65535"),
    ("tport", "65536", "tport=65536: not a number from 1 to 65535"),
    ("tport", "http", "tport=http: not a number from 1 to 65535"),
    ("tport", "", "tport=: not a number"),
    ("tport", "-1", "tport=-1: not a number"),
    ("tport", " 80", "tport= 80: not a number"),
    ("tport", "1_0", "tport=1_0: not a number"),
    ("tport", "\u0661", "tport=\u0661: not a number"),
    ("tport", "9" * 5000, "not a number from 1 to 65535"),
    ("iport", "65536", "iport=65536: not a number from 0 to 65535"),
    ("iport", "0" * 20 + "99999", "not a number from 0 to 65535"),
    ("transport", "roce", "transport=roce: not supported; use tcp or rdma"),
    ("transport", "TCP", "transport=TCP: not supported; use tcp or rdma"),
    ("dialect", "v9", "dialect=v9: not known; use one of auto, proposal"),
    *(
        ("queue_size", value, f"queue_size={value}: not a power of two from 4 to 32768")
        for value in ("0", "2", "3", "100", "65536", "64 ", "many", "", "9" * 30)
    ),
    ("eager", "1", "eager=1: not known; use on or off"),
    ("eager", "", "eager=: not known; use on or off"),
    ("timeout", "-1", "timeout=-1: not a number of seconds from 0 to 86400"),
    ("timeout", "86401", "timeout=86401: not a number of seconds from 0 to 86400"),
    ("timeout", "nan", "timeout=nan: not a number of seconds"),
    ("timeout", "inf", "timeout=inf: not a number of seconds"),
    ("timeout", "1_0", "timeout=1_0: not a number of seconds"),
    ("timeout", "\u0661", "timeout=\u0661: not a number of seconds"),
    ("timeout", "soon", "timeout=soon: not a number of seconds"),
    ("tvqm", "x", "unknown parameter 'tvqm'; known are tvqn, taddr, tport,"),
    ("connect_timeout", "1", "unknown parameter 'connect_timeout'"),
    ("", "x", "unknown parameter ''"),
]


@pytest.mark.parametrize(("key", "text", "value"), GOOD)
def test_taken(key: str, text: str, value: object) -> None:
    parameters = SessionParameters()
    parameters.set(key, text)
    assert getattr(parameters, key) == value


@pytest.mark.parametrize(("key", "text", "message"), BAD)
def test_refused(key: str, text: str, message: str) -> None:
    parameters = SessionParameters()
    before = SessionParameters(ivqn=parameters.ivqn)
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        parameters.set(key, text)
    assert parameters == before
    assert "\n" not in str(caught.value)


def test_every_key_has_its_tests() -> None:
    assert {key for key, _text, _value in GOOD} == set(PARAMETERS)
    assert {key for key, _text, _message in BAD} >= set(PARAMETERS)


def test_defaults() -> None:
    parameters = SessionParameters()
    assert (parameters.taddr, parameters.tport) == ("127.0.0.1", 15771)
    assert (parameters.transport, parameters.dialect) == ("tcp", "auto")
    assert parameters.timeout is None
    assert parameters.eager is True
    assert parameters.connect_timeout == 15.0


def test_each_initiator_has_a_name_of_its_own() -> None:
    one, two = SessionParameters().ivqn, SessionParameters().ivqn
    assert one != two
    assert re.fullmatch(r"vqn\.uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", one)


@pytest.mark.parametrize(
    ("taddr", "where"), [("127.0.0.1", "127.0.0.1:15771"), ("::1", "[::1]:15771")]
)
def test_where(taddr: str, where: str) -> None:
    assert SessionParameters(taddr=taddr).where == where


def test_the_portal_is_made_of_what_is_said() -> None:
    parameters = SessionParameters()
    assert parameters.portals == (Portal(Transport.TCP, "127.0.0.1", 15771),)
    for key, value in {
        "taddr": "::1",
        "tport": "7",
        "transport": "rdma",
        "iaddr": "::2",
        "iport": "9",
    }.items():
        parameters.set(key, value)
    assert parameters.portals == (Portal(Transport.RDMA, "::1", 7, "::2", 9),)


@pytest.mark.parametrize("text", ["3", "03", "5"])
def test_integers_within_their_bounds(text: str) -> None:
    assert parse_integer("queues", text, 3, 5) == int(text)


@pytest.mark.parametrize("text", ["2", "6", "³", "3.0", "0x3"])
def test_integers_beyond_their_bounds(text: str) -> None:
    with pytest.raises(ConfigError, match=f"queues={text}: not a number from 3 to 5"):
        parse_integer("queues", text, 3, 5)
