# SPDX-License-Identifier: BSD-3-Clause
"""Medians, ratios of the same round, and the way to JSON and back."""

from __future__ import annotations

import json

import pytest

from tests.bench.results import Report, RowResult, Sample
from tests.unit.bench.samples import report, row


def test_median() -> None:
    assert row(ours=(9, 1, 5)).median("ours") == 5


def test_no_runs_no_median() -> None:
    assert row().median("ours") is None
    assert row().cpu("ours") is None


def test_the_ratio_is_the_median_of_the_rounds_ratios() -> None:
    result = row(theirs=(100, 200, 400), ours=(200, 300, 400))
    assert result.ratios("ours", "theirs") == [2, 1.5, 1]
    # That of the medians would be the same here by chance, but for another round like the last.
    assert result.ratio("ours", "theirs") == 1.5
    assert row(theirs=(1, 10, 100), ours=(4, 10, 50)).ratio("ours", "theirs") == 1


def test_no_ratio_to_nothing() -> None:
    assert row(ours=(1, 2)).ratio("ours", "theirs") is None
    assert row(ours=(1, 2), theirs=(0, 0)).ratio("ours", "theirs") is None


def test_cpu_is_of_the_runs_that_know_it() -> None:
    result = RowResult.of("reads", "IOPS", {})
    result.runs["ours"] = [Sample(1, 4), Sample(1, None), Sample(1, 2)]
    assert result.cpu("ours") == 3


def test_json_and_back() -> None:
    data = json.loads(json.dumps(report().to_json()))
    assert Report.from_json(data) == report()
    reads = data["groups"]["nbd"]["rows"][0]
    assert reads["median_ratios"] == {"ours": 1.5}
    assert reads["medians"] == {"theirs": 200, "ours": 300}


def test_other_json() -> None:
    with pytest.raises(KeyError):
        Report.from_json({"runs": []})
