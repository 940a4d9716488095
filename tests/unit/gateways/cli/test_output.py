# SPDX-License-Identifier: BSD-3-Clause
"""What verbs write: tables and facts for people, JSON for programs."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vof.gateways.cli.output import (
    add_output_option,
    cell,
    wants_json,
    write_facts,
    write_json,
    write_json_line,
    write_table,
)

VOFCTL = (sys.executable, "-m", "vof", "vofctl")

Capture = pytest.CaptureFixture[str]


def test_the_option() -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_output_option(parser)
    assert not wants_json(parser.parse_args([]))
    assert wants_json(parser.parse_args(["-o", "json"]))
    assert not wants_json(parser.parse_args(["--output=text"]))
    with pytest.raises(argparse.ArgumentError):
        parser.parse_args(["-o", "yaml"])


def test_json(capsys: Capture) -> None:
    write_json({"name": "größe", "none": None, "list": [1]})
    text = capsys.readouterr().out
    assert json.loads(text) == {"schema": 1, "name": "größe", "none": None, "list": [1]}
    assert text.startswith('{\n  "schema": 1,\n  "name": "größe"')


def test_json_of_many(capsys: Capture) -> None:
    for number in range(2):
        write_json_line({"number": number, "name": "ö\n\udcff"})
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"schema": 1, "number": number, "name": "ö\n\udcff"} for number in range(2)
    ]
    assert lines[0].startswith('{"schema": 1, "number": 0, "name": "ö')


def test_json_of_what_cannot_be_written(capsys: Capture) -> None:
    write_json({"name": "a\udcff\n"})
    assert capsys.readouterr().out.encode()
    write_json({"name": "a\udcff\n"})
    assert json.loads(capsys.readouterr().out)["name"] == "a\udcff\n"


# What a program sees under systemd, at a terminal of another encoding, and at its most hostile.
LOCALES = {
    "C": {"LC_ALL": "C"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "ascii": {"PYTHONIOENCODING": "ascii:strict"},
}


@pytest.mark.parametrize("locale", LOCALES.values(), ids=LOCALES)
def test_any_name_in_any_locale(tmp_path: Path, locale: dict[str, str]) -> None:
    name, tvqn = "дискé", 'a/Диск № 1 é 磁盘 \U0001f600 "%s" #;\u202eאב'
    conf = tmp_path / "vof.conf"
    conf.write_text(f"[device {name}]\ntvqn = {tvqn}\n", encoding="utf-8")
    shown = []
    for form in ("json", "text"):
        done = subprocess.run(
            [*VOFCTL, "connect", "--dry-run", "-o", form, name],
            env={**os.environ, "VOF_CONFIG_DIR": str(tmp_path), **locale},
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        shown.append(done.stdout.decode(locale.get("PYTHONIOENCODING", "utf-8").split(":")[0]))
    found = json.loads(shown[0])
    assert (found["name"], f"tvqn={tvqn}" in found["nbdkit"]) == (name, True)
    assert "\u202e" not in shown[1]
    assert ("磁盘" in shown[1]) == (locale == LOCALES["C"])


def test_columns_of_letters_that_are_wide_or_none(capsys: Capture) -> None:
    write_table(("NAME", "SIZE"), [("磁盘", 1), ("e\u0301", 2), ("жжжж0", 3)])
    assert capsys.readouterr().out == "NAME   SIZE\n磁盘   1\ne\u0301      2\nжжжж0  3\n"


def test_table(capsys: Capture) -> None:
    write_table(("NAME", "SIZE", "RO"), [("disk0", 512, True), ("d", None, False)])
    assert capsys.readouterr().out == (
        "NAME   SIZE  RO\n"
        "disk0  512   yes\n"
        "d      -     no\n"
    )  # fmt: skip
    write_table(("NAME",), [])
    assert capsys.readouterr().out == ""


def test_facts(capsys: Capture) -> None:
    write_facts([("a", 1), ("b", "two\nlines")])
    assert capsys.readouterr().out == "a: 1\nb: two\\nlines\n"


def test_cells() -> None:
    assert [cell(value) for value in (None, True, False, 0, "x y", "\x1b[2J")] == [
        *("-", "yes", "no", "0", "x y", "\\x1b[2J")
    ]
