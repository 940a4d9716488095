# SPDX-License-Identifier: BSD-3-Clause
"""Runs the fuzzers side by side: what `make fuzz` does.

    python -m tests.fuzz.run [--seconds N] [--keep]

What is found stays in build/fuzz/found and is where the next run begins. An input that does harm is
written to build/fuzz/harm and fails the run; once its cause is mended it belongs into the corpus,
under a name that says what it was. ``--keep`` puts the few inputs into the corpus that together
reach all that was reached.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.building import CORPUS, ROOT, SOURCES, build
from tests.fuzz.seeds import write_seeds

_WORK = ROOT / "build/fuzz"
_LONGEST_INPUT = 8192
_LONGEST_KEPT = 4095
_SECONDS_OF_ONE_INPUT = 300
"""Of the clock on the wall: a machine that has better things to do may let a fuzzer wait."""


def main() -> int:
    """Run what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("--seconds", type=int, default=600, help="of each fuzzer (default: 600)")
    parser.add_argument("--keep", action="store_true", help="put what was found into the corpus")
    arguments = parser.parse_args()
    write_seeds(_WORK / "seeds")
    programs = {harness: build(harness, _WORK, fuzzer=True) for harness in SOURCES}
    if not _fuzz(programs, arguments.seconds):
        return 1
    if arguments.keep:
        for harness, program in programs.items():
            _keep(harness, program)
    return 0


def _fuzz(programs: dict[str, Path], seconds: int) -> bool:
    """Run the fuzzers; return whether none found harm."""
    (_WORK / "harm").mkdir(parents=True, exist_ok=True)
    runs = {}
    for harness, program in programs.items():
        found = _WORK / "found" / harness
        found.mkdir(parents=True, exist_ok=True)
        command = [
            *("nice", "-n", "19", str(program)),
            f"-max_total_time={seconds}",
            f"-max_len={_LONGEST_INPUT}",
            f"-timeout={_SECONDS_OF_ONE_INPUT}",
            f"-artifact_prefix={_WORK}/harm/{harness}-",
            f"-report_slow_units={_SECONDS_OF_ONE_INPUT}",
            "-print_final_stats=1",
            *map(str, (found, CORPUS / harness, _WORK / "seeds" / harness)),
        ]
        log = (_WORK / f"{harness}.log").open("wb")
        runs[harness] = subprocess.Popen(command, stdout=log, stderr=log)
    good = [_report(harness, process) for harness, process in runs.items()]
    return all(good)


def _report(harness: str, process: subprocess.Popen[bytes]) -> bool:
    status = process.wait()
    path = _WORK / f"{harness}.log"
    log = path.read_text(encoding="utf-8", errors="replace")
    if status:
        sys.stderr.write(f"{log[-6000:]}\nfuzz: {harness} found harm; all of it: {path}\n")
        return False
    inputs = re.findall(r"stat::number_of_executed_units: (\d+)", log)[-1]
    places = re.findall(r"cov: (\d+)", log)[-1]
    sys.stdout.write(f"fuzz: {harness}: {inputs} inputs, {places} places reached, no harm\n")
    return True


def _keep(harness: str, program: Path) -> None:
    """Put a minimal set of short inputs into the corpus, beside those with a name of their own."""
    folder = CORPUS / harness
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as short:
        for path in (_WORK / "found" / harness).iterdir():
            if path.stat().st_size <= _LONGEST_KEPT:
                shutil.copy(path, short)
        for path in folder.iterdir():
            if re.fullmatch(r"[0-9a-f]{40}", path.name):
                shutil.move(path, Path(short, path.name))
        subprocess.run([program, "-merge=1", folder, short], check=True, capture_output=True)


if __name__ == "__main__":
    sys.exit(main())
