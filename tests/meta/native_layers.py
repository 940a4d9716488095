# SPDX-License-Identifier: BSD-3-Clause
"""Says which file of a folder of C uses which others: by their symbols, as compilers see them.

Not by what the sources say, where a macro, a declaration of one's own or a function in a header
could hide a call. Nothing is optimised away before it is looked at.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

_DEFINED = frozenset("BCDRTVW")


def uses(folder: Path, work: Path, *includes: Path) -> dict[str, set[str]]:
    """Return for each C file below ``folder`` those that define what it calls or refers to, all by
    their paths from there.

    The objects are made in ``work``, which is empty: no two files may have one name.
    """
    symbols = _symbols_of(folder, work, *includes)
    owner = {symbol: name for name, (defined, _wanted) in symbols.items() for symbol in defined}
    return {
        name: {owner[symbol] for symbol in wanted if symbol in owner}
        for name, (_defined, wanted) in symbols.items()
    }


def users_of(names: Iterable[str], folder: Path, work: Path, *includes: Path) -> set[str]:
    """Return those C files below ``folder`` that refer to any of ``names``, functions of others.

    The objects are made in ``work``, as above.
    """
    asked = frozenset(names)
    symbols = _symbols_of(folder, work, *includes)
    return {name for name, (_defined, wanted) in symbols.items() if wanted & asked}


def _symbols_of(folder: Path, work: Path, *includes: Path) -> dict[str, tuple[set[str], set[str]]]:
    sources = sorted(folder.rglob("*.c"))
    flags = ["-std=c11", "-D_GNU_SOURCE", "-O0", *(f"-I{path}" for path in includes)]
    subprocess.run(["cc", "-c", *flags, *map(str, sources)], cwd=work, check=True)
    return {str(path.relative_to(folder)): _symbols(work / f"{path.stem}.o") for path in sources}


def _symbols(compiled: Path) -> tuple[set[str], set[str]]:
    """Return the global symbols that an object defines, and those it wants from others."""
    command = ["nm", "--extern-only", "--format=posix", str(compiled)]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    defined: set[str] = set()
    wanted: set[str] = set()
    for line in listing.splitlines():
        symbol, kind = line.split()[:2]
        (defined if kind in _DEFINED else wanted).add(symbol)
    return defined, wanted
