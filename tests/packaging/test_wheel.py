# SPDX-License-Identifier: BSD-3-Clause
"""What `python -m build` makes: a wheel with the compiled parts inside, which work."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

COMPILED = (
    "vof/engine/native.",
    "vof/gateways/fuse/libfuse.",
    "vof/gateways/process.",
    "vof/target/native.",
)
SHARED = ("vof_plugin.py", "nbdkit-vof-filter.c", "fast_path.h", "vof.lua")


def run(*command: object, **options: object) -> str:
    done = subprocess.run(
        [str(each) for each in command],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        **options,  # type: ignore[call-overload]
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the source distribution of the files that git knows, so that nothing is in it by
    chance."""
    source = tmp_path_factory.mktemp("source")
    archive = source / "files.tar"
    run("git", "-C", ROOT, "-c", "safe.directory=*", "archive", "-o", archive, "HEAD")
    with tarfile.open(archive) as files:
        files.extractall(source / "tree")
    made = tmp_path_factory.mktemp("made")
    run(sys.executable, "-m", "build", "--no-isolation", "-o", made, source / "tree")
    [wheel] = made.glob("*.whl")
    return wheel


def test_the_compiled_parts_are_in_it(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for part in COMPILED:
        assert [name for name in names if name.startswith(part) and name.endswith(".so")]


def test_what_other_programs_load_is_in_it(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for file in SHARED:
        assert [name for name in names if name.endswith(f"/data/share/vof/{file}")]
    pages = {path.name for path in (ROOT / "man").iterdir()}
    assert pages == {Path(name).name for name in names if "/share/man/" in name}


def test_it_works_where_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    """Without its dependencies, which are not ours to install here: the native parts need none."""
    place = tmp_path / "installed"
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", place, wheel)
    code = (
        "import vof.engine.native as engine, vof.target.native as target;"
        "print(engine.__file__); print(target.__file__)"
    )
    output = run(
        "/usr/bin/python3", "-I", "-c", f"import sys; sys.path.insert(0, {str(place)!r}); {code}"
    )
    assert all(line.startswith(str(place)) for line in output.splitlines())
