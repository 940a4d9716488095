# SPDX-License-Identifier: BSD-3-Clause
"""Names and serial numbers in identifiers, and what udev makes of them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.meta.tree import ROOT
from vof.errors import ConfigError
from vof.gateways.attach.identifier import (
    default_name,
    make_identifier,
    safe_serial,
)
from vof.gateways.settings.local_name import check_device_name, unescaped

VOF_ID = ROOT / "udev" / "vof_id"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a b",
        "a/b",
        "..",
        ".a",
        "-a",
        "a:b",
        "a\n",
        "é" * 33,
        "a" * 65,
        "a\0",
        "\u202ea",
        "\ud800",
    ],
)
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="letters, digits"):
        check_device_name(name)


@pytest.mark.parametrize(
    ("tvqn", "name"),
    [
        ("virtio-target/block/disk0.service", "disk0"),
        ("nvme of\x01thing", "nvme_of_thing"),
        ("a/", "a"),
        ("/", "disk"),
        ("x/.service", "disk"),
        ("x/-y", "y"),
        ("x/диск №1.service", "диск_№1"),
        ("磁盘" * 30, "磁盘" * 10 + "磁"),
        ("\u202e\u0301", "\u0301"),
    ],
)
def test_default_names(tvqn: str, name: str) -> None:
    assert default_name(tvqn) == name


@given(st.text())
def test_every_default_name_can_be_used(tvqn: str) -> None:
    assert check_device_name(default_name(tvqn))


def test_a_device_without_serial_is_known_by_its_tvqn() -> None:
    assert safe_serial("", "a/b.service") == "a_b.service"
    assert safe_serial("vof disk/1", "a") == "vof_disk_1"


def test_what_is_too_long_for_a_link_stays_different() -> None:
    one, other = (safe_serial("", "ж" * 119 + end) for end in "ab")
    assert one != other
    assert one.startswith("ж" * 114 + "-")
    assert len(f"virtio-of-{one}-part128".encode()) <= 255
    assert safe_serial("", "ж" * 118) == "ж" * 118


@given(st.text(min_size=1))
def test_a_name_comes_back_from_a_units(text: str) -> None:
    name = default_name(text)
    assert unescaped(name) == name
    escaped = "".join(f"\\x{byte:02x}" for byte in name.encode())
    assert unescaped(escaped) == name


def split(identifier: str) -> str | None:
    """Return what udev's program writes, started as udev does it, which has no locale; None for an
    identifier that it does not take."""
    run = subprocess.run(
        [sys.executable, "-IS", VOF_ID, identifier.encode()],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env={},
    )
    if run.returncode:
        assert (run.returncode, run.stdout) == (1, "")
        return None
    return run.stdout


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True), st.text(), st.text())
@settings(max_examples=25, deadline=None)
def test_udev_takes_every_identifier(name: str, serial: str, tvqn: str) -> None:
    safe = safe_serial(serial, "t" + tvqn)
    assert split(make_identifier(name, safe)) == f"VOF_NAME={name}\nVOF_SERIAL={safe}\n"


@pytest.mark.parametrize(
    ("name", "serial"),
    [
        ("a", "b"),
        ("диск", "磁盘é😀"),
        ("disk0", "vof-disk-0"),
        ("A.b-c_d", "1#2+3=4@5_6"),
    ],
)
def test_udev_takes_names_of_every_script(name: str, serial: str) -> None:
    assert check_device_name(name) == name
    assert safe_serial(serial, "t") == serial
    assert split(make_identifier(name, serial)) == f"VOF_NAME={name}\nVOF_SERIAL={serial}\n"


@pytest.mark.parametrize(
    "text",
    [
        *("", "vof", "vof:", "vof:a", "vof:a:", "vof::b", "vof:a:b:c", "vof:a:b/c", "rbd:a:b"),
        *("vof:é\u202e:b", "vof:a:é\u00a0", f"vof:{'é' * 33}:b"),
        *("vof:a:b\nVOF_NAME=x", "vof:a:b c"),
    ],
)
def test_udev_takes_nothing_else(text: str) -> None:
    assert split(text) is None
