# SPDX-License-Identifier: BSD-3-Clause
"""vofctl validate: what it says of good and bad configurations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.gateways.cli.conftest import Run
from vof.gateways.cli.exits import Exit

GOOD = "[defaults]\ntport = 7\n[device disk0]\ntvqn = a\n[device disk1]\ntvqn = b\n"
BAD = "[device disk0]\ntvqn = a\ntprt = 7\nx\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VOF_CONFIG_DIR", str(tmp_path))
    return tmp_path


def test_nothing_there(run: Run, folder: Path) -> None:
    assert run("validate") == (0, f"nothing is configured in {folder}\n".encode(), "")


def test_a_good_one(run: Run, folder: Path) -> None:
    (folder / "vof.conf").write_text(GOOD, encoding="utf-8")
    expected = b"1 file, 2 devices, 0 mounts: nothing is wrong\n"
    assert run("validate") == (0, expected, "")


def test_a_bad_one(run: Run, folder: Path) -> None:
    path = folder / "vof.conf"
    path.write_text(BAD, encoding="utf-8")
    status, output, error = run("validate")
    assert (status, error) == (Exit.USAGE, "")
    assert output.decode().splitlines() == [
        f"{path}:3: [device disk0] unknown key 'tprt'; did you mean 'tport'?",
        f"{path}:4: 'x' is neither [section] nor key = value",
    ]


def test_files_named(run: Run, folder: Path, tmp_path: Path) -> None:
    """They alone are looked at."""
    (folder / "vof.conf").write_text(BAD, encoding="utf-8")
    good = tmp_path / "good"
    good.write_text(GOOD, encoding="utf-8")
    assert run("validate", good)[0] == Exit.DONE
    status, output, _error = run("validate", good, tmp_path / "none")
    assert status == Exit.USAGE
    assert output.decode() == f"cannot read {tmp_path}/none: No such file or directory\n"


def test_json(run: Run, folder: Path) -> None:
    path = folder / "vof.conf"
    path.write_text(BAD, encoding="utf-8")
    (folder / "initiator-name").touch()
    status, output, error = run("validate", "-o", "json")
    assert (status, error) == (Exit.USAGE, "")
    assert json.loads(output) == {
        "schema": 1,
        "valid": False,
        "files": [str(path)],
        "devices": ["disk0"],
        "mounts": [],
        "problems": [
            {
                "file": None,
                "line": None,
                "text": f"{folder}/initiator-name is empty; write an ivqn into it, or remove it",
            },
            {
                "file": str(path),
                "line": 3,
                "text": f"{path}:3: [device disk0] unknown key 'tprt'; did you mean 'tport'?",
            },
            {
                "file": str(path),
                "line": 4,
                "text": f"{path}:4: 'x' is neither [section] nor key = value",
            },
        ],
    }
