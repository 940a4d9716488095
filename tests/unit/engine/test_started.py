# SPDX-License-Identifier: BSD-3-Clause
"""Requests of the native engine that are started and call back, and who drives its queue: the cases
of ``started.c``, over TCP's transport and one with buffers of its own, under both sanitizers."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.sanitize.building import NATIVE, compile_program

FOLDER = Path(__file__).parent
SOURCES = [
    FOLDER / "started.c",
    FOLDER / "slow_transport.c",
    *sorted((NATIVE / "initiator").glob("*.c")),
]
CASES = re.findall(r"^    CASE\((\w+)\),$", SOURCES[0].read_text(encoding="utf-8"), re.M)


@pytest.fixture(scope="module", params=["address,undefined", "thread"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("started") / "started"
    compile_program(made, SOURCES, request.param)
    return made


@pytest.mark.parametrize("transport", ["tcp", "slow"])
@pytest.mark.parametrize("case", CASES)
def test_started(program: Path, transport: str, case: str) -> None:
    command = ["setarch", "-R", str(program), transport, case]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"status {done.returncode}: {done.stderr[-4000:]}"


def test_there_are_cases() -> None:
    assert len(CASES) > 10
