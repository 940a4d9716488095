# SPDX-License-Identifier: BSD-3-Clause
"""What a row is, and how one comes about: alternating runs, medians, ratios."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

Measure = Callable[[float], float]
"""Runs for that many seconds; returns what was reached, in the row's unit."""

Runs = dict[str, list[float]]
"""Of each side, every run's number."""


class Row(NamedTuple):
    name: str
    unit: str
    sides: dict[str, Measure]
    """By column. The first is ours; the others are what it is put beside."""


class Table(NamedTuple):
    rows: Sequence[Row]
    """All with the same columns."""
    notes: Sequence[str] = ()


def measure(row: Row, rounds: int, seconds: float) -> Runs:
    """Run the sides alternately."""
    runs: Runs = {side: [] for side in row.sides}
    for _round in range(rounds):
        for side, run in row.sides.items():
            runs[side].append(run(seconds))
    return runs


def heading(row: Row) -> str:
    ours, *others = row.sides
    return f"{'':34}{ours:>10}" + "".join(f"{other:>15}{'ratio':>8}" for other in others)


def line(row: Row, runs: Runs) -> str:
    """Return medians, and after each column the median ratio of ours to it."""
    ours, *others = runs.values()
    text = f"{row.name:34}{_number(median(ours)):>10}"
    for other in others:
        ratio = median(a / b for a, b in zip(ours, other, strict=True))
        text += f"{_number(median(other)):>15}{_ratio(ratio):>8}"
    return f"{text}  {row.unit}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"
