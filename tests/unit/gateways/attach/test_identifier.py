# SPDX-License-Identifier: BSD-3-Clause
"""Names and serial numbers in identifiers, and what udev makes of them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.meta.tree import ROOT
from vof.errors import ConfigError
from vof.gateways.attach.identifier import (
    default_name,
    make_identifier,
    parse_identifier,
    safe_serial,
)
from vof.gateways.local_name import check_device_name

VOF_ID = ROOT / "udev" / "vof_id"


@pytest.mark.parametrize(
    "name", ["", "a b", "a/b", "..", ".a", "-a", "a:b", "a\n", "é", "a" * 65, "a\0"]
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


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True), st.text(), st.text())
def test_identifiers_come_back(name: str, serial: str, tvqn: str) -> None:
    safe = safe_serial(serial, "t" + tvqn)
    assert parse_identifier(make_identifier(name, safe)) == (name, safe)


FOREIGN = ["", "vof", "vof:", "vof:a", "vof:a:", "vof::b", "vof:a:b:c", "vof:a:b/c", "rbd:a:b"]
OURS = ["vof:a:b", "vof:disk0:vof-disk-0", "vof:A.b-c_d:1#2+3=4@5_6"]


@pytest.mark.parametrize("text", FOREIGN)
def test_other_identifiers(text: str) -> None:
    assert parse_identifier(text) is None


@pytest.mark.parametrize("text", [*FOREIGN, *OURS, "vof:a:b\nVOF_NAME=x", "vof:a:b c"])
def test_udev_takes_the_same(text: str) -> None:
    run = subprocess.run(
        [sys.executable, "-IS", VOF_ID, text], capture_output=True, text=True, check=False
    )
    found = parse_identifier(text)
    if found is None:
        assert (run.returncode, run.stdout) == (1, "")
    else:
        assert run.returncode == 0
        assert run.stdout == f"VOF_NAME={found[0]}\nVOF_SERIAL={found[1]}\n"
