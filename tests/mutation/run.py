# SPDX-License-Identifier: BSD-3-Clause
"""Breaks one check at a time, in a copy of this checkout, and says which test fell.

`python -m tests.mutation.run` works on all mutants, `--only WORD` on those with a word in their
names. Run by hand: it takes a minute a mutant. Ends with status 1 where one lived.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.mutation.mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]

PATIENCE = 600
"""Seconds for the tests of one mutant. One that hangs them is found, too."""

_LEFT_OUT = shutil.ignore_patterns(".venv", ".git", "build", ".*_cache", ".hypothesis")


def broken(text: str, mutant: Mutant) -> str:
    """Return the file's text with its check broken. Raises ValueError where that is not there."""
    if text.count(mutant.before) != 1:
        raise ValueError(f"{mutant.path} has {text.count(mutant.before)} of {mutant.before!r}")
    return text.replace(mutant.before, mutant.after)


def fallen(copy: Path, mutant: Mutant) -> str | None:
    """Return what noticed the mutant, None where nothing did."""
    environment = os.environ | {"PYTHONPATH": f"{copy}/gateway:{copy}/nbdkit-plugin"}
    if not mutant.path.endswith(".py") and compile_native(copy):
        return "the compiler"
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    command += ["-m", "not guest and not soak"]
    for tests in mutant.tests:
        try:
            run = subprocess.run(
                [*command, tests],
                cwd=copy,
                env=environment,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"{tests}: it hangs"
        if run.returncode:
            found = re.search(r"^(?:FAILED|ERROR) (\S+)", run.stdout, re.MULTILINE)
            return found.group(1) if found else f"{tests}: exit status {run.returncode}"
    return None


def compile_native(copy: Path) -> int:
    """Compile the native parts where they lie; return the status of that."""
    build = "import setuptools; setuptools.setup()"
    command = [sys.executable, "-c", build, "-q", "build_ext", "--inplace"]
    return subprocess.run(command, cwd=copy, capture_output=True, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description="break checks and see which test falls")
    parser.add_argument("--only", default="", help="a word in the names of those to try")
    only = parser.parse_args().only
    lived = 0
    print("| check | noticed by |\n|---|---|")
    with tempfile.TemporaryDirectory(prefix="vof-mutation-") as folder:
        copy = Path(folder, "vof")
        shutil.copytree(ROOT, copy, ignore=_LEFT_OUT, symlinks=True)
        for mutant in MUTANTS:
            if only not in mutant.name:
                continue
            path = copy / mutant.path
            text = path.read_text("utf-8")
            path.write_text(broken(text, mutant), "utf-8")
            found = fallen(copy, mutant)
            path.write_text(text, "utf-8")
            if not mutant.path.endswith(".py"):
                compile_native(copy)
            lived += found is None
            print(f"| {mutant.name} | {found or '**nothing**'} |", flush=True)
    return int(lived > 0)


if __name__ == "__main__":
    sys.exit(main())
