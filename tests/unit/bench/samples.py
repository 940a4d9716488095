# SPDX-License-Identifier: BSD-3-Clause
"""Results made by hand, with numbers that are easy to check."""

from __future__ import annotations

from collections.abc import Sequence

from tests.bench.results import GroupResult, Report, RowResult, Sample


def runs(values: Sequence[float], cpu: float | None = None) -> list[Sample]:
    return [Sample(value, cpu) for value in values]


def row(name: str = "reads", **sides: Sequence[float]) -> RowResult:
    result = RowResult.of(name, "IOPS", {"ours": 1.5})
    for side, values in sides.items():
        result.runs[side] = runs(values, cpu=2.5)
    return result


def group() -> GroupResult:
    """Two rows; the other side is missing in the second."""
    return GroupResult(
        "a disk",
        ["theirs", "ours"],
        {"ours": ("ours", "theirs")},
        [
            row("reads", theirs=(100, 200, 400), ours=(200, 300, 400)),
            row("writes", ours=(1.5, 1.5, 1.5)),
        ],
        {"target": 3 << 20},
        ["no theirs in writes: it does not write"],
    )


def report() -> Report:
    return Report(["a day, a machine", "3 rounds"], {"nbd": group()})
