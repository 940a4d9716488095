# SPDX-License-Identifier: BSD-3-Clause
"""The progress bar: drawn on a terminal, and nowhere else."""

from __future__ import annotations

import io
import sys

import pytest

from vof.gateways.cli.progress import Progress


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
            bar.show(fraction)
    _nothing, *lines = stream.getvalue().split("\r\x1b[K")
    assert [line.replace("#", "").count(".") for line in lines] == [23, 11, 0, 0]
    assert lines[0] == f"reading [{'.' * 23}]   0 %"
    assert lines[2] == f"reading [{'#' * 23}] 100 %"
    assert lines[3] == ""
    assert all(len(line) <= 40 for line in lines)


def test_where_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch, columns=5)
    with Progress("reading") as bar:
        bar.show(0.5)
    assert "reading []  50 %" in stream.getvalue()


def test_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with Progress("reading") as bar:
        bar.show(0.5)
    assert stream.getvalue() == ""
