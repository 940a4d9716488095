# SPDX-License-Identifier: BSD-3-Clause
"""How results look as text: on a terminal, and as Markdown for docs/performance.md."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.bench.processes import Unavailable
from tests.bench.results import GroupResult, Report, RowResult

BEGIN = "<!-- what `make bench ARGS='--table docs/performance.md'` writes begins here -->"
END = "<!-- and ends here -->"

NAME_WIDTH = 40
COLUMN_WIDTH = 14
RATIO_WIDTH = 14


def heading(group: GroupResult) -> str:
    text = f"{group.title:{NAME_WIDTH}.{NAME_WIDTH}}"
    for column in group.columns:
        text += f"{column:>{COLUMN_WIDTH}}"
        if column in group.ratios:
            text += f"{'ratio':>{RATIO_WIDTH}}"
    return text


def line(group: GroupResult, row: RowResult) -> str:
    """Return medians, and after a column the median ratio with what is hoped for."""
    text = f"{row.name:{NAME_WIDTH}}"
    for column in group.columns:
        text += f"{number(row.median(column)):>{COLUMN_WIDTH}}"
        if column in group.ratios:
            text += f"{_ratio(group, row, column):>{RATIO_WIDTH}}"
    return f"{text}  {row.unit}"


def extras(group: GroupResult) -> Iterator[str]:
    """Give the lines below a table: what ratios are of, CPU, memory, what is missing."""
    yield from _ratio_meaning(group)
    if _has_cpu(group):
        yield ""
        yield f"{'CPU seconds per million I/Os':{NAME_WIDTH}}" + "".join(
            f"{column:>{COLUMN_WIDTH}}" for column in group.columns
        )
        for row in group.rows:
            yield f"{row.name:{NAME_WIDTH}}" + "".join(
                f"{number(row.cpu(column)):>{COLUMN_WIDTH}}" for column in group.columns
            )
    if group.memory:
        yield ""
        yield "peak memory"
        for program, size in group.memory.items():
            yield f"{program:{NAME_WIDTH}}{size / (1 << 20):>{COLUMN_WIDTH}.1f}  MiB"
    if group.notes:
        yield ""
        yield from group.notes


def markdown(report: Report, picture: str = "") -> str:
    """Return everything, between the two lines by which it can be found again."""
    parts = [BEGIN, *markdown_about(report)]
    if picture:
        parts.append(f"![Ratios of the sides to nbdkit's proxy, and what is hoped for]({picture})")
    return "\n\n".join([*parts, *markdown_groups(report), END])


def markdown_about(report: Report) -> list[str]:
    return ["\n".join(f"    {text}" for text in report.about)]


def markdown_groups(report: Report) -> list[str]:
    """Return the groups as paragraphs, tables among them."""
    parts: list[str] = []
    for name, group in report.groups.items():
        parts.append(f"### {name}: {group.title}")
        if group.rows:
            parts.append("\n".join(_markdown_rows(group)))
        parts += _ratio_meaning(group)
        if _has_cpu(group):
            parts += ["CPU seconds per million I/Os:", "\n".join(_markdown_cpu(group))]
        if group.memory:
            sizes = (f"{what} {size / (1 << 20):.1f} MiB" for what, size in group.memory.items())
            parts.append(f"Peak memory: {', '.join(sizes)}.")
        if group.notes:
            parts.append("\n".join(f"- {note}" for note in group.notes))
    return parts


def check_table(path: Path, begin: str = BEGIN, end: str = END) -> None:
    """Raise Unavailable if a file has no place for the results; without a file there is."""
    if path.exists():
        _split(path, begin, end)


def write_table(path: Path, report: Report, picture: Path | None = None) -> None:
    """Write the results to a file of their own, or where another has its place for them."""
    link = os.path.relpath(picture, path.parent) if picture else ""
    write_between(path, BEGIN, markdown(report, link), END)


def write_between(path: Path, begin: str, text: str, end: str) -> None:
    """Write a text that has these two lines at its ends, in place of what lies between them."""
    before, after = _split(path, begin, end) if path.exists() else ("", "\n")
    path.write_text(before + text + after, encoding="utf-8")


def number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def ratio(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"


def _ratio(group: GroupResult, row: RowResult, column: str) -> str:
    text = ratio(row.ratio(*group.ratios[column]))
    threshold = row.thresholds.get(column)
    return text if threshold is None else f"{text} (≥ {threshold:g})"


def _ratio_meaning(group: GroupResult) -> list[str]:
    """Say what the ratios are of."""
    if not group.ratios:
        return []
    ofs = {of for of, _to in group.ratios.values()}
    tos = {to for _of, to in group.ratios.values()}
    what = f"{ofs.pop()}" if len(ofs) == 1 else "the column before it"
    whom = f"{tos.pop()}" if len(tos) == 1 else "the column before it"
    hoped = any(row.thresholds for row in group.rows)
    return [f"Ratio: {what} to {whom}{'; in parentheses what is hoped for' if hoped else ''}."]


def _has_cpu(group: GroupResult) -> bool:
    return any(row.cpu(column) is not None for row in group.rows for column in group.columns)


def _markdown_rows(group: GroupResult) -> Iterator[str]:
    cells = [""]
    for column in group.columns:
        cells.append(column)
        if column in group.ratios:
            cells.append("ratio")
    yield from markdown_table(
        [*cells, ""],
        ([row.name, *_markdown_cells(group, row), row.unit] for row in group.rows),
    )


def _markdown_cells(group: GroupResult, row: RowResult) -> Iterator[str]:
    for column in group.columns:
        yield number(row.median(column))
        if column in group.ratios:
            yield _ratio(group, row, column)


def _markdown_cpu(group: GroupResult) -> Iterator[str]:
    yield from markdown_table(
        ["", *group.columns],
        ([row.name, *(number(row.cpu(column)) for column in group.columns)] for row in group.rows),
    )


def markdown_table(head: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|---|{'---:|' * (len(head) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _split(path: Path, begin_line: str, end_line: str) -> tuple[str, str]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error
    before, begin, rest = text.partition(begin_line)
    _old, end, after = rest.partition(end_line)
    if not begin or not end:
        raise Unavailable(
            f"{path} has no place for results: add the lines {begin_line} and {end_line}"
        )
    return before, after
