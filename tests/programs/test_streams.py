# SPDX-License-Identifier: BSD-3-Clause
"""Standard streams that are closed, full or without a reader, in every program."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.fuse.mounting import is_mounted
from tests.meta.tree import ROOT
from tests.programs.commands import DEMO, PLUGIN, VOF_ID, VOF_MOUNT, VOF_TARGET, VOFCTL
from tests.programs.notified import Manager
from tests.programs.terminal import PATIENCE
from tests.support.loopback import unused_port
from tests.target.conftest import config_file
from tests.target.peer import BLOCK2, IN, OK, Association

WAYS = ("closed", "full", "broken")
_REDIRECTIONS = {"closed": "&-", "full": "/dev/full", "broken": "&3"}

RECORDING = ROOT / "tests/vectors/kernel-tcp-blk-basic.jsonl"

WRITING: dict[str, Sequence[str | Path]] = {
    "vofctl help": (*VOFCTL, "--help"),
    "vofctl help of a verb": (*VOFCTL, "connect", "--help"),
    "vofctl version": (*VOFCTL, "--version"),
    "vofctl more than a buffer": (*VOFCTL, "decode", "--hex", RECORDING),
    "vofctl json": (*VOFCTL, "validate", "-o", "json"),
    "vof-target help": (*VOF_TARGET, "--help"),
    "vof-mount help": (*VOF_MOUNT, "--help"),
    "vof_plugin.py": (*PLUGIN, "--help"),
    "demo": (*DEMO, "--help"),
    "vof_id": (*VOF_ID, "vof:disk0:serial"),
}


def run(
    command: Sequence[str | Path], descriptor: int, way: str
) -> subprocess.CompletedProcess[str]:
    """Run it with a descriptor that cannot be used."""
    reading, writing = os.pipe()
    os.close(reading)
    script = f'exec 3>&{writing} {writing}>&-; exec "$@" {descriptor}>{_REDIRECTIONS[way]}'
    try:
        return subprocess.run(
            ["bash", "-c", script, "bash", *command],
            capture_output=True,
            text=True,
            pass_fds=[writing],
            timeout=PATIENCE,
            check=False,
        )
    finally:
        os.close(writing)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", WRITING)
def test_standard_output(name: str, way: str) -> None:
    """As with coreutils: whoever reads no more is not told, anything else is said and a failure."""
    done = run(WRITING[name], 1, way)
    if way == "broken":
        assert (done.returncode, done.stderr) == (-signal.SIGPIPE, "")
        return
    program = name.partition(" ")[0]
    reason = os.strerror({"closed": 9, "full": 28}[way])
    assert done.stderr == f"{program}: cannot write to standard output: {reason}\n"
    assert done.returncode == 1


@pytest.mark.parametrize("way", WAYS)
def test_what_else_has_failed_counts_more(way: str, tmp_path: Path) -> None:
    (tmp_path / "vof.conf").write_text("nonsense\n")
    assert run((*VOFCTL, "validate", tmp_path / "vof.conf"), 1, way).returncode == 2


FAILING: dict[str, tuple[Sequence[str], int]] = {
    "vofctl usage": ((*VOFCTL, "--frobnicate"), 2),
    "vofctl": ((*VOFCTL, "decode", "/nonexistent"), 1),
    "vof-target": ((*VOF_TARGET, "/nonexistent"), 1),
    "vof-mount": ((*VOF_MOUNT, "/nonexistent/folder"), 1),
    "vof_id": ((*VOF_ID, "nonsense"), 1),
}


@pytest.mark.parametrize("name", FAILING)
def test_standard_error(name: str) -> None:
    """The exit status says what cannot be said."""
    command, status = FAILING[name]
    for way in WAYS:
        done = run(command, 2, way)
        assert (done.returncode, done.stdout) == (status, ""), way


def test_standard_input_is_closed() -> None:
    command = ["bash", "-c", '"$@" <&-', "bash", *VOFCTL, "decode", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == "vofctl: standard input: Bad file descriptor\n"
    assert (done.returncode, done.stdout) == (1, "")


def test_a_letter_that_the_locale_has_not_got(tmp_path: Path) -> None:
    (tmp_path / "\N{GREEK SMALL LETTER PI}.conf").write_text("nonsense\n", encoding="utf-8")
    done = subprocess.run(
        [*VOFCTL, "validate", *tmp_path.iterdir()],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        check=False,
    )
    assert r"\u03c0.conf" in done.stdout
    assert (done.returncode, done.stderr) == (2, "")


def closed(*command: str | Path) -> list[str | Path]:
    """Return what runs a program without any of its standard streams."""
    return ["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash", *command]


def standard_files(pid: int) -> set[str]:
    return {str(Path(f"/proc/{pid}/fd/{fd}").readlink()) for fd in range(3)}


def test_a_target_without_any(tmp_path: Path) -> None:
    """No connection gets the number of one, and then what is logged."""
    with Manager(tmp_path) as manager:
        process = subprocess.Popen(
            closed(*VOF_TARGET, "-v", config_file(tmp_path)), env=os.environ | manager.environment
        )
        try:
            found = re.search(r"listening on ([0-9.]+):([0-9]+)", manager.ready())
            assert found
            assert standard_files(process.pid) == {os.devnull}
            for _each in range(2):
                with Association((found[1], int(found[2])), BLOCK2) as association:
                    assert association.queue.request(IN, 0, room=512) == (OK, bytes(512))
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            process.wait()


@pytest.mark.fuse
def test_a_mount_without_any(tmp_path: Path) -> None:
    folder = tmp_path / "mnt"
    folder.mkdir()
    with Manager(tmp_path) as manager:
        process = subprocess.Popen(
            closed(*VOF_MOUNT, "-f", "-o", f"tport={unused_port()}", folder),
            env=os.environ | manager.environment,
        )
        try:
            manager.ready()
            assert standard_files(process.pid) == {os.devnull}
            assert is_mounted(folder)
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            process.wait()
    assert not is_mounted(folder)
