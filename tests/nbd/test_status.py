# SPDX-License-Identifier: BSD-3-Clause
"""status_fd=: what a supervisor is told of the session."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import nbd
import pytest

from tests.nbd.conftest import DISK, DISK_SIZE, Served
from tests.nbd.nbdkit_process import WAYS, Nbdkit, run_nbdkit
from tests.support.scripted_target import PATIENCE, ScriptedTarget

pytestmark = pytest.mark.nbdkit


class Supervisor:
    """The end that reads."""

    def __init__(self) -> None:
        self.socket, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(PATIENCE)
        self._its = its

    def start(self, port: int, tvqn: str) -> Nbdkit:
        fd = self._its.fileno()
        nbdkit = Nbdkit(f"tport={port}", f"tvqn={tvqn}", f"status_fd={fd}", pass_fds=[fd])
        self._its.close()
        return nbdkit

    def next(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.socket.recv(1 << 16))
        return found

    def close(self) -> None:
        self.socket.close()
        self._its.close()


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    supervisor = Supervisor()
    yield supervisor
    supervisor.close()


def test_an_idle_session_that_is_lost(supervisor: Supervisor, scripted: ScriptedTarget) -> None:
    """Nobody asks for anything. A new session is told as well; one that ends in order is not."""
    with supervisor.start(scripted.port, scripted.device.tvqn) as nbdkit:
        with nbdkit.client() as client, nbdkit.client():
            opened = supervisor.next()
            filtered = Nbdkit.way == WAYS["fast"]
            assert (opened["schema"], opened["state"], opened["size"], opened["reason"]) == (
                1,
                "connected",
                2048 * 512,
                "",
            )
            assert (opened["fast_path"], not opened["fast_path_reason"]) == (filtered, filtered)
            for connection in list(scripted.connections):
                connection.close()
            lost = supervisor.next()
            assert (lost["state"], "closed by the target" in lost["reason"]) == ("lost", True)
            assert lost["since"] >= opened["since"]
            with pytest.raises(nbd.Error):
                client.pread(512, 0)
            with nbdkit.client() as other:
                assert supervisor.next()["state"] == "connected"
                other.pread(512, 0)
    assert supervisor.socket.recv(1) == b""


def test_a_disk_that_grows(supervisor: Supervisor, own_target: Served) -> None:
    with supervisor.start(own_target.port, DISK) as nbdkit, nbdkit.client():
        assert supervisor.next()["size"] == DISK_SIZE
        os.truncate(own_target.folder / "disk.img", 2 * DISK_SIZE)
        grown = supervisor.next()
        assert (grown["state"], grown["size"]) == ("connected", 2 * DISK_SIZE)


def test_a_supervisor_that_has_gone(supervisor: Supervisor, scripted: ScriptedTarget) -> None:
    """What it would have been told is nobody's loss."""
    with supervisor.start(scripted.port, scripted.device.tvqn) as nbdkit:
        supervisor.close()
        with nbdkit.client() as client:
            client.pread(512, 0)


@pytest.mark.parametrize(
    ("value", "words"),
    [("2", "3 to"), ("999", "status_fd=999: Bad file descriptor"), ("x", "status_fd=x")],
)
def test_what_is_no_descriptor(value: str, words: str) -> None:
    done = run_nbdkit("tvqn=a/b", f"status_fd={value}")
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_another_kind_of_descriptor(scripted: ScriptedTarget) -> None:
    read, write = os.pipe()
    try:
        with pytest.raises(AssertionError, match="Socket operation on non-socket"):
            Nbdkit(f"tport={scripted.port}", f"status_fd={read}", pass_fds=[read])
    finally:
        os.close(read)
        os.close(write)
