# SPDX-License-Identifier: BSD-3-Clause
"""`make demo`, on this machine's kernel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.meta.tree import ROOT

pytestmark = [pytest.mark.nbdkit, pytest.mark.fuse]


def test_it_shows_all_and_leaves_nothing(tmp_path: Path) -> None:
    """It looks itself for what it leaves, and fails then."""
    folder = tmp_path / "tree"
    folder.mkdir()
    for number in range(20):
        (folder / str(number)).write_bytes(os.urandom(1000 * number))
    done = subprocess.run(
        [sys.executable, "tools/demo.py", "--tree", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All 20 files" in done.stdout
    assert "Verified OK" in done.stdout
    assert "What each of them wrote, all of them read." in done.stdout
    assert "Nothing is left behind" in done.stdout
