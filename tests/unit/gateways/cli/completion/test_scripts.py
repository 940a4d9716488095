# SPDX-License-Identifier: BSD-3-Clause
"""Completion in real shells: what they make of the beginnings of command lines."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.gateways.cli.conftest import Run
from vof.gateways.cli.arguments import arguments
from vof.gateways.cli.completion.tree import read
from vof.initiator.parameters import TRANSPORTS

PATIENCE = 60.0

CONFIG = """\
[defaults]
tport = 7
 [ device  disk0 ]
tvqn = x
[device not a name]
[mount m]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VOF_CONFIG_DIR", str(tmp_path))
    (tmp_path / "vof.conf").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "vof.conf.d").mkdir()
    text = "[device rng0]\ntvqn = y\n"
    (tmp_path / "vof.conf.d" / "a.conf").write_text(text, encoding="utf-8")
    (tmp_path / "hosts").mkdir()
    (tmp_path / "hostname").touch()
    return tmp_path


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_every_verb_and_option_is_in_it(run: Run, shell: str) -> None:
    status, output, error = run("completion", shell)
    assert (status, error) == (0, "")
    words = set(re.findall(r"--?[\w-]+", output.decode()))
    known = read(arguments())
    for verb in known.walk():
        assert {name for option in verb.options for name in option.names} <= words
    assert len(list(known.walk())) > 10


def test_another_shell(run: Run) -> None:
    status, _output, error = run("completion", "fish")
    assert (status, "unknown value 'fish'" in error) == (2, True)


class TestBash:
    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("vofctl i", {"info"}),
            ("vofctl --v", {"--version"}),
            ("vofctl crypto ", {"encrypt", "decrypt", "sign", "verify", "digest", "algorithms"}),
            ("vofctl crypto e", {"encrypt"}),
            ("vofctl crypto encrypt --al", {"--algorithm"}),
            ("vofctl crypto encrypt --mode s", {"session", "stateless"}),
            ("vofctl crypto digest --key", {"--key-file"}),
            ("vofctl info ", {"disk0", "rng0"}),
            ("vofctl info d", {"disk0"}),
            ("vofctl info --tvqn r", {"rng0"}),
            ("vofctl info --tvqn = r", {"rng0"}),
            ("vofctl info --tvqn =", {"disk0", "rng0"}),
            ("vofctl info --taddr ", set()),
            ("vofctl info --transport ", set(TRANSPORTS)),
            ("vofctl info --tvqn crypto --ou", {"--output"}),
            ("vofctl bench disk0 -o ", {"text", "json"}),
            ("vofctl completion ", {"bash", "zsh"}),
            ("vofctl validate HERE/host", {"HERE/hosts", "HERE/hostname"}),
            ("vofctl filter path ", {"-h", "--help", "-o", "--output"}),
            ("vofctl nonsense --tv", set()),
        ],
    )
    def test_what_it_offers(
        self, run: Run, folder: Path, tmp_path: Path, line: str, expected: set[str]
    ) -> None:
        script = tmp_path / "completion"
        script.write_bytes(run("completion", "bash")[1])
        words = line.replace("HERE", str(tmp_path)).split(" ")
        program = (
            "set -u; compopt() { :; }; source $1; shift; "
            'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _vofctl; '
            r"""printf '%s\n' "${COMPREPLY[@]}" """
        )
        done = subprocess.run(
            ["bash", "--norc", "-c", program, "bash", script, *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE,
        )
        assert done.stderr == ""
        assert set(done.stdout.replace(str(tmp_path), "HERE").split()) == expected

    def test_without_a_configuration(self, run: Run, tmp_path: Path) -> None:
        self.test_what_it_offers(run, tmp_path, tmp_path, "vofctl info ", set())


class _Zsh:
    """An interactive zsh with the completion loaded, typed at over a terminal."""

    def __init__(self, folder: Path) -> None:
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.environ.update(TERM="dumb", PS1="> ", COLUMNS="200")
            os.execvp("zsh", ["zsh", "-f", "-i"])
        # Split, so that its echo is not taken for it.
        ready = f"fpath=({shlex.quote(str(folder))} $fpath); autoload -U compinit; compinit -u -D"
        self.type(f"unsetopt zle_bracketed_paste; {ready}; echo RE''ADY\n")
        self.wait_for("READY")

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def wait_for(self, text: str) -> None:
        """Wait until the terminal shows it."""
        shown = b""
        end = time.monotonic() + PATIENCE
        while text.encode() not in shown:
            ready, _writable, _failed = select.select([self._terminal], [], [], PATIENCE)
            assert ready, shown
            assert time.monotonic() < end, shown
            shown += os.read(self._terminal, 1 << 16)

    def close(self) -> None:
        os.close(self._terminal)
        os.waitpid(self._pid, 0)


@pytest.fixture
def zsh(run: Run, folder: Path, tmp_path: Path) -> Iterator[_Zsh]:
    if shutil.which("zsh") is None:
        pytest.skip("missing: zsh; `make setup` installs it")
    (tmp_path / "_vofctl").write_bytes(run("completion", "zsh")[1])
    shell = _Zsh(tmp_path)
    yield shell
    shell.close()


class TestZsh:
    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("vofctl inf", "vofctl info"),
            ("vofctl crypto enc", "crypto encrypt"),
            ("vofctl crypto encrypt --key", "encrypt --key-file"),
            ("vofctl crypto encrypt --mode sta", "--mode stateless"),
            ("vofctl info di", "info disk0"),
            ("vofctl info --tvqn r", "--tvqn rng0"),
            ("vofctl info disk0 --dialect pro", "--dialect proposal"),
            ("vofctl bench disk0 -o j", "-o json"),
            ("vofctl completion z", "completion zsh"),
            ("vofctl validate HERE/hostna", "/hostname"),
        ],
    )
    def test_what_it_completes(self, zsh: _Zsh, tmp_path: Path, line: str, expected: str) -> None:
        zsh.type(f"{line.replace('HERE', str(tmp_path))}\t")
        zsh.wait_for(expected)

    def test_sourced(self, zsh: _Zsh, tmp_path: Path) -> None:
        zsh.type(f"compdef -d vofctl; source {tmp_path}/_vofctl; echo SOU''RCED\n")
        zsh.wait_for("SOURCED")
        zsh.type("vofctl crypto enc\t")
        zsh.wait_for("crypto encrypt")
