# SPDX-License-Identifier: BSD-3-Clause
"""The files that are copied to file systems in a guest, and how a copy is judged.

Host and guest see the same originals, so that a test can take their checksums by itself.
"""

import hashlib
import json
import os
from pathlib import Path

from tests.guest.steps import expect

TREE = Path(os.__file__).parent
"""What is copied: every other source file of Python's own library, several hundred."""

STAGED = Path("/run/tree")
"""The originals as the guest copies them."""


def sources(tree: Path) -> list[Path]:
    """Those of a tree that count here: what compiles them comes and goes."""
    return sorted(path for path in tree.rglob("*.py") if path.is_file() and not path.is_symlink())


def chosen() -> list[Path]:
    return sources(TREE)[::2]


def digests(tree: Path, files: list[Path]) -> dict[str, str]:
    """The checksums of files by their names within the tree."""
    return {
        str(path.relative_to(tree)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def summary(checksums: dict[str, str]) -> str:
    """One checksum for all: host and guest agree on it only if they agree on every file."""
    return hashlib.sha256(json.dumps(checksums, sort_keys=True).encode()).hexdigest()


wanted: dict[str, str] = {}
"""What the checksums of every copy have to be."""


def stage() -> int:
    """Bring the files into the guest's memory, for the host's come slowly; how many they are."""
    for source in chosen():
        goal = STAGED / source.relative_to(TREE)
        goal.parent.mkdir(parents=True, exist_ok=True)
        goal.write_bytes(source.read_bytes())
    wanted.update(digests(STAGED, sources(STAGED)))
    return len(wanted)


def compare(folder: Path) -> str:
    """The summary of a copy. StepError naming the files that are not what they should be."""
    found = digests(folder, sources(folder))
    wrong = [name for name in wanted | found if wanted.get(name) != found.get(name)]
    expect(not wrong, f"{len(wrong)} of {len(wanted)} files differ: {', '.join(wrong[:10])}")
    return summary(found)


def copy(folder: Path) -> int:
    """Copy the tree, every tenth file with fsync; how many those were."""
    synced = 0
    for number, source in enumerate(sources(STAGED)):
        goal = folder / source.relative_to(STAGED)
        goal.parent.mkdir(parents=True, exist_ok=True)
        with goal.open("wb") as file:
            file.write(source.read_bytes())
            if number % 10 == 0:
                file.flush()
                os.fsync(file.fileno())
                synced += 1
    return synced
