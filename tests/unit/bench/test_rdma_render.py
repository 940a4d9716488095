# SPDX-License-Identifier: BSD-3-Clause
"""What is shown of measurements over RDMA."""

from pathlib import Path
from typing import Any

import pytest

from tests.bench import rdma_render
from tests.bench.processes import Unavailable
from tests.bench.results import GroupResult, Report, RowResult, Sample

ROW = "4 KiB random write, depth 1"
COST = dict.fromkeys(
    (
        *("initiator_user", "initiator_system", "target_user", "target_system"),
        *("user", "system", "softirq", "idle"),
    ),
    125.0,
)


def found() -> dict[str, Any]:
    group = GroupResult("over RDMA", ["eager", "keyed"], {"keyed": ("eager", "keyed")})
    row = RowResult.of(ROW, "IOPS", {"keyed": 1.25})
    row.runs = {"eager": [Sample(300)], "keyed": [Sample(200)]}
    group.rows.append(row)
    counts = {"reads": 0.0, "writes": 1.0, "sends": 1.0, "receives": 1.0}
    entry = {"name": "queue.work", "calls": 2.0, "microseconds": 17.0}
    return {
        "report": Report(["a day"], {"rdma": group}).to_json(),
        "measure_rows": {ROW: {"eager": COST}},
        "count_operations": {"4 KiB write": {"initiator": counts, "target": counts}},
        "profile": {"writes": {"initiator": [entry], "target": [entry, entry]}},
    }


def test_everything_is_shown() -> None:
    lines = rdma_render.text(found()).splitlines()
    assert "    a day" in lines
    assert f"| {ROW} | 300 | 200 | 1.50 (≥ 1.25) | IOPS |" in lines
    assert f"| {ROW} | eager |{' 125 |' * len(COST)}" in lines
    assert "| 4 KiB write | 0 | 1 | 1 | 1 | 0 | 1 | 1 | 1 |" in lines
    assert "| `queue.work` | 17 | 2 | `queue.work` | 17 | 2 |" in lines
    assert "|  |  |  | `queue.work` | 17 | 2 |" in lines


def test_place_is_its_own(tmp_path: Path) -> None:
    path = tmp_path / "performance.md"
    path.write_text(f"before\n{rdma_render.BEGIN}\nold\n{rdma_render.END}\nafter\n")
    for _again in range(2):
        rdma_render.write_table(path, found())
        text = path.read_text()
        assert text.startswith(f"before\n{rdma_render.BEGIN}\n")
        assert text.endswith(f"{rdma_render.END}\nafter\n")
        assert "old" not in text
        assert text.count(ROW) == 2


def test_file_without_a_place(tmp_path: Path) -> None:
    path = tmp_path / "other.md"
    path.write_text("nothing\n")
    with pytest.raises(Unavailable, match="no place"):
        rdma_render.write_table(path, found())
