# SPDX-License-Identifier: BSD-3-Clause
"""How what was found over RDMA looks: Markdown for docs/performance.md, and for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.bench.render import (
    markdown_about,
    markdown_groups,
    markdown_table,
    number,
    write_between,
)
from tests.bench.results import Report
from tests.guest.operations import KINDS

BEGIN = "<!-- what `make bench-rdma ARGS='--table docs/performance.md'` writes begins here -->"
END = "<!-- and what bench-rdma writes ends here -->"

SHOWN = 8
"""Functions of a profile that are shown."""

_COSTS = {
    "initiator_user": "initiator user",
    "initiator_system": "system",
    "target_user": "target user",
    "target_system": "system",
    "user": "both CPUs user",
    "system": "system",
    "softirq": "interrupts",
    "idle": "idle",
}


def text(found: Mapping[str, Any]) -> str:
    """Return everything; what it was made of is what ``--json`` writes."""
    report = Report.from_json(found["report"])
    parts = [
        *markdown_about(report),
        *markdown_groups(report),
        "Microseconds a request, by what the CPUs did:",
        "\n".join(_costs(found["measure_rows"])),
        "What either end posts for a request:",
        "\n".join(_operations(found["count_operations"])),
        "Functions that take most, under a profiler (microseconds a request, calls a request):",
    ]
    for name, ends in found["profile"].items():
        parts.append(f"{name}:")
        parts.append("\n".join(_profile(ends)))
    return "\n\n".join(parts)


def write_table(path: Path, found: Mapping[str, Any]) -> None:
    write_between(path, BEGIN, "\n\n".join([BEGIN, text(found), END]), END)


def _costs(rows: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Iterator[str]:
    yield from markdown_table(
        ["", "side", *_COSTS.values()],
        (
            [name, column, *(number(cost[part]) for part in _COSTS)]
            for name, columns in rows.items()
            for column, cost in columns.items()
        ),
    )


def _operations(requests: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Iterator[str]:
    ends = ("initiator", "target")
    yield from markdown_table(
        ["", *(f"{end} {kind}" for end in ends for kind in KINDS)],
        (
            [name, *(f"{counts[end][kind]:g}" for end in ends for kind in KINDS)]
            for name, counts in requests.items()
        ),
    )


def _profile(ends: Mapping[str, list[Mapping[str, Any]]]) -> Iterator[str]:
    def cells(entry: Mapping[str, Any] | None) -> list[str]:
        if entry is None:
            return ["", "", ""]
        return [f"`{entry['name']}`", number(entry["microseconds"]), f"{entry['calls']:.2g}"]

    columns = [[*ends[end][:SHOWN], *[None] * SHOWN][:SHOWN] for end in ("initiator", "target")]
    yield from markdown_table(
        ["initiator", "µs", "calls", "target", "µs", "calls"],
        ([*cells(ours), *cells(theirs)] for ours, theirs in zip(*columns, strict=True)),
    )
