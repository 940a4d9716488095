# SPDX-License-Identifier: BSD-3-Clause
"""What was measured: every run's number, medians of them, and medians of ratios.

Results outlive the run: they go to JSON and come back from it. Must not know how they came about,
nor how they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple, Self


class Sample(NamedTuple):
    """One run of one side."""

    value: float
    """What was reached, in the row's unit."""
    cpu: float | None = None
    """CPU seconds, user and system, of all the side's processes per million I/Os."""


@dataclass
class RowResult:
    name: str
    unit: str
    thresholds: dict[str, float]
    runs: dict[str, list[Sample]] = field(default_factory=dict)
    """By column, in the order of the rounds."""
    failures: dict[str, str] = field(default_factory=dict)
    """By column, why it has no runs."""

    @classmethod
    def of(cls, name: str, unit: str, thresholds: Mapping[str, float]) -> Self:
        return cls(name, unit, dict(thresholds))

    def median(self, column: str) -> float | None:
        runs = self.runs.get(column)
        return median(run.value for run in runs) if runs else None

    def cpu(self, column: str) -> float | None:
        known = [run.cpu for run in self.runs.get(column, ()) if run.cpu is not None]
        return median(known) if known else None

    def ratios(self, of: str, to: str) -> list[float]:
        """Return each round's ratio of one side to another; none if either did not run."""
        pairs = zip(self.runs.get(of, ()), self.runs.get(to, ()), strict=False)
        return [ours.value / theirs.value for ours, theirs in pairs if theirs.value]

    def ratio(self, of: str, to: str) -> float | None:
        ratios = self.ratios(of, to)
        return median(ratios) if ratios else None


@dataclass
class GroupResult:
    title: str
    columns: list[str]
    ratios: dict[str, tuple[str, str]]
    """By column: of which side to which."""
    rows: list[RowResult] = field(default_factory=list)
    memory: dict[str, int] = field(default_factory=dict)
    """Peak bytes by program."""
    notes: list[str] = field(default_factory=list)


@dataclass
class Report:
    about: list[str]
    """When, where and how it was measured, a line each."""
    groups: dict[str, GroupResult] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "about": self.about,
            "groups": {name: _group_to_json(group) for name, group in self.groups.items()},
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Raises KeyError, TypeError or AttributeError if it is not what ``to_json`` makes."""
        groups = {name: _group_from_json(group) for name, group in data["groups"].items()}
        return cls(list(data["about"]), groups)


def _group_to_json(group: GroupResult) -> dict[str, Any]:
    return {
        "title": group.title,
        "columns": group.columns,
        "ratios": {column: list(pair) for column, pair in group.ratios.items()},
        "rows": [_row_to_json(row, group.ratios) for row in group.rows],
        "memory": group.memory,
        "notes": group.notes,
    }


def _row_to_json(row: RowResult, ratios: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    return {
        "name": row.name,
        "unit": row.unit,
        "thresholds": row.thresholds,
        "runs": {
            side: [{"value": run.value, "cpu": run.cpu} for run in runs]
            for side, runs in row.runs.items()
        },
        "failures": row.failures,
        # For people who read the file; what is read back is made of the runs again.
        "medians": {side: row.median(side) for side in row.runs},
        "median_ratios": {column: row.ratio(*pair) for column, pair in ratios.items()},
    }


def _group_from_json(data: dict[str, Any]) -> GroupResult:
    rows = [
        RowResult(
            row["name"],
            row["unit"],
            dict(row["thresholds"]),
            {
                side: [Sample(run["value"], run["cpu"]) for run in runs]
                for side, runs in row["runs"].items()
            },
            dict(row["failures"]),
        )
        for row in data["rows"]
    ]
    ratios = {column: (of, to) for column, (of, to) in data["ratios"].items()}
    return GroupResult(
        data["title"],
        list(data["columns"]),
        ratios,
        rows,
        dict(data["memory"]),
        list(data["notes"]),
    )
