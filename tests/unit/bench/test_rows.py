# SPDX-License-Identifier: BSD-3-Clause
"""Whose turn it is, and what becomes of a side that fails."""

from __future__ import annotations

import pytest

from tests.bench.processes import Unavailable
from tests.bench.results import Sample
from tests.bench.rows import Measure, Ratio, Row, Table, measured, ours_first, rotated


class Turns:
    """Sides that note when it was their turn."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    def side(self, name: str, value: float = 1.0) -> Measure:
        def run(_seconds: float) -> Sample:
            self.taken.append(name)
            return Sample(value)

        return run

    def row(self, name: str, *sides: str) -> Row:
        return Row(name, "IOPS", {side: self.side(f"{name}{side}") for side in sides})


@pytest.fixture
def turns() -> Turns:
    return Turns()


def test_rotated() -> None:
    assert rotated("abc", 0) == ["a", "b", "c"]
    assert rotated("abc", 2) == ["c", "a", "b"]
    assert rotated("abc", 4) == ["b", "c", "a"]
    assert rotated("", 1) == []


def test_each_round_begins_with_another_side(turns: Turns) -> None:
    table = ours_first([turns.row("x", "A", "B", "C")])
    assert len(list(measured(table, 4, 0.1))) == 1
    assert "".join(turns.taken).replace("x", "") == "ABCBCACABABC"


def test_row_after_row(turns: Turns) -> None:
    list(measured(ours_first([turns.row("x", "A", "B"), turns.row("y", "A", "B")]), 2, 0.1))
    assert turns.taken == ["xA", "xB", "xB", "xA", "yA", "yB", "yB", "yA"]


def test_interleaved_rows(turns: Turns) -> None:
    rows = [turns.row("x", "A", "B"), turns.row("y", "A", "B")]
    results = list(measured(Table(rows, ["A", "B"], {}, interleaved=True), 2, 0.1))
    assert turns.taken == ["xA", "xB", "yA", "yB", "xB", "xA", "yB", "yA"]
    assert [result.name for result in results] == ["x", "y"]


def test_a_column_may_be_missing_in_a_row(turns: Turns) -> None:
    rows = [turns.row("x", "A", "B"), turns.row("y", "A")]
    _x, y = measured(Table(rows, ["A", "B"], {}), 1, 0.1)
    assert y.median("B") is None
    assert not y.failures


@pytest.mark.parametrize("error", [Unavailable("no such thing"), OSError("no such thing")])
def test_a_side_that_fails_is_not_asked_again(turns: Turns, error: Exception) -> None:
    calls = 0

    def fail(_seconds: float) -> Sample:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise error
        return Sample(1)

    row = Row("x", "IOPS", {"A": fail, "B": turns.side("B")})
    (result,) = measured(ours_first([row]), 4, 0.1)
    assert calls == 2
    assert result.failures == {"A": "no such thing"}
    assert "A" not in result.runs
    assert len(result.runs["B"]) == 4


def test_ours_first(turns: Turns) -> None:
    table = ours_first([turns.row("x", "ours", "a", "b")], ["a note"])
    assert table.columns == ["ours", "a", "b"]
    assert table.ratios == {"a": Ratio("ours", "a"), "b": Ratio("ours", "b")}
    assert table.notes == ["a note"]
