# SPDX-License-Identifier: BSD-3-Clause
"""The tree of a real mount: what is listed, what it says, what it forbids, how it ends."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.fuse.conftest import DISK, DISK_SIZE, OTHER_DISK, READ_ONLY, MakeMount
from tests.fuse.mounting import alive, eventually, is_mounted
from tests.support.scripted_rng import RNG_TVQN, ScriptedRng, rng_device
from tests.target.process import TargetProcess
from vof.drivers.block import DEFAULT_QUEUES

pytestmark = pytest.mark.fuse


def listing(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def test_nothing_but_the_control_file(mount: MakeMount) -> None:
    mounted = mount()
    assert mounted.run.stdout == mounted.run.stderr == ""
    assert listing(mounted.path) == ["virtio-fabrics"]
    (line,) = [
        line
        for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
        if str(mounted.path) in line
    ]
    assert line.split()[:3] == ["vof", str(mounted.path), "fuse.vof"]


def test_devices_of_a_target(mount: MakeMount, disks: TargetProcess) -> None:
    """Their names are the tvqns' last components; the second of a name is numbered."""
    mounted = mount(DISK, OTHER_DISK, READ_ONLY, tport=disks.address[1])
    assert listing(mounted.path) == ["disk0", "disk0-2", "ro", "virtio-fabrics"]
    assert listing(mounted / "disk0") == ["disk", "info"]
    assert mounted.info("disk0")["tvqn"] == DISK
    assert mounted.info("disk0-2")["tvqn"] == OTHER_DISK
    assert (mounted / "disk0/disk").stat().st_size == DISK_SIZE
    assert mounted.info("ro")["read_only"] == "yes"


def test_devices_of_several_targets(
    mount: MakeMount, disks: TargetProcess, rng: ScriptedRng
) -> None:
    mounted = mount(RNG_TVQN, tport=rng.port)
    mounted.command(f"command=create,tport={disks.address[1]},tvqn={DISK}\n")
    assert listing(mounted.path) == ["disk0", "rng0", "virtio-fabrics"]
    with (mounted / "rng0/random").open("rb", buffering=0) as random:
        assert len(random.read(100)) == 100
    assert mounted.info("disk0")["tport"] == str(disks.address[1])


def test_info(mount: MakeMount, rng: ScriptedRng) -> None:
    mounted = mount(RNG_TVQN, tport=rng.port, ivqn="vqn.uuid:me", timeout=5)
    eventually(lambda: mounted.info("rng0")["health"] == "passed", "the start-up test")
    info = mounted.info("rng0")
    assert (
        info
        | {
            "name": "rng0",
            "type": "virtio-rng",
            "state": "ready",
            "tvqn": RNG_TVQN,
            "transport": "tcp",
            "taddr": "127.0.0.1",
            "tport": str(rng.port),
            "ivqn": "vqn.uuid:me",
            "dialect": "proposal",
            "timeout": "5",
            "vendor_id": "0x12345678",
            "device_id": "4",
            "features": "none",
            "queues": "1 of 1",
            "queue0.size": "8",
            "bytes_delivered": "0",
        }
        == info
    )
    assert "reason" not in info


