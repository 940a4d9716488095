# SPDX-License-Identifier: BSD-3-Clause
"""What verbs write: tables and facts for people, JSON for programs."""

from __future__ import annotations

import argparse
import json

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
