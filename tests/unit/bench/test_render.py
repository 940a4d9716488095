# SPDX-License-Identifier: BSD-3-Clause
"""Tables: on the terminal, and in their place in a document."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.processes import Unavailable
from tests.bench.render import BEGIN, END, check_table, extras, line, markdown, write_table
from tests.bench.render import heading as heading_of
from tests.bench.render import number as text_of
from tests.bench.results import Report
from tests.unit.bench.samples import group, report


def test_line() -> None:
    results = group()
    reads, writes = (line(results, row).split() for row in results.rows)
    assert reads == ["reads", "200", "300", "1.50", "(≥", "1.5)", "IOPS"]
    assert writes == ["writes", "-", "1.5", "-", "(≥", "1.5)", "IOPS"]


def test_columns_stand_below_their_names() -> None:
    results = group()
    end = heading_of(results).index("theirs") + len("theirs")
    assert all(line(results, row)[end - 1] in "0-" for row in results.rows)


def test_extras() -> None:
    text = "\n".join(extras(group()))
    assert "Ratio: ours to theirs; in parentheses what is hoped for." in text
    assert "CPU seconds per million I/Os" in text
    assert "target" in text
    assert "3.0  MiB" in text
    assert text.endswith("no theirs in writes: it does not write")


def test_nothing_is_said_of_cpu_that_nobody_counted() -> None:
    results = group()
    for row in results.rows:
        row.runs = {
            side: [run._replace(cpu=None) for run in runs] for side, runs in row.runs.items()
        }
    assert "CPU" not in "\n".join(extras(results))
    assert "CPU" not in markdown(Report([], {"nbd": results}))


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (12345.6, "12,346"), (1.234, "1.23"), (0.0123, "0.0123")]
)
def test_numbers(value: float | None, text: str) -> None:
    assert text_of(value) == text


def test_markdown() -> None:
    lines = markdown(report()).splitlines()
    assert lines[0] == BEGIN
    assert lines[-1] == END
    assert "    a day, a machine" in lines
    assert "|  | theirs | ours | ratio |  |" in lines
    assert "| reads | 200 | 300 | 1.50 (≥ 1.5) | IOPS |" in lines
    assert "| reads | 2.5 | 2.5 |" in lines
    assert "Peak memory: target 3.0 MiB." in lines
    assert "- no theirs in writes: it does not write" in lines


def test_rows_of_a_table_are_of_one_width() -> None:
    rows = [text for text in markdown(report()).splitlines() if text.startswith("|")]
    assert {text.count("|") for text in rows[:4]} == {6}


def test_only_its_place_in_a_document_is_written(tmp_path: Path) -> None:
    path = tmp_path / "performance.md"
    path.write_text(f"# Before\n\n{BEGIN}\nold\n{END}\n\n# After\n")
    check_table(path)
    write_table(path, report())
    write_table(path, report())
    text = path.read_text()
    assert text.startswith(f"# Before\n\n{BEGIN}\n")
    assert text.endswith(f"{END}\n\n# After\n")
    assert "old" not in text
    assert text.count(BEGIN) == 1


def test_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "performance.md"
    write_table(path, report(), tmp_path / "ratios.png")
    assert "](ratios.png)\n" in path.read_text()


def test_a_new_document(tmp_path: Path) -> None:
    path = tmp_path / "new.md"
    check_table(path)
    write_table(path, report())
    assert path.read_text() == f"{markdown(report())}\n"


@pytest.mark.parametrize("text", ["", f"{BEGIN}\n", f"{END}\n{BEGIN}\n"])
def test_a_document_without_a_place(tmp_path: Path, text: str) -> None:
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(Unavailable, match="has no place for results"):
        check_table(path)


def test_the_document_has_a_place() -> None:
    check_table(Path(__file__).resolve().parents[3] / "docs" / "performance.md")
