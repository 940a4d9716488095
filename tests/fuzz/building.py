# SPDX-License-Identifier: BSD-3-Clause
"""Builds the fuzzers: with libFuzzer, or with a main that only replays inputs."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent
NATIVE = ROOT / "gateway/native"
CORPUS = FOLDER / "corpus"

SOURCES = {
    "completions": ["initiator/completion_parser.c"],
    "commands": [
        "target/block/pipes.c",
        "target/block/pool.c",
        "target/block/request.c",
        "target/block/store.c",
        "target/block/task.c",
        "target/buffers.c",
        "target/stream/command_parser.c",
        "target/stream/intake.c",
    ],
}
"""What each harness is about, in ``gateway/native``."""

_FLAGS = [
    "-std=c11",
    "-D_GNU_SOURCE",
    "-g",
    "-O1",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fno-omit-frame-pointer",
    "-fno-sanitize-recover=all",
    f"-I{NATIVE}",
]


def build(harness: str, folder: Path, *, fuzzer: bool) -> Path:
    """Return the program made of a harness: by clang with libFuzzer, or by cc to replay inputs."""
    program = folder / f"{harness}-{'fuzz' if fuzzer else 'replay'}"
    sources = [FOLDER / f"{harness}.c", *(NATIVE / source for source in SOURCES[harness])]
    if fuzzer:
        compiler = ["clang-14", "-fsanitize=fuzzer,address,undefined"]
    else:
        compiler = ["cc", "-fsanitize=address,undefined", "-pthread"]
        sources.append(FOLDER / "replay.c")
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([*compiler, *_FLAGS, *map(str, sources), "-o", str(program)], check=True)
    return program


def committed(harness: str) -> list[Path]:
    """Return the inputs of a harness that are worth keeping."""
    return sorted((CORPUS / harness).iterdir())
