# SPDX-License-Identifier: BSD-3-Clause
"""What a row is, and how its numbers come about: sides run in turns, in another order each round.

Must not know what is measured, nor how results look: ``results`` keeps them, ``render`` and
``plot`` show them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from tests.bench.processes import Unavailable
from tests.bench.results import RowResult, Sample

Measure = Callable[[float], Sample]
"""Runs for that many seconds. Raises Unavailable when this side cannot do it."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Row:
    name: str
    unit: str
    sides: Mapping[str, Measure]
    """By column; a column may be missing here."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """By column: what people hope its ratio reaches."""


class Ratio(NamedTuple):
    """A ratio shown beside a column: that of one side to another."""

    of: str
    to: str


@dataclass(frozen=True)
class Table:
    rows: Sequence[Row]
    columns: Sequence[str]
    ratios: Mapping[str, Ratio]
    """By the column after which it is shown."""
    notes: Sequence[str] = ()
    interleaved: bool = False
    """All rows in each round, where it is the rows that are to be compared."""
    memory: Callable[[], Mapping[str, int]] | None = None
    """Gives the peak bytes of each program, once everything has run."""
    remarks: Callable[[Sequence[RowResult]], Sequence[str]] | None = None
    """Says what follows from all rows together."""


def ours_first(rows: Sequence[Row], notes: Sequence[str] = ()) -> Table:
    """Return a table whose first column is ours, with ratios of that to each of the others."""
    ours, *others = rows[0].sides
    ratios = {other: Ratio(ours, other) for other in others}
    return Table(rows, [ours, *others], ratios, notes)


def rotated(items: Sequence[_T], by: int) -> list[_T]:
    """Return the items in their cyclic order, beginning with another one."""
    shift = by % len(items) if items else 0
    return [*items[shift:], *items[:shift]]


def measured(table: Table, rounds: int, seconds: float) -> Iterator[RowResult]:
    """Measure the rows; give each as soon as it is complete.

    A side that fails in a row has no numbers there, but a reason.
    """
    groups = [list(table.rows)] if table.interleaved else [[row] for row in table.rows]
    for group in groups:
        results = [RowResult.of(row.name, row.unit, row.thresholds) for row in group]
        for turn in range(rounds):
            for row, result in zip(group, results, strict=True):
                sides = [side for side in table.columns if side in row.sides]
                for side in rotated(sides, turn):
                    _measure(row.sides[side], seconds, side, result)
        yield from results


def _measure(run: Measure, seconds: float, side: str, result: RowResult) -> None:
    if side in result.failures:
        return
    try:
        result.runs.setdefault(side, []).append(run(seconds))
    except (Unavailable, OSError) as reason:
        result.failures[side] = str(reason)
        result.runs.pop(side, None)
