# SPDX-License-Identifier: BSD-3-Clause
"""The line and the bar: drawn on a terminal, and nowhere else."""

from __future__ import annotations

import io
import sys

import pytest

from vof.gateways.cli.progress import Line, Progress


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch, columns: int = 40) -> _Terminal:
    """Let standard error be a terminal; no fixture, for pytest sets it anew before the test."""
    stream = _Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", str(columns))
    return stream


def test_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch)
    with Progress("reading") as bar:
        for fraction in (0, 0.5, 2):
            bar.advance(fraction)
    _nothing, *lines = stream.getvalue().split("\r\x1b[K")
    assert [line.replace("#", "").count(".") for line in lines] == [23, 11, 0, 0]
    assert lines[0] == f"reading [{'.' * 23}]   0 %"
    assert lines[2] == f"reading [{'#' * 23}] 100 %"
    assert lines[3] == ""
    assert all(len(line) <= 40 for line in lines)


def test_where_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch, columns=5)
    with Progress("reading") as bar:
        bar.advance(0.5)
    assert "reading []  50 %" in stream.getvalue()


def test_a_line_has_no_more_than_the_terminal_is_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch, columns=10)
    with Line() as line:
        for text in ("twelve bytes", "twelve bytes", "short"):
            line.show(text)
    assert stream.getvalue() == "\r\x1b[Ktwelve by\r\x1b[Kshort\r\x1b[K"


def test_a_line_that_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch)
    with Line(wanted=False) as line:
        line.show("text")
    assert (line.shown, stream.getvalue()) == (False, "")


def test_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with Progress("reading") as bar:
        bar.advance(0.5)
    assert stream.getvalue() == ""
