# SPDX-License-Identifier: BSD-3-Clause
"""vofctl filter: what it tells; tests/nbd has the filter itself made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.gateways.cli.conftest import Run
from vof.gateways.cli import filter as nbdkit_filter


@pytest.mark.parametrize(
    ("verb", "function"), [("path", "filter_path"), ("install", "install_filter")]
)
def test_output(run: Run, monkeypatch: pytest.MonkeyPatch, verb: str, function: str) -> None:
    monkeypatch.setattr(nbdkit_filter, function, lambda: Path("/there/filter.so"))
    assert run("filter", verb) == (0, b"/there/filter.so\n", "")
    status, output, error = run("filter", verb, "-o", "json")
    assert (status, error) == (0, "")
    assert json.loads(output) == {"schema": 1, "path": "/there/filter.so"}
