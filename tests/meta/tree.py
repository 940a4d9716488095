# SPDX-License-Identifier: BSD-3-Clause
"""The files of this project, for the tests that read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PACKAGE = ROOT / "gateway" / "vof"

# Where our files are. Everything else at the top is made by tools, or has no source in it.
_FOLDERS = (".ci", "gateway", "man", "nbdkit-plugin", "tests", "tools", "udev", "wireshark")
_FILES = ("Makefile", "pyproject.toml")

_SOURCE_SUFFIXES = frozenset(
    (".py", ".pyi", ".pyx", ".pxd", ".c", ".h", ".lua", ".sh", ".toml", ".rules", ".service")
) | {".pxi", ".socket"}
_PAGE_SUFFIXES = frozenset(f".{section}" for section in range(1, 9))
_OTHERS = frozenset(("run", "Makefile"))


def sources(root: Path = ROOT) -> list[Path]:
    """Return what people wrote, but for prose and data."""
    known = _SOURCE_SUFFIXES | _PAGE_SUFFIXES
    found = [root / name for name in _FILES if (root / name).exists()]
    found += (
        path
        for path in _walk(root / folder for folder in _FOLDERS)
        if path.suffix in known or path.name in _OTHERS
    )
    return sorted(found)


def python_sources(root: Path = ROOT) -> list[Path]:
    """Return the Python modules and programs among the sources."""
    return [path for path in sources(root) if path.suffix == ".py"]


def named(path: Path) -> str:
    """Return a path as a person would write it."""
    return str(path.relative_to(ROOT))


def _walk(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        for path in folder.rglob("*"):
            made = any(part == "__pycache__" or part.endswith(".egg-info") for part in path.parts)
            # What Cython makes of a binding.
            made |= path.suffix == ".c" and path.with_suffix(".pyx").exists()
            if path.is_file() and not made:
                yield path
