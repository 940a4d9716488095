# SPDX-License-Identifier: BSD-3-Clause
"""Runs the native code under the sanitizers: what `make sanitize` does.

    python -m tests.sanitize.run [address] [thread]

For each kind it builds the package's extension modules a second time, below build/sanitize, runs
the tests that exercise them with the sanitizer's runtime loaded into every process, and before
them the stress programs of our own, which have no interpreter in them. Reports go to files,
whichever process they come from; any report fails the run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.sanitize.building import (
    ROOT,
    STRESS_PROGRAMS,
    WORK,
    build_package,
    build_stress,
    runtime,
)

_STRESS_SECONDS = 20
_SUPPRESSIONS = Path(__file__).parent

_COMMON = "exitcode=86"
"""What a process with a report ends with."""


@dataclass(frozen=True)
class Kind:
    """One way to build and run."""

    flags: str
    """For -fsanitize=."""
    library: str
    """The runtime, as the compiler names it."""
    options: dict[str, str]
    """Of the runtime, without where reports go."""
    tests: tuple[str, ...]
    selected: str = ""
    """Of those, as pytest's -k takes it."""


KINDS = {
    "address": Kind(
        "address,undefined",
        "libasan.so",
        {
            # The interpreter frees little at its end, so leaks are looked for in the stress
            # programs alone.
            "ASAN_OPTIONS": f"{_COMMON}:detect_leaks=0:verify_asan_link_order=0",
            "UBSAN_OPTIONS": f"{_COMMON}:print_stacktrace=1:halt_on_error=1",
        },
        (
            "tests/unit/fabric",
            "tests/unit/target/test_native_framing.py",
            "tests/unit/target/test_native_queue.py",
            "tests/faults",
            "tests/conformance",
            "tests/target/test_block_device.py",
            "tests/target/test_hostile.py",
            "tests/target/test_initiators.py",
            "tests/target/test_large_requests.py",
            "tests/target/test_slow_disk.py",
            # Not tests/nbd: Python does not start within nbdkit under this runtime, whether or not
            # there is anything of ours in it (glibc's setlocale waits for a lock for ever).
        ),
    ),
    "thread": Kind(
        "thread",
        "libtsan.so",
        {
            # Children of fork that end without another thread are what test_fork is about.
            "TSAN_OPTIONS": f"{_COMMON}:die_after_fork=0:"
            f"suppressions={_SUPPRESSIONS / 'thread.supp'}",
        },
        (
            "tests/unit/fabric",
            "tests/unit/target/test_native_queue.py",
            "tests/faults",
            "tests/conformance",
        ),
        # Those write and read the same bytes of a disk that is memory, through different queues.
        # What keeps them in order is the initiator, over TCP, which the sanitizer does not follow.
        selected="not memory",
    ),
}


def main() -> int:
    """Run what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(prog="make sanitize")
    parser.add_argument("kinds", nargs="*", help=f"of: {', '.join(KINDS)} (default: all)")
    arguments = parser.parse_args()
    kinds = arguments.kinds or list(KINDS)
    with ThreadPoolExecutor() as pool:
        return 0 if all(list(pool.map(_run, kinds))) else 1


def _run(name: str) -> bool:
    kind = KINDS[name]
    start = time.monotonic()
    package = build_package(name, kind.flags)
    stress = [build_stress(program, name, kind.flags) for program in STRESS_PROGRAMS]
    reports = WORK / name / "reports"
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir(parents=True)
    good = all(_stress(kind, program, reports) for program in stress)
    good = good and _tests(name, kind, package, reports)
    found = sorted(reports.iterdir())
    for path in found:
        sys.stderr.write(f"--- {path}\n{path.read_text(errors='replace')[:8000]}\n")
    good = good and not found
    seconds = time.monotonic() - start
    sys.stdout.write(f"sanitize: {name}: {'no report' if good else 'FAILED'} in {seconds:.0f} s\n")
    return good


def _options(kind: Kind, reports: Path) -> dict[str, str]:
    return {
        variable: f"{value}:log_path={reports / variable.lower()}"
        for variable, value in kind.options.items()
    }


def _stress(kind: Kind, program: Path, reports: Path) -> bool:
    environment = {**os.environ, **_options(kind, reports)}
    if "ASAN_OPTIONS" in environment:
        options = environment["ASAN_OPTIONS"].replace("detect_leaks=0", "detect_leaks=1")
        environment["ASAN_OPTIONS"] = options
    seed = str(time.time_ns() & 0xFFFFFFFF)
    command = ["setarch", "-R", "nice", str(program), str(_STRESS_SECONDS), seed]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    words = f"{done.stdout}{done.stderr}"
    sys.stdout.write(f"sanitize: {program.name} with seed {seed}: {words}")
    return done.returncode == 0


def _tests(name: str, kind: Kind, package: Path, reports: Path) -> bool:
    environment = {
        **os.environ,
        **_options(kind, reports),
        "LD_PRELOAD": runtime(kind.library),
        "PYTHONPATH": str(package),
        "VOF_SANITIZED": name,
        "VOF_FABRIC": "native",
    }
    command = ["setarch", "-R", "nice", sys.executable, "-m", "pytest", "-q", "-k", kind.selected]
    command += ["-p", "no:cacheprovider", "--timeout=300", *kind.tests]
    log = WORK / name / "tests.log"
    with log.open("wb") as file:
        done = subprocess.run(
            command, env=environment, stdout=file, stderr=file, cwd=ROOT, check=False
        )
    text = log.read_text(errors="replace")
    if done.returncode:
        sys.stderr.write(f"{text[-6000:]}\nsanitize: {name}: all of it: {log}\n")
    sys.stdout.write(f"sanitize: {name}: tests: {text.rstrip().splitlines()[-1]}\n")
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
