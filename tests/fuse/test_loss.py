# SPDX-License-Identifier: BSD-3-Clause
"""The target dies, or vof-mount does, in the middle of everything."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from contextlib import AbstractContextManager
from datetime import UTC, datetime

import pytest

from tests.fuse.conftest import DISK, OTHER_DISK, MakeMount
from tests.fuse.mounting import alive, eventually, is_mounted
from tests.support.loopback import Background
from tests.support.scripted_rng import RNG_TVQN, ScriptedRng
from tests.support.scripted_target import Hold
from tests.target.process import TargetProcess

pytestmark = pytest.mark.fuse


def refused(number: int) -> AbstractContextManager[object]:
    return pytest.raises(OSError, check=lambda error: error.errno == number)


def test_the_target_is_killed_under_work(mount: MakeMount, disks: TargetProcess) -> None:
    mounted = mount(DISK, OTHER_DISK, tport=disks.address[1], timeout=5)
    fd = os.open(mounted / "disk0/disk", os.O_RDWR | os.O_DSYNC)

    def work() -> None:
        for number in range(100_000):
            os.pwrite(fd, b"x" * 4096, number % 1000 * 4096)

    workers = [Background(work) for _ in range(4)]
    os.pwrite(fd, b"y" * 4096, 0)
    disks.signal(signal.SIGKILL)
    for worker in workers:
        with refused(errno.EIO):
            worker.result()
    with refused(errno.EIO):
        os.fsync(fd)
    os.close(fd)
    # All is still there to look at.
    assert {entry.name for entry in mounted.path.iterdir()} > {"disk0", "disk0-2"}
    assert (mounted / "disk0/disk").stat().st_size > 0
    info = mounted.info("disk0")
    assert info["state"] == "lost"
    assert "connection lost" in info["reason"]
    age = datetime.now(UTC) - datetime.fromisoformat(info["lost_at"])
    assert 0 <= age.total_seconds() < 60
    # It can be removed, and is not to be had again.
    disks.wait()
    mounted.command(f"command=destroy,tvqn={DISK}")
    with refused(errno.ECONNREFUSED):
        mounted.command(f"command=create,tvqn={DISK}")
    mounted.unmount()


def test_a_loss_that_nobody_asked_for(mount: MakeMount, disks: TargetProcess) -> None:
    """``info`` knows without a request that fails."""
    mounted = mount(DISK, tport=disks.address[1])
    assert mounted.info("disk0")["state"] == "ready"
    disks.signal(signal.SIGKILL)
    disks.wait()
    eventually(lambda: mounted.info("disk0")["state"] == "lost", "the loss to be noticed")


def test_one_device_of_several_is_lost(mount: MakeMount, disks: TargetProcess) -> None:
    with ScriptedRng() as target:
        mounted = mount(DISK, tport=disks.address[1])
        mounted.command(f"command=create,tvqn={RNG_TVQN},tport={target.port}")
        for connection in list(target.connections):
            connection.close()
        eventually(lambda: mounted.info("rng0")["state"] == "lost", "the loss to be noticed")
        with (mounted / "rng0/random").open("rb", buffering=0) as random, refused(errno.EIO):
            random.read(1)
        assert (mounted / "disk0/disk").read_bytes()[:1] == b"\0"
        assert mounted.info("disk0")["state"] == "ready"


def test_readers_in_flight(mount: MakeMount) -> None:
    hold = Hold()
    with ScriptedRng(None, hold) as target:
        mounted = mount(RNG_TVQN, tport=target.port)
        readers = [
            subprocess.Popen(["head", "-c1", mounted / "rng0/random"], stderr=subprocess.PIPE)
            for _ in range(8)
        ]
        (command,) = hold.take(1)
        command.connection.close()
        for reader in readers:
            _out, said = reader.communicate(timeout=20)
            assert b"Input/output error" in said
        assert "closed by the target" in mounted.info("rng0")["reason"]


def test_a_target_that_breaks_the_protocol(mount: MakeMount) -> None:
    hold = Hold()
    with ScriptedRng(None, hold) as target:
        mounted = mount(RNG_TVQN, tport=target.port)
        (command,) = hold.take(1)
        command.reply(command_id=99)
        eventually(lambda: mounted.info("rng0")["state"] == "lost", "the loss to be noticed")
        assert "protocol violation by the target" in mounted.info("rng0")["reason"]


def test_vof_mount_is_killed_under_work(mount: MakeMount, disks: TargetProcess) -> None:
    """What it leaves fails at once, and one umount clears it."""
    mounted = mount(DISK, tport=disks.address[1])
    fd = os.open(mounted / "disk0/disk", os.O_RDWR)

    def work() -> None:
        for number in range(100_000):
            os.pwrite(fd, b"x" * 4096, number % 1000 * 4096)

    workers = [Background(work) for _ in range(4)]
    os.pwrite(fd, b"y" * 4096, 0)
    os.kill(mounted.pid, signal.SIGKILL)
    for worker in workers:
        with pytest.raises(OSError, match="Errno"):
            worker.result()
    eventually(lambda: not alive(mounted.pid), "the end of vof-mount")
    with refused(errno.ENOTCONN):
        mounted.path.stat()
    with refused(errno.ENOTCONN):
        os.close(fd)
    assert is_mounted(mounted.path)
    subprocess.run(["umount", mounted.path], check=True, capture_output=True)
    assert not is_mounted(mounted.path)
    # And it can be mounted again.
    again = mount(DISK, tport=disks.address[1])
    assert again.info("disk0")["state"] == "ready"


def test_vof_mount_is_killed_under_readers(mount: MakeMount) -> None:
    hold = Hold()
    with ScriptedRng(None, hold) as target:
        mounted = mount(RNG_TVQN, tport=target.port)
        readers = [
            subprocess.Popen(["head", "-c1", mounted / "rng0/random"], stderr=subprocess.PIPE)
            for _ in range(8)
        ]
        hold.take(1)
        os.kill(mounted.pid, signal.SIGKILL)
        for reader in readers:
            reader.communicate(timeout=20)
            assert reader.returncode == 1
        subprocess.run(["umount", mounted.path], check=True, capture_output=True)
