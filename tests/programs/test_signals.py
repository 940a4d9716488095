# SPDX-License-Identifier: BSD-3-Clause
"""Ctrl-C, SIGTERM and a terminal that goes, at known moments of every program.

What ends a program is its exit status, says nothing, and leaves nothing.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.fuse.mounting import clear_away, eventually, is_mounted, process_of
from tests.programs.commands import DEMO, PLUGIN, VOF_MOUNT, VOF_TARGET, VOFCTL
from tests.programs.terminal import INTERRUPT, PATIENCE, Terminal
from tests.target.conftest import config_file

End = Callable[[Terminal], None]

ENDS: dict[signal.Signals, End] = {
    signal.SIGINT: lambda terminal: terminal.press(INTERRUPT),
    signal.SIGTERM: lambda terminal: os.kill(terminal.pid, signal.SIGTERM),
    signal.SIGHUP: lambda terminal: terminal.close(),
}

every_end = pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)


def shadow(folder: Path, module: str, code: str) -> dict[str, str]:
    """Return an environment in which ``code`` is run where a program imports ``module``."""
    (folder / "shadow").mkdir()
    (folder / f"shadow/{module}.py").write_text(code)
    return {"PYTHONPATH": str(folder / "shadow")}


LOADED = {
    "vofctl": (VOFCTL, "argparse"),
    "vof-mount": (VOF_MOUNT, "argparse"),
    "vof-target": (VOF_TARGET, "argparse"),
    "plugin": (PLUGIN, "logging"),
    "demo": (DEMO, "rich"),
}
"""Something that each needs."""


@pytest.mark.parametrize("name", LOADED)
def test_while_it_is_loaded(tmp_path: Path, name: str) -> None:
    command, module = LOADED[name]
    environment = shadow(tmp_path, module, "print('loading', flush=True); input()")
    with Terminal(*command, "--help", environment=environment) as terminal:
        terminal.wait_for("loading")
        terminal.press(INTERRUPT)
        assert terminal.wait() == -signal.SIGINT
    assert "Traceback" not in terminal.output


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """Something that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        yield listener


def end_in_contact(
    command: Sequence[str | Path], silent: socket.socket, number: signal.Signals
) -> int:
    """End a program that waits for an answer; return its exit status once nobody waits any more."""
    with Terminal(*command) as terminal:
        connection, _address = silent.accept()
        with connection:
            connection.settimeout(PATIENCE)
            ENDS[number](terminal)
            status = terminal.wait()
            while connection.recv(4096):
                pass
    assert "Traceback" not in terminal.output
    return status


@every_end
@pytest.mark.parametrize("verb", ["info", "bench"])
def test_vofctl_waits_for_a_target(
    silent: socket.socket, verb: str, number: signal.Signals
) -> None:
    port = silent.getsockname()[1]
    command = (*VOFCTL, verb, "a/device", "--tport", str(port))
    assert end_in_contact(command, silent, number) == -number


@every_end
def test_top(silent: socket.socket, number: signal.Signals) -> None:
    """It is ended by an interrupt as others are by a key."""
    command = (*VOFCTL, "top", f"127.0.0.1:{silent.getsockname()[1]}")
    status = end_in_contact(command, silent, number)
    assert status == (0 if number == signal.SIGINT else -number)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A mountpoint, cleared whatever happens."""
    path = tmp_path / "mnt"
    path.mkdir()
    yield path
    clear_away(path)


@pytest.mark.fuse
@every_end
@pytest.mark.parametrize("options", [[], ["-f"]], ids=["background", "foreground"])
def test_a_mount_waits_for_a_target(
    silent: socket.socket, folder: Path, options: list[str], number: signal.Signals
) -> None:
    """Of its two halves neither stays."""
    tport = f"tport={silent.getsockname()[1]}"
    command: list[str | Path] = [*VOF_MOUNT, *options, "-o", tport, "a/device", folder]
    assert end_in_contact(command, silent, number) == -number
    assert process_of(folder) is None
    assert not is_mounted(folder)


@pytest.mark.fuse
@every_end
def test_a_mount_in_the_foreground(folder: Path, number: signal.Signals) -> None:
    """It is there to be ended."""
    with Terminal(*VOF_MOUNT, "-f", folder) as terminal:
        eventually((folder / "virtio-fabrics").exists, "the mount")
        ENDS[number](terminal)
        assert terminal.wait() == 0
    assert "Traceback" not in terminal.output
    assert not is_mounted(folder)


@every_end
def test_a_demonstration(tmp_path: Path, number: signal.Signals) -> None:
    """The terminal's end is its end, for there is nothing to read again."""
    command = (*VOF_TARGET, "--demo", "--port", "0", "--metrics", f"unix:{tmp_path}/metrics")
    with Terminal(*command, environment={"TMPDIR": str(tmp_path)}) as terminal:
        terminal.wait_for("listening on")
        assert len(list(tmp_path.iterdir())) == 2
        ENDS[number](terminal)
        assert terminal.wait() == 0
    assert list(tmp_path.iterdir()) == []


def test_a_demonstration_that_begins(tmp_path: Path) -> None:
    """What it has made by then goes."""
    folder = tmp_path / "images"
    folder.mkdir()
    code = f"import os; assert os.listdir('{folder}'); os.kill(os.getpid(), {signal.SIGTERM:d})"
    environment = os.environ | shadow(tmp_path, "prometheus_client", code)
    done = subprocess.run(
        [*VOF_TARGET, "--demo", "--port", "0", "--metrics", f"unix:{tmp_path}/metrics"],
        env=environment | {"TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, "", "")
    assert list(folder.iterdir()) == []


def test_a_target_on_a_terminal(tmp_path: Path) -> None:
    """It reads its file again while the terminal is there, and ends when that goes."""
    with Terminal(*VOF_TARGET, config_file(tmp_path)) as terminal:
        terminal.wait_for("listening on")
        os.kill(terminal.pid, signal.SIGHUP)
        terminal.wait_for("event=reloaded")
        terminal.close()
        assert terminal.wait() == 0


def test_a_target_that_is_not_to_go_with_its_terminal(tmp_path: Path) -> None:
    """As nohup(1) starts it: what is left of the signal is what it means to a daemon."""
    log = tmp_path / "log"
    script = f'trap "" HUP; exec "$@" 2>{log}'
    command = ("sh", "-c", script, "sh", *VOF_TARGET, config_file(tmp_path))
    with Terminal(*command) as terminal:
        terminal.wait_for("listening on")
        terminal.close()
        eventually(lambda: "event=reloaded" in log.read_text(), "a reload")
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.wait() == 0


def test_a_demonstration_that_is_not_to_go_with_its_terminal() -> None:
    script = 'trap "" HUP; exec "$@"'
    with Terminal("sh", "-c", script, "sh", *VOF_TARGET, "--demo", "--port", "0") as terminal:
        terminal.wait_for("listening on")
        status = Path(f"/proc/{terminal.pid}/status").read_text()
        (ignored,) = (line.split()[1] for line in status.splitlines() if line[:7] == "SigIgn:")
        assert int(ignored, 16) & 1
        terminal.press(INTERRUPT)
        assert terminal.wait() == 0


@pytest.mark.nbdkit
def test_while_the_filter_is_compiled(tmp_path: Path) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text('#!/bin/sh\ntouch "$TMPDIR/half"\nkill -INT $PPID\nexec sleep 60\n')
    compiler.chmod(0o755)
    done = subprocess.run(
        [*VOFCTL, "filter", "path"],
        env=os.environ | {"CC": str(compiler), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
