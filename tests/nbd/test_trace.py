# SPDX-License-Identifier: BSD-3-Clause
"""trace= of the plugin, in a real nbdkit: the requests of clients, whichever way they would take
without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.nbd.conftest import DISK, Served
from tests.nbd.nbdkit_process import Nbdkit, Way, run_nbdkit
from tests.support.scripted_target import Device, ScriptedTarget, wait_until

pytestmark = pytest.mark.nbdkit


@pytest.fixture(autouse=True)
def unforced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody insists on a data path; the filter is there or not."""
    monkeypatch.setattr(Nbdkit, "way", Way({"VOF_FABRIC": ""}, Nbdkit.way.filtered))


def use(nbdkit: Nbdkit) -> None:
    with nbdkit.client() as client:
        client.pwrite(b"x" * 4096, 8192)
        assert client.pread(4096, 8192) == b"x" * 4096


@pytest.mark.parametrize("daemon", [False, True])
def test_in_a_file(served: Served, tmp_path: Path, daemon: bool) -> None:
    path = tmp_path / "trace"
    with served.nbdkit(DISK, f"trace={path}", daemon=daemon) as nbdkit:
        use(nbdkit)
        wait_until(lambda: " closed " in path.read_text(), "the end of the session")
    text = path.read_text()
    assert f"tvqn {DISK}" in text
    assert "block OUT sector 16, bytes 4096" in text
    assert "block IN sector 16, bytes 4096" in text
    assert "device status OK" in text


def test_names_of_any_letters_without_a_locale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nbdkit's Python takes the C locale's encoding, ASCII, at its word."""
    monkeypatch.setenv("LC_ALL", "C")
    tvqn = 'a/Ж 磁盘 "%s" #\u202e'
    folder = tmp_path / "ж"
    folder.mkdir()
    places = (f"trace={folder}/trace", f"metrics=unix:{folder}/metrics")
    with ScriptedTarget(Device(tvqn=tvqn)) as target:
        with Nbdkit(f"tport={target.port}", *places) as nbdkit:
            with nbdkit.client(tvqn):
                pass
            assert (folder / "metrics").is_socket()
        assert "tvqn a/Ж 磁盘" in (folder / "trace").read_text(encoding="utf-8")
        with Nbdkit(f"tport={target.port}", f"tvqn={tvqn}", "trace=yes") as nbdkit:
            with nbdkit.client():
                pass
            assert "tvqn a/Ж 磁盘" in nbdkit.log


def test_in_the_log(served: Served) -> None:
    with served.nbdkit(DISK, "trace=yes") as nbdkit:
        use(nbdkit)
        wait_until(lambda: " closed " in nbdkit.log, "the end of the session")
        (line,) = [line for line in nbdkit.log.splitlines() if "block OUT sector 16" in line]
    assert line.startswith("nbdkit: vof: ")


def test_a_file_that_cannot_be_made(served: Served, tmp_path: Path) -> None:
    done = run_nbdkit(f"tport={served.port}", f"tvqn={DISK}", f"trace={tmp_path}/no/t")
    assert done.returncode == 1
    assert f"cannot write the trace to {tmp_path}/no/t: No such file or directory" in done.stderr
