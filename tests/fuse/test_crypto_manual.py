# SPDX-License-Identifier: BSD-3-Clause
"""A new user's walk: the examples of vof-crypto(7) and vofctl-crypto(8), typed in as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuse.crypto_files import CryptoFiles, crypto
from tests.meta.tree import ROOT

__all__ = ["crypto"]

pytestmark = pytest.mark.fuse

PATIENCE = 60


def examples(page: str) -> list[str]:
    """Return the displays of the section EXAMPLES, as a reader sees them."""
    text = (ROOT / "man" / page).read_text(encoding="utf-8")
    section = re.split(r"^\.Sh ", text.partition("\n.Sh EXAMPLES\n")[2], flags=re.MULTILINE)[0]
    found = re.findall(r"^\.Bd [^\n]*\n(.*?)^\.Ed$", section, re.MULTILINE | re.DOTALL)
    return [display.replace("\\e", "\\") for display in found]


def walk(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euc", script],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def program(port: int) -> str:
    """Return the shell function that stands for the installed program and the default port."""
    return f'vofctl() {{ {sys.executable} -m vof vofctl "$@" --tport {port}; }}\n'


def test_files(crypto: CryptoFiles, tmp_path: Path) -> None:
    first, *rest = examples("vof-crypto.7")
    assert "S=/mnt/crypto0/sessions" in first
    assert len(rest) == 7
    first = first.replace("/mnt/", f"{crypto.mount.path}/")
    for display in rest:
        run = walk(first + display, tmp_path)
        assert run.returncode == 0, f"{display}\n{run.stdout}{run.stderr}"
    assert list(crypto.sessions.iterdir()) == []


def test_each_comparison_can_fail(crypto: CryptoFiles, tmp_path: Path) -> None:
    """With another key on one side: the walk would notice."""
    first, *rest = examples("vof-crypto.7")
    first = first.replace("/mnt/", f"{crypto.mount.path}/")
    swapped = 'openssl() { command openssl "${@//0001020304050607/0001020304050608}"; }\n'
    for display in rest:
        if "$K" not in display:
            continue
        run = walk(first + swapped + display, tmp_path)
        assert run.returncode == 1, display
        walk(f"{first}find $S -mindepth 1 -maxdepth 1 -exec rmdir {{}} +", tmp_path)


def test_input_that_is_refused(crypto: CryptoFiles, tmp_path: Path) -> None:
    """The page's own function fails, and gives nothing; and so does one that goes on regardless."""
    first, *_rest = examples("vof-crypto.7")
    first = first.replace("/mnt/", f"{crypto.mount.path}/")
    regardless = 'careless() ( exec 3<>"$1"; cat >&3; cat <&3 )\n'
    with crypto.session("sha256") as session:
        for name in ("run", "careless"):
            script = f"head -c 2000000 /dev/zero | {name} {session.path}/digest"
            run = walk(first + regardless + script, tmp_path)
            assert (run.returncode, run.stdout) == (1, "")
            assert "File too large" in run.stderr


def test_control_program(crypto: CryptoFiles, tmp_path: Path) -> None:
    every = examples("vofctl-crypto.8")
    first = next(number for number, display in enumerate(every) if display.startswith("T="))
    displays = every[first : first + 3]
    assert all("vofctl crypto " in display for display in displays)
    run = walk(program(crypto.target.address[1]) + "\n".join(displays), tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    digest = subprocess.run(
        ["sha256sum", tmp_path / "data"], capture_output=True, text=True, check=True
    )
    assert run.stdout.split()[-1] == digest.stdout.split()[0]
