# SPDX-License-Identifier: BSD-3-Clause
"""What holds for a device or a mount, and where each value comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from vof.errors import ConfigError
from vof.gateways.settings.effective import BUILT_IN_VALUES, Effective, device, mount
from vof.gateways.settings.keys import PLUGIN
from vof.gateways.settings.merged import Settings, load
from vof.gateways.settings.origin import Source
from vof.gateways.settings.schema import DEVICE_KEYS, MOUNT_KEYS
from vof.gateways.settings.values import parse_tvqns
from vof.initiator.parameters import SessionParameters

TEXT = """\
[defaults]
taddr = default-host
dialect = v2
queues = 2
filter = off

[device disk0]
tvqn = a/disk0
taddr = storage1
tport = 7
readonly = yes
connections = 3

[mount rng]
mountpoint = /mnt/rng
tvqns = a/rng0, a/rng1
tport = 8
mode = 644
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "vof.conf").write_text(TEXT, encoding="utf-8")
    (tmp_path / "initiator-name").write_text("vqn.uuid:host\n", encoding="utf-8")
    return load(tmp_path)


def shown(effective: Effective, *keys: str) -> list[tuple[str | None, str]]:
    return [
        (value.text, str(value.origin).rpartition("/")[2])
        for value in (effective.values[key] for key in keys)
    ]


def test_each_value_is_that_of_the_strongest(settings: Settings) -> None:
    found = device(settings, "disk0", {"tport": "9"}, {"timeout": "30"})
    assert found.name == "disk0"
    assert set(found.values) == set(DEVICE_KEYS)
    assert shown(found, "tport", "taddr", "dialect", "ivqn", "timeout", "iaddr") == [
        ("9", "command line"),
        ("storage1", "vof.conf:9"),
        ("v2", "vof.conf:3"),
        ("vqn.uuid:host", "initiator-name:1"),
        ("30", "built in"),
        (None, "built in"),
    ]
    assert (found.flag("readonly"), found.number("connections")) == (True, 3)
    assert found.number("queue_size") is None
    assert found.parameters() == SessionParameters(
        tvqn="a/disk0",
        taddr="storage1",
        tport=9,
        ivqn="vqn.uuid:host",
        dialect="v2",
        timeout=30,
    )


def test_a_tvqn_gets_the_defaults(settings: Settings) -> None:
    found = device(settings, "a/disk0")
    assert found.name is None
    assert shown(found, "tvqn", "taddr", "tport") == [
        ("a/disk0", "command line"),
        ("default-host", "vof.conf:2"),
        ("15771", "built in"),
    ]
    assert found.parameters().timeout is None


def test_what_somebody_has_given(settings: Settings) -> None:
    assert device(settings, "disk0", {"iaddr": "::1"}).given(PLUGIN) == {
        "tvqn": "a/disk0",
        "taddr": "storage1",
        "tport": "7",
        "ivqn": "vqn.uuid:host",
        "iaddr": "::1",
        "dialect": "v2",
        "queues": "2",
    }


def test_a_name_made_up_stays_the_same(tmp_path: Path) -> None:
    found = device(load(tmp_path), "x")
    assert found.values["ivqn"].origin.source is Source.BUILT_IN
    assert found.text("ivqn") == found.parameters().ivqn == found.parameters().ivqn


def test_what_is_built_in_is_what_holds_without_it() -> None:
    parameters = SessionParameters(ivqn="x")
    for key, text in BUILT_IN_VALUES.items():
        if key in SessionParameters.__dataclass_fields__:
            parameters.set(key, text)
    assert parameters == SessionParameters(ivqn="x")


@pytest.mark.parametrize(
    ("target", "overrides", "words"),
    [
        ("disk0", {"tport": "x"}, "tport=x: not a number"),
        ("disk0", {"device": "sda"}, "device=sda: not an nbd device"),
        ("", {}, "tvqn is empty"),
        ("x" * 256, {}, "tvqn is 256 bytes long"),
    ],
)
def test_a_command_line_that_cannot_be_used(
    settings: Settings, target: str, overrides: dict[str, str], words: str
) -> None:
    with pytest.raises(ConfigError, match=f"^{words}"):
        device(settings, target, overrides)


def test_a_mount(settings: Settings) -> None:
    found = mount(settings, "rng", {"gid": "0"})
    assert set(found.values) == set(MOUNT_KEYS)
    assert shown(found, "mountpoint", "tvqns", "tport", "taddr", "gid", "uid", "timeout") == [
        ("/mnt/rng", "vof.conf:15"),
        ("a/rng0, a/rng1", "vof.conf:16"),
        ("8", "vof.conf:17"),
        ("default-host", "vof.conf:2"),
        ("0", "command line"),
        (None, "built in"),
        ("30", "built in"),
    ]


@pytest.mark.parametrize("given", ["диск-0", r"\xd0\xb4\xd0\xb8\xd1\x81\xd0\xba\x2d0"])
def test_a_name_as_a_unit_has_it(tmp_path: Path, given: str) -> None:
    """In the name of a unit systemd allows nothing but ASCII."""
    text = "[device диск-0]\ntvqn = x\n[mount диск-0]\nmountpoint = /m\n"
    (tmp_path / "vof.conf").write_text(text, encoding="utf-8")
    settings = load(tmp_path)
    assert (device(settings, given).name, device(settings, given).text("tvqn")) == ("диск-0", "x")
    assert mount(settings, given).name == "диск-0"
    assert device(settings, r"a\x2db").text("tvqn") == r"a\x2db"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a/b c,d", ["a/b", "c", "d"]),
        (' "a b" , "c,d","e" ', ["a b", "c,d", "e"]),
        ('"say ""x""" it\'s 5"', ['say "x"', "it's", '5"']),
    ],
)
def test_tvqns(text: str, names: list[str]) -> None:
    assert parse_tvqns("tvqns", text) == names


@pytest.mark.parametrize("text", ['"a', '"a"b', 'x "a""', '""'])
def test_tvqns_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^tvqns"):
        parse_tvqns("tvqns", text)


def test_no_such_mount(settings: Settings) -> None:
    with pytest.raises(ConfigError, match=r"no \[mount disk0\] in the configuration; .* are: rng$"):
        mount(settings, "disk0")


def test_what_is_wrong_elsewhere_is_no_matter(tmp_path: Path) -> None:
    text = f"{TEXT}[device bad]\ntvqn = x\nport = 1\n"
    (tmp_path / "vof.conf").write_text(text, encoding="utf-8")
    settings = load(tmp_path)
    assert device(settings, "disk0").name == "disk0"
    with pytest.raises(ConfigError, match=r"vof.conf:21: .*unknown key 'port'"):
        device(settings, "bad")
