# SPDX-License-Identifier: BSD-3-Clause
"""Options, and the lines about what is missing."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pytest

from tests.bench import bench, disk_rows, plot
from tests.bench.accounting import cpu_seconds, peak_memory, private_memory
from tests.bench.bench import failures, load, side_names
from tests.bench.processes import Unavailable, last_line, output_of
from tests.unit.bench.samples import group, report, row


def test_sides_may_be_spelt_with_hyphens() -> None:
    assert side_names("vof plain,qemu-nbd,nbdkit-nbd") == {"vof plain", "qemu-nbd", "nbdkit nbd"}


def test_unknown_side() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="no side is called 'nfs'"):
        side_names("tgt,nfs")


def test_a_column_missing_everywhere_is_one_line() -> None:
    results = group()
    for each in results.rows:
        each.failures["ours"] = "not built"
    assert failures(results) == ["no column ours: not built"]


def test_a_column_missing_in_some_rows() -> None:
    results = group()
    results.rows[1].failures["theirs"] = "fio failed"
    assert failures(results) == ["no theirs in writes: fio failed"]


def test_scaling_is_to_the_peak_of_each_round() -> None:
    results = [row(fabric=(50, 90)), row(fabric=(100, 80)), row(fabric=(90, 81))]
    (said,) = disk_rows.scaling(results, ["fabric", "tgt"])
    assert said == "fabric: the total of 64 initiators is 0.90 of the peak (threshold 0.9)"


def test_every_default_side_has_a_place() -> None:
    assert set(bench.ON_REQUEST) < set(bench.SIDES)
    thresholds = {
        column
        for case in (*disk_rows.NBD_CASES, *disk_rows.FABRIC_CASES)
        for column in case.thresholds
    }
    assert thresholds < set(bench.SIDES)


@pytest.mark.parametrize("text", ["", "[]", '{"about": [], "groups": {"nbd": {}}}'])
def test_a_file_that_is_no_report(tmp_path: Path, text: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(Unavailable, match="is not what --json writes"):
        load(path)


def test_no_matplotlib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(Unavailable, match=r"tools/setup\.sh bench"):
        plot.write_plot(tmp_path / "ratios.png", report())


def test_a_missing_program() -> None:
    with pytest.raises(Unavailable, match="vof-no-such-program is not installed"):
        output_of(["vof-no-such-program"])


def test_a_program_that_fails() -> None:
    with pytest.raises(Unavailable, match="sh failed: sorry"):
        output_of(["sh", "-c", "echo please; echo sorry >&2; exit 3"])


def test_last_line() -> None:
    assert last_line("one\rtwo\n\n") == "two"
    assert last_line(" \n") == "it did not say why"


def test_accounting_of_this_process() -> None:
    pid = os.getpid()
    assert cpu_seconds([pid]) > 0
    assert peak_memory(pid) >= private_memory(pid) > 1 << 20


def test_accounting_of_a_process_that_has_ended() -> None:
    with pytest.raises(Unavailable, match="has ended"):
        cpu_seconds([2**22 + 1])
