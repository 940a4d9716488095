# SPDX-License-Identifier: BSD-3-Clause
"""Mountpoints that are none, and what others write to stderr."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vof.errors import ConfigError
from vof.gateways.fuse import mountpoint
from vof.gateways.fuse.mountpoint import catch_stderr, check_mountpoint


def test_a_good_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mountpoint, "DEVICE", os.devnull)
    (tmp_path / "link").symlink_to(tmp_path)
    assert check_mountpoint(str(tmp_path / "link")) == str(tmp_path)


@pytest.mark.parametrize("name", ["a b", "диск\u2028x", "\r\x0b\x85", "\udcff\\\n"])
def test_what_is_mounted_under_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(mountpoint, "MOUNTS", tmp_path / "mountinfo")
    place = tmp_path / name
    place.mkdir()
    shown = b"".join(
        b"\\%03o" % byte if byte in b" \t\n\\" else bytes([byte]) for byte in os.fsencode(place)
    )
    (tmp_path / "mountinfo").write_bytes(
        b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        b"36 22 0:41 / " + shown + b" rw,nosuid shared:1 - fuse.sshfs host: rw\n"
    )
    with pytest.raises(ConfigError, match=r"is busy: a fuse\.sshfs is mounted there already"):
        check_mountpoint(str(place))


def test_no_fuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mountpoint, "DEVICE", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="modprobe fuse"):
        check_mountpoint(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "words"), [("nowhere", "does not exist"), ("file", "is not a directory")]
)
def test_bad_ones(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=words):
        check_mountpoint(str(tmp_path / name))


def test_catching_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    failed, words = catch_stderr(lambda: [os.write(2, b"one\n\ntwo\n\n"), 1 / 0][0])
    assert isinstance(failed, ZeroDivisionError)
    assert words == "two"
    assert catch_stderr(lambda: None) == (None, "")
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"
