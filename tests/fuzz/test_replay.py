# SPDX-License-Identifier: BSD-3-Clause
"""The fuzzers' corpus and seeds, replayed under the sanitizers that gcc has. `make fuzz` looks for
more."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.fuzz.building import SOURCES, build, committed
from tests.fuzz.seeds import write_seeds

LARGEST_INPUT = 4096
MOST_INPUTS = 200


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeds")
    write_seeds(folder)
    return folder


@pytest.mark.parametrize("harness", SOURCES)
def test_no_input_does_harm(harness: str, seeds: Path, tmp_path: Path) -> None:
    program = build(harness, tmp_path, fuzzer=False)
    inputs = [*committed(harness), *sorted((seeds / harness).iterdir())]
    assert inputs
    done = subprocess.run([program, *inputs], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stderr.count("replaying") == len(inputs)
    refused = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("violation")}
    assert refused, "no input of the corpus breaks the protocol"
    # What other programs said to each other about a disk is fine: if not, the seed is no use.
    assert not [path for path in refused if "-blk-" in Path(path).name]


@pytest.mark.parametrize("harness", SOURCES)
def test_the_corpus_is_small(harness: str) -> None:
    sizes = [path.stat().st_size for path in committed(harness)]
    assert 0 < len(sizes) < MOST_INPUTS
    assert max(sizes) < LARGEST_INPUT


@pytest.mark.parametrize("harness", SOURCES)
def test_there_are_seeds(harness: str, seeds: Path) -> None:
    sizes = [path.stat().st_size for path in (seeds / harness).iterdir()]
    assert len(sizes) > 50
    assert sum(sizes) > 100_000
