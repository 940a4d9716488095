# SPDX-License-Identifier: BSD-3-Clause
"""The control file on a real mount: commands, every way to get one wrong, and the words for it."""

from __future__ import annotations

import errno
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.fuse.conftest import DISK, OTHER_DISK, MakeMount
from tests.fuse.mounting import Mount
from tests.support.loopback import Background, unused_port
from tests.support.scripted_rng import RNG_TVQN, ScriptedRng, rng_device
from tests.target.process import TargetProcess

pytestmark = pytest.mark.fuse


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of something that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        yield port


def refused(number: int) -> AbstractContextManager[object]:
    return pytest.raises(OSError, check=lambda error: error.errno == number)


def devices(mounted: Mount) -> set[str]:
    return {entry.name for entry in mounted.path.iterdir()} - {"virtio-fabrics"}


def test_the_published_command(mount: MakeMount, rng: ScriptedRng) -> None:
    """Word for word as in the proposal, from a shell."""
    mounted = mount()
    ivqn = "vqn.uuid:42761df9-4c3f-4b27-843d-c88d1dcdce32"
    ends = f"transport=tcp,taddr=127.0.0.1,tport={rng.port},tvqn={RNG_TVQN},iaddr=127.0.0.1"
    for command in (
        f"command=create,{ends},iport=0,ivqn={ivqn}",
        f"command=destroy,{ends},ivqn={ivqn}",
    ):
        run = subprocess.run(
            ["sh", "-c", f"echo {command} > {mounted.path}/virtio-fabrics"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (run.returncode, run.stderr) == (0, "")
        assert devices(mounted) == ({"rng0"} if "create" in command else set())
    body = rng.commands[0].payload
    assert body[:256].rstrip(b"\0").decode() == ivqn
    assert mounted.last_error() == "none"


def test_the_mounts_parameters_are_the_defaults(mount: MakeMount, rng: ScriptedRng) -> None:
    mounted = mount(tport=rng.port, ivqn="vqn.uuid:mine", timeout=7)
    mounted.command(f"command=create,tvqn={RNG_TVQN},name=dice")
    info = mounted.info("dice")
    assert (info["ivqn"], info["timeout"]) == ("vqn.uuid:mine", "7")
    mounted.command(f"command=destroy,tvqn={RNG_TVQN}")
    assert devices(mounted) == set()
    mounted.command(f"command=create,tvqn={RNG_TVQN},timeout=3")
    assert mounted.info("rng0")["timeout"] == "3"


def test_reading_tells_the_keys(mount: MakeMount) -> None:
    text = (mount() / "virtio-fabrics").read_text(encoding="utf-8")
    keys = re.findall(r"^  (\w+)= ", text, re.MULTILINE)
    assert {"command", "tvqn", "taddr", "tport", "transport", "ivqn", "iaddr", "iport"} < set(keys)
    assert text.endswith("last_error: none\n")


BAD: list[tuple[str | bytes, str]] = [
    ("", "unknown key ''"),
    ("\n", "unknown key ''"),
    ("nonsense", "unknown key 'nonsense'"),
    ("command=create", "tvqn= is missing"),
    ("command=destroy", "tvqn= is missing"),
    ("tvqn=a/b", "command= is missing"),
    ("command=explode,tvqn=a/b", "command= 'explode' is not known"),
    ("command=create,tvqn=a/b,colour=red", "unknown key 'colour'"),
    ("command=create,tvqn=a/b,tvqn=c/d", "tvqn= is given twice"),
    ("command=create,tvqn=", "tvqn= has no value"),
    ("command=create,tvqn", "tvqn= has no value"),
    ("command=create,tvqn=a/b,tport=70000", "tport=70000"),
    ("command=create,tvqn=a/b,transport=carrier-pigeon", "transport=carrier-pigeon"),
    ("command=create,tvqn=a/b,transport=rdma,", "unknown key ''"),
    ("command=create,tvqn=a/b,timeout=0", "timeout=0"),
    ("command=create,tvqn=a/b,timeout=-1", "timeout=-1"),
    ("command=create,tvqn=a/b,dialect=klingon", "dialect=klingon"),
    ("command=create,tvqn=a/b,name=..", "name=..: not a name"),
    ("command=create,tvqn=a/b,name=x/y", "name=x/y: not a name"),
    (f"command=create,tvqn={'x' * 256}", "256 bytes long"),
    (b"command=create,tvqn=\xff", "not valid UTF-8"),
    ("command=create,tvqn=a/b\0,tport=1", "NUL"),
]


def test_bad_commands(mount: MakeMount) -> None:
    mounted = mount()
    for command, words in BAD:
        if command:
            with refused(errno.EINVAL):
                mounted.command(command)
            assert words in mounted.last_error(), command
    assert devices(mounted) == set()


@pytest.mark.parametrize("size", [4097, 100_000, 2 << 20])
def test_a_command_too_long(mount: MakeMount, size: int) -> None:
    mounted = mount()
    with refused(errno.EMSGSIZE):
        mounted.command("command=create,tvqn=" + "x" * (size - 20))
    assert "at most 4096" in mounted.last_error()


def test_names_in_use(mount: MakeMount, rng: ScriptedRng, disks: TargetProcess) -> None:
    mounted = mount(RNG_TVQN, tport=rng.port)
    with refused(errno.EEXIST):
        mounted.command(f"command=create,tvqn={RNG_TVQN}")
    assert "is here already" in mounted.last_error()
    for name in ("rng0", "virtio-fabrics"):
        with refused(errno.EEXIST):
            mounted.command(f"command=create,tvqn={DISK},tport={disks.address[1]},name={name}")
    assert devices(mounted) == {"rng0"}


def test_devices_that_cannot_be(mount: MakeMount, disks: TargetProcess) -> None:
    mounted = mount(tport=disks.address[1])
    with refused(errno.ENODEV):
        mounted.command("command=create,tvqn=no/such.service")
    assert "has no device 'no/such.service'" in mounted.last_error()
    with refused(errno.ECONNREFUSED):
        mounted.command(f"command=create,tvqn=a/b,tport={unused_port()}")
    assert "is a target listening there?" in mounted.last_error()
    with refused(errno.ENODEV):
        mounted.command("command=destroy,tvqn=no/such.service")
    with ScriptedRng(rng_device(device_id=1)) as target:
        with refused(errno.EOPNOTSUPP):
            mounted.command(f"command=create,tvqn={RNG_TVQN},tport={target.port}")
    assert "virtio device type 1, which cannot be shown" in mounted.last_error()
    assert devices(mounted) == set()


def test_one_tvqn_at_two_targets(mount: MakeMount, rng: ScriptedRng) -> None:
    with ScriptedRng() as second:
        mounted = mount(RNG_TVQN, tport=rng.port)
        mounted.command(f"command=create,tvqn={RNG_TVQN},tport={second.port}")
        assert devices(mounted) == {"rng0", "rng0-2"}
        with refused(errno.EINVAL):
            mounted.command(f"command=destroy,tvqn={RNG_TVQN}")
        assert "from several targets" in mounted.last_error()
        mounted.command(f"command=destroy,tvqn={RNG_TVQN},tport={rng.port}")
        assert devices(mounted) == {"rng0-2"}
        mounted.command(f"command=destroy,tvqn={RNG_TVQN}")
        assert devices(mounted) == set()


def test_a_target_that_does_not_answer(mount: MakeMount, disks: TargetProcess, silent: int) -> None:
    """Whoever asked waits; the mount does not."""
    mounted = mount(DISK, tport=disks.address[1], timeout=4)
    creation = Background(mounted.command, f"command=create,tvqn=a/b,tport={silent}")
    time.sleep(0.1)
    assert (mounted / "disk0/disk").read_bytes()[:10] == bytes(10)
    mounted.command(f"command=create,tvqn={OTHER_DISK}")
    assert devices(mounted) == {"disk0", "disk0-2"}
    with refused(errno.EEXIST):
        mounted.command(f"command=create,tvqn=a/b,tport={silent}")
    assert creation.running
    with refused(errno.EIO):
        creation.result()
    assert "did not answer" in mounted.last_error()
    assert devices(mounted) == {"disk0", "disk0-2"}


def test_many_silent_targets(mount: MakeMount, silent: int) -> None:
    """More than are opened at once: each gets its answer, and the tree stays readable."""
    mounted = mount(timeout=0.3, tport=silent)
    commands = [Background(mounted.command, f"command=create,tvqn=a/{n}") for n in range(40)]
    assert devices(mounted) == set()
    for command in commands:
        with refused(errno.EIO):
            command.result()


def test_leaving_while_one_waits(mount: MakeMount, silent: int) -> None:
    mounted = mount(tport=silent, timeout=20)
    command = Background(mounted.command, "command=create,tvqn=a/b")
    time.sleep(0.2)
    os.kill(mounted.pid, 15)
    with pytest.raises(OSError, match="Errno"):
        command.result(10.0)


def test_destroying_what_is_in_use(mount: MakeMount, disks: TargetProcess) -> None:
    mounted = mount(DISK, tport=disks.address[1])
    fd = os.open(mounted / "disk0/disk", os.O_RDONLY)
    folder = os.open(mounted / "disk0", os.O_RDONLY)
    try:
        mounted.command(f"command=destroy,tvqn={DISK}")
        with refused(errno.EIO):
            os.pread(fd, 10, 0)
        assert os.fstat(folder)
        assert not Path(mounted / "disk0").exists()
        mounted.command(f"command=create,tvqn={DISK}")
        assert (mounted / "disk0/disk").read_bytes()[:10] == bytes(10)
    finally:
        os.close(fd)
        os.close(folder)
