# SPDX-License-Identifier: BSD-3-Clause
"""Builds extension modules and stress programs with a sanitizer, outside the source tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build/sanitize"
NATIVE = ROOT / "gateway/native"
STRESS = ROOT / "tests/stress"

_FLAGS = ["-g", "-O1", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"]
_STRESS_FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-pthread"]
_QUEUE_UNITS = [
    "completion_parser",
    "deadlines",
    "driving",
    "ending",
    "fork",
    "handover",
    "in_flight",
    "lead",
    "queue",
    "receiving",
    "request",
    "room",
    "round",
    "sending",
    "statistics",
    "tcp",
    "waiting",
]

STRESS_PROGRAMS = {
    "initiator": [
        STRESS / "connections.c",
        STRESS / "peer.c",
        *(NATIVE / f"initiator/{unit}.c" for unit in _QUEUE_UNITS),
    ],
    "target": sorted((NATIVE / "target").rglob("*.c")),
}
"""What each is made of beside the file of its name."""


def build_package(kind: str, flags: str) -> Path:
    """Return the folder from which Python gets a ``vof`` built with ``-fsanitize=flags``."""
    tree = WORK / kind / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    made = shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "gateway", tree / "gateway", ignore=made)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    options = [f"-fsanitize={flags}", *_FLAGS]
    environment = {**os.environ, "CFLAGS": " ".join(options), "LDFLAGS": f"-fsanitize={flags}"}
    build = "import setuptools; setuptools.setup()"
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", build, "-q", "build_ext", "--inplace"],
        cwd=tree,
        env=environment,
        check=True,
        capture_output=True,
    )
    return tree / "gateway"


def build_stress(name: str, kind: str, flags: str) -> Path:
    """Return a stress program built with ``-fsanitize=flags``."""
    program = WORK / kind / f"stress-{name}"
    program.parent.mkdir(parents=True, exist_ok=True)
    compile_program(program, [STRESS / f"{name}.c", *STRESS_PROGRAMS[name]], flags)
    return program


def compile_program(program: Path, sources: Iterable[Path], flags: str) -> None:
    """Make a program of C with ``-fsanitize=flags``."""
    command = ["cc", *_STRESS_FLAGS, *_FLAGS, f"-fsanitize={flags}", f"-I{NATIVE}"]
    subprocess.run([*command, *map(str, sources), "-o", str(program)], check=True)


def runtime(library: str) -> str:
    """Return the path of a sanitizer's runtime."""
    command = ["cc", f"-print-file-name={library}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    path = Path(done.stdout.strip())
    if not path.is_absolute():
        raise FileNotFoundError(f"the compiler has no {library}")
    return str(path)
