# SPDX-License-Identifier: BSD-3-Clause
"""Waiting for supervisors: what is told of them meanwhile, and what becomes of them."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vof.errors import ConnectError, VofError, WrongDevice
from vof.gateways.attach.state import Claim, Record, StateFolder
from vof.gateways.cli import waiting
from vof.gateways.cli.waiting import outcomes
from vof.program import ENDING, hold, release

RECORD = Record("disk0", "t", "h:1", "connecting")
CLEAR = "\r\x1b[K"


class Terminal(io.StringIO):
    """A terminal on which something happens each time a line was drawn."""

    def __init__(self, *events: Callable[[], object]) -> None:
        super().__init__()
        self._events = iter(events)

    def isatty(self) -> bool:
        return True

    def flush(self) -> None:
        next(self._events, lambda: None)()

    @property
    def lines(self) -> list[str]:
        return self.getvalue().split(CLEAR)[1:]


class StandIn:
    """A supervisor, whose entry this process holds, and which ends when it is told to."""

    def __init__(self, result: Record | VofError = RECORD, pid: int | None = None) -> None:
        self.pid = os.getpid() if pid is None else pid
        self._reading, self._writing = os.pipe()
        self._result = result

    def end(self) -> None:
        os.close(self._writing)

    def fileno(self) -> int:
        return self._reading

    def outcome(self) -> Record:
        os.close(self._reading)
        if isinstance(self._result, VofError):
            raise self._result
        return self._result


@pytest.fixture
def claim(tmp_path: Path) -> Iterator[Claim]:
    claim = StateFolder(tmp_path / "state").claim("disk0", "disk0", "t", "h:1")
    yield claim
    claim.release()


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(waiting, "_TICK", 0.001)


def found(launches: dict[str, Any], folder: Path, *, quiet: bool = False) -> dict[str, Any]:
    return dict(outcomes(launches, StateFolder(folder / "state"), quiet=quiet))


def test_each_step_is_shown(claim: Claim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launch = StandIn()
    steps = [
        replace(RECORD, identifier="vof:disk0:s"),
        replace(RECORD, identifier="vof:disk0:s", nbdkit=7),
        replace(RECORD, identifier="vof:disk0:s", nbdkit=7, device="/dev/nbd0"),
    ]
    terminal = Terminal(*(lambda step=step: claim.write(step) for step in steps), launch.end)
    monkeypatch.setattr(sys, "stderr", terminal)
    assert found({"disk0": launch}, tmp_path) == {"disk0": RECORD}
    assert [line.partition(" (")[0] for line in terminal.lines] == [
        "disk0: opening a session with h:1",
        "disk0: starting nbdkit",
        "disk0: attaching",
        "disk0: waiting until /dev/nbd0 is usable",
        "",
    ]
    assert terminal.lines[0].endswith(" (0 s)")


def test_several_at_once(claim: Claim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = StandIn(), StandIn(ConnectError("nobody there"), pid=1)
    terminal = Terminal(two.end, lambda: None, one.end)
    monkeypatch.setattr(sys, "stderr", terminal)
    result = found({"disk0": one, "disk1": two}, tmp_path)
    assert result["disk0"] == RECORD
    assert isinstance(result["disk1"], ConnectError)
    assert [line.partition(" (")[0] for line in terminal.lines] == [
        "0 of 2; disk0: opening a session with h:1, disk1: starting",
        "",
        "1 of 2; disk0: opening a session with h:1",
        "",
    ]


def test_no_signal_comes_between_a_disk_and_what_is_told_of_it(
    claim: Claim, tmp_path: Path
) -> None:
    """Nor after the last one: who is interrupted has none."""

    def held() -> bool:
        return signal.pthread_sigmask(signal.SIG_BLOCK, []) >= set(ENDING)

    states: list[bool] = []

    class Attached(StandIn):
        def outcome(self) -> Record:
            states.append(held())
            hold()
            return super().outcome()

    disks = {"disk0": Attached(), "disk1": Attached(pid=1)}
    disks["disk0"].end()
    try:
        for _each in outcomes(disks, StateFolder(tmp_path / "state"), quiet=True):  # type: ignore[arg-type]
            states.append(held())
            if len(states) == 2:
                disks["disk1"].end()
        states.append(held())
    finally:
        release()
    assert states == [False, True, False, True, True]


def test_the_line_is_empty_while_others_write(
    claim: Claim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = StandIn(), StandIn(pid=1)
    terminal = Terminal(one.end, lambda: None, two.end)
    monkeypatch.setattr(sys, "stderr", terminal)
    seen = [
        terminal.lines[-1]
        for _each in outcomes(
            {"disk0": one, "disk1": two},  # type: ignore[dict-item]
            StateFolder(tmp_path / "state"),
            quiet=False,
        )
    ]
    assert seen == ["", ""]


@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_is_shown(
    claim: Claim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    """To no terminal, and on one where it is not wanted."""
    stream = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    launch = StandIn()
    launch.end()
    assert found({"disk0": launch}, tmp_path, quiet=terminal) == {"disk0": RECORD}
    assert stream.getvalue() == ""


def test_a_state_folder_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor says what is wrong with it."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state/schema").write_text("7\n")
    launch = StandIn()
    terminal = Terminal(launch.end)
    monkeypatch.setattr(sys, "stderr", terminal)
    assert found({"disk0": launch}, tmp_path) == {"disk0": RECORD}
    assert terminal.lines[0] == "disk0: starting (0 s)"


def test_a_device_that_is_no_disk(tmp_path: Path) -> None:
    launch = StandIn(WrongDevice("'t' is a virtio-rng, not a virtio-blk"))
    launch.end()
    error = found({"disk0": launch}, tmp_path)["disk0"]
    assert isinstance(error, WrongDevice)
    assert "takes disks only; vof-mount shows" in str(error)