def test_info_of_a_disk(mount: MakeMount, disks: TargetProcess) -> None:
    info = mount(DISK, tport=disks.address[1]).info("disk0")
    assert info["vendor_id"].endswith("(vof-target)")
    assert {"FLUSH", "MQ", "VERSION_1"} <= set(info["features"].split())
    assert info["queues"] == f"{DEFAULT_QUEUES} of 4"
    assert info["config.capacity"] == str(DISK_SIZE // 512)
    assert info["size"] == str(DISK_SIZE)


def test_names(mount: MakeMount) -> None:
    """What a tvqn may hold and a file name may not."""
    with ScriptedRng(rng_device(tvqn="odd/..")) as target:
        assert listing(mount("odd/..", tport=target.port).path) == ["device", "virtio-fabrics"]


def test_names_of_any_letters(mount: MakeMount) -> None:
    """In the folder, in what it tells, and in the kernel's table of mounts."""
    tvqn = 'a/Ж 磁盘 \U0001f600 "%s" #\u202eא.service'
    with ScriptedRng(rng_device(tvqn=tvqn)) as target:
        mounted = mount(tvqn, tport=target.port)
        name = 'Ж 磁盘 \U0001f600 "%s" #_א'
        assert listing(mounted.path) == ["virtio-fabrics", name]
        assert mounted.info(name)["tvqn"] == tvqn.replace("\u202e", "\\u202e")
        shown = tvqn.replace(" ", "\\040").replace("#", "\\043")
        assert f" fuse.vof {shown} " in Path("/proc/self/mountinfo").read_text(encoding="utf-8")


def test_a_name_of_the_users(mount: MakeMount, rng: ScriptedRng) -> None:
    mounted = mount(RNG_TVQN, tport=rng.port, name="dice")
    assert listing(mounted.path) == ["dice", "virtio-fabrics"]
    assert mounted.info("dice")["name"] == "dice"


def modes(path: Path, *names: str) -> list[str]:
    return [stat.filemode((path / name).stat().st_mode) for name in names]


def test_permissions(mount: MakeMount, disks: TargetProcess) -> None:
    """What tells nothing of a device's content can be read by all; the rest is the owner's."""
    mounted = mount(DISK, READ_ONLY, tport=disks.address[1])
    assert modes(
        mounted.path, ".", "virtio-fabrics", "disk0", "disk0/info", "disk0/disk", "ro/disk"
    ) == ["drwxr-xr-x", "-rw-------", "drwxr-xr-x", "-r--r--r--", "-rw-------", "-r--------"]
    assert (mounted.path.stat().st_uid, mounted.path.stat().st_gid) == (os.getuid(), os.getgid())


def test_permissions_of_the_users(mount: MakeMount, disks: TargetProcess) -> None:
    mounted = mount(DISK, READ_ONLY, tport=disks.address[1], uid=1234, gid=56, mode=640)
    assert modes(mounted.path, ".", "virtio-fabrics", "disk0/info", "disk0/disk", "ro/disk") == [
        "drwxr-x---",
        "-rw-r-----",
        "-r--r-----",
        "-rw-r-----",
        "-r--r-----",
    ]
    assert ((mounted / "disk0").stat().st_uid, (mounted / "disk0").stat().st_gid) == (1234, 56)


@pytest.mark.skipif(os.getuid() != 0, reason="missing: root, to be somebody else")
@pytest.mark.parametrize("allowed", [False, True])
def test_other_users(mount: MakeMount, rng: ScriptedRng, allowed: bool) -> None:
    mounted = mount(RNG_TVQN, tport=rng.port, **({"allow_other": True} if allowed else {}))
    path = str(mounted / "rng0")
    # The way there must be open, for the mount to be what stops them.
    for parent in mounted.path.parents:
        if parent.is_relative_to("/tmp") and parent != Path("/tmp"):
            parent.chmod(0o755)

    def as_nobody(*command: str) -> int:
        return subprocess.run(
            command, user=65534, group=65534, extra_groups=[], capture_output=True, check=False
        ).returncode

    assert (as_nobody("cat", f"{path}/info") == 0) == allowed
    assert (as_nobody("head", "-c1", f"{path}/random") == 0) == allowed
    assert as_nobody("cat", str(mounted / "virtio-fabrics")) != 0


def refused(number: int) -> AbstractContextManager[object]:
    return pytest.raises(OSError, check=lambda error: error.errno == number)


def test_what_the_tree_forbids(mount: MakeMount, disks: TargetProcess) -> None:
    mounted = mount(DISK, tport=disks.address[1])
    with refused(errno.EPERM):
        (mounted / "new").touch()
    with refused(errno.EPERM):
        (mounted / "new").mkdir()
    with refused(errno.EPERM):
        (mounted / "disk0").rmdir()
    with refused(errno.EPERM):
        (mounted / "disk0/info").unlink()
    with refused(errno.EPERM):
        (mounted / "disk0").rename(mounted / "disk1")
    with refused(errno.EPERM):
        (mounted / "link").symlink_to("disk0")
    with refused(errno.EPERM):
        (mounted / "link").hardlink_to(mounted / "disk0/info")
    with refused(errno.EPERM):
        (mounted / "disk0/disk").chmod(0o666)
    with refused(errno.EACCES):
        (mounted / "disk0/info").open("r+b")
    with refused(errno.ENOENT):
        (mounted / "disk1").stat()
    with refused(errno.ENOENT):
        (mounted.path / os.fsdecode(b"\xff\xfe")).stat()
    with refused(errno.EISDIR):
        os.open(mounted / "disk0", os.O_RDWR)
    assert os.statvfs(mounted.path).f_namemax == 255


def test_many_lookups(mount: MakeMount, rng: ScriptedRng) -> None:
    """Whatever is not there leaves no trace; the numbers of what is do not change."""
    mounted = mount(RNG_TVQN, tport=rng.port)
    number = (mounted / "rng0/info").stat().st_ino
    for _ in range(200):
        with refused(errno.ENOENT):
            (mounted / "nothing").stat()
        assert (mounted / "rng0/info").stat().st_ino == number


@pytest.mark.parametrize("way", [["umount"], ["fusermount3", "-u"]], ids=lambda way: way[0])
def test_leaving(mount: MakeMount, rng: ScriptedRng, way: list[str]) -> None:
    mounted = mount(RNG_TVQN, tport=rng.port)
    subprocess.run([*way, mounted.path], check=True, capture_output=True)
    eventually(lambda: not alive(mounted.pid), "the end of vof-mount")
    assert not is_mounted(mounted.path)
    # The session was closed in good order.
    eventually(lambda: 1 in rng.opcodes(), "a disconnect")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_leaving_on_a_signal(mount: MakeMount, rng: ScriptedRng, number: signal.Signals) -> None:
    """Even with a file open."""
    mounted = mount(RNG_TVQN, tport=rng.port)
    fd = os.open(mounted / "rng0/random", os.O_RDONLY)
    assert os.read(fd, 10)
    os.kill(mounted.pid, number)
    eventually(lambda: not alive(mounted.pid), "the end of vof-mount")
    assert not is_mounted(mounted.path)
    with refused(errno.ENOTCONN):
        os.read(fd, 10)
    with refused(errno.ENOTCONN):
        os.close(fd)


def test_a_busy_mount_stays(mount: MakeMount, rng: ScriptedRng) -> None:
    mounted = mount(RNG_TVQN, tport=rng.port)
    with (mounted / "rng0/random").open("rb", buffering=0) as random:
        assert subprocess.run(["umount", mounted.path], capture_output=True, check=False).returncode
        assert random.read(10)
