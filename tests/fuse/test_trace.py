# SPDX-License-Identifier: BSD-3-Clause
"""A mount's trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuse.conftest import MakeMount
from tests.fuse.mounting import vof_mount
from tests.support.scripted_rng import RNG_TVQN, ScriptedRng

pytestmark = pytest.mark.fuse


@pytest.fixture(autouse=True)
def unforced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOF_FABRIC", "")


def test_reads_are_shown(mount: MakeMount, rng: ScriptedRng, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    made = mount(RNG_TVQN, tport=rng.port, trace=path)
    with (made / "rng0/random").open("rb", buffering=0) as file:
        assert len(file.read(64)) > 0
    made.unmount()
    lines = path.read_text().splitlines()
    assert any("→ connect" in line and f"tvqn {RNG_TVQN}" in line for line in lines)
    assert any(" vq0   → vring " in line for line in lines)
    assert any(" vq0   ← vring " in line and " ok" in line for line in lines)
    assert any(" closed " in line for line in lines)


def test_a_file_that_cannot_be_made(folder: Path, rng: ScriptedRng) -> None:
    done = vof_mount("-o", f"tport={rng.port},trace={folder}/no/t", RNG_TVQN, str(folder))
    assert (done.returncode, done.stderr) == (
        1,
        f"vof-mount: cannot write the trace to {folder}/no/t: No such file or directory\n",
    )
