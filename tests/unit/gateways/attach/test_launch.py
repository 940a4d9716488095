# SPDX-License-Identifier: BSD-3-Clause
"""Supervisors in the background, with a stand-in for what they supervise."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from vof.errors import ConfigError, ConnectError, VofError
from vof.gateways.attach import launch
from vof.gateways.attach.launch import Launch
from vof.gateways.attach.nbd.blockdev import Kernel
from vof.gateways.attach.plan import Plan
from vof.gateways.attach.state import Claim, Record, StateFolder
from vof.gateways.cli.waiting import outcomes
from vof.gateways.settings import effective
from vof.gateways.settings.merged import load
from vof.program import ENDING, Interrupted, release, undone

Ready = Callable[[Record], None]
Body = Callable[[Claim, Ready], None]

RECORD = Record("disk0", "a/disk0", "127.0.0.1:15771", "connected", device="/dev/nbd0", error="x")


@pytest.fixture(autouse=True)
def _around() -> Iterator[None]:
    """The signals are as before afterwards."""
    yield
    release()


def held() -> bool:
    """Return whether no signal ends this process now."""
    return signal.pthread_sigmask(signal.SIG_BLOCK, []) >= set(ENDING)


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "vof")


def launched(monkeypatch: pytest.MonkeyPatch, folder: StateFolder, body: Body) -> Launch:
    def supervise(_plan: Plan, claim: Claim, _kernel: Kernel, ready: Ready) -> None:
        try:
            body(claim, ready)
        finally:
            claim.release()

    monkeypatch.setattr(launch, "supervise", supervise)
    values = effective.device(load(), "a/disk0", {"timeout": "30"})
    return Launch(Plan.of(values, None), folder, Kernel())


def wait_for(started: Launch) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(started.pid, 0)[1])


def test_a_disk_that_is_usable(monkeypatch: pytest.MonkeyPatch, folder: StateFolder) -> None:
    def body(_claim: Claim, ready: Ready) -> None:
        ready(RECORD)
        signal.sigwait([signal.SIGUSR1])

    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    started = launched(monkeypatch, folder, body)
    assert not held()
    assert started.outcome() == RECORD
    assert held(), "or who was interrupted would have a disk"
    [entry] = folder.entries()
    assert entry.owner == started.pid
    os.kill(started.pid, signal.SIGUSR1)
    assert wait_for(started) == 0
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])


@pytest.mark.parametrize(
    "error", [VofError("no"), ConfigError("not so", errno=16), ConnectError("nobody there")]
)
def test_errors_arrive_as_what_they_are(
    monkeypatch: pytest.MonkeyPatch, folder: StateFolder, error: VofError
) -> None:
    def body(_claim: Claim, _ready: Ready) -> None:
        raise error

    with pytest.raises(type(error), match=str(error)) as raised:
        launched(monkeypatch, folder, body).outcome()
    assert type(raised.value) is type(error)
    assert raised.value.errno == error.errno
    assert not held()
    assert folder.entries() == []


def test_a_taken_name(monkeypatch: pytest.MonkeyPatch, folder: StateFolder) -> None:
    claim = folder.claim("disk0", "disk0", "a/disk0", "127.0.0.1:15771")
    with pytest.raises(ConfigError, match="connected already"):
        launched(monkeypatch, folder, lambda _claim, _ready: None).outcome()
    claim.release()


def test_a_mistake_of_ours_is_one_line(
    monkeypatch: pytest.MonkeyPatch, folder: StateFolder
) -> None:
    def body(_claim: Claim, _ready: Ready) -> None:
        raise ZeroDivisionError("oops")

    with pytest.raises(VofError, match="internal error: ZeroDivisionError: oops"):
        launched(monkeypatch, folder, body).outcome()


def test_a_supervisor_that_is_killed(monkeypatch: pytest.MonkeyPatch, folder: StateFolder) -> None:
    def body(_claim: Claim, _ready: Ready) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(VofError, match="ended with signal 9"):
        launched(monkeypatch, folder, body).outcome()
    [entry] = folder.entries()
    assert entry.owner is None


def test_who_vanishes_before_is_noticed(
    monkeypatch: pytest.MonkeyPatch, folder: StateFolder, tmp_path: Path
) -> None:
    """The supervisor is asked to end while it still attaches."""

    def body(_claim: Claim, _ready: Ready) -> None:
        signal.sigwait([signal.SIGTERM])
        (tmp_path / "asked").touch()

    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    started = launched(monkeypatch, folder, body)
    started.abandon()
    assert wait_for(started) == 0
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    assert (tmp_path / "asked").exists()
    assert folder.entries() == []


def test_who_is_interrupted_waits_until_all_is_undone(
    monkeypatch: pytest.MonkeyPatch, folder: StateFolder
) -> None:
    def body(_claim: Claim, _ready: Ready) -> None:
        os.kill(os.getppid(), signal.SIGTERM)
        signal.sigwait([signal.SIGTERM])

    with undone():
        started = launched(monkeypatch, folder, body)
        with pytest.raises(Interrupted):
            list(outcomes({"disk0": started}, folder, quiet=True))
    assert wait_for(started) == 0
    assert folder.entries() == []


def test_who_vanishes_at_the_end_is_noticed(
    monkeypatch: pytest.MonkeyPatch, folder: StateFolder, tmp_path: Path
) -> None:
    def body(_claim: Claim, ready: Ready) -> None:
        signal.sigwait([signal.SIGTERM])
        try:
            ready(replace(RECORD, error=""))
        except VofError:
            (tmp_path / "undone").touch()
            raise

    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    started = launched(monkeypatch, folder, body)
    started.abandon()
    assert wait_for(started) == 1
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    assert (tmp_path / "undone").exists()
