# SPDX-License-Identifier: BSD-3-Clause
"""The vof-mount program: arguments, options, and one clear line for whatever goes wrong."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fuse.conftest import DISK, DISK_SIZE, MakeMount
from tests.fuse.mounting import COMMAND, PATIENCE, alive, eventually, is_mounted, vof_mount
from tests.support.loopback import unused_port
from tests.support.scripted_rng import RNG_TVQN, ScriptedRng, rng_device
from tests.target.process import TargetProcess
from vof import __version__

pytestmark = pytest.mark.fuse


def fails(*arguments: str | Path) -> str:
    """Run the program; return the one line it fails with."""
    run = vof_mount(*arguments)
    assert run.returncode == 1, run
    assert run.stdout == ""
    (line,) = run.stderr.splitlines()
    assert line.startswith("vof-mount: ")
    return line.removeprefix("vof-mount: ")


def test_version() -> None:
    run = vof_mount("--version")
    assert (run.returncode, run.stdout) == (0, f"vof-mount {__version__}\n")


def test_no_arguments() -> None:
    run = vof_mount()
    assert run.returncode == 2
    assert "usage: vof-mount" in run.stderr


def test_libfuse_is_bound_already(folder: Path) -> None:
    """What pyfuse3 does not pass on is not seen then; nothing is mounted that lacks it."""
    run = vof_mount(folder, command=["env", "LD_PRELOAD=libfuse3.so.3", *COMMAND])
    assert run.returncode == 1
    assert "is there one in LD_PRELOAD?" in run.stderr
    assert not is_mounted(folder)


def test_a_target_that_is_not_there(folder: Path) -> None:
    line = fails("-o", f"tport={unused_port()}", DISK, folder)
    assert "Connection refused" in line
    assert "is a target listening there?" in line
    assert not is_mounted(folder)


def test_an_address_that_is_none(folder: Path) -> None:
    assert "cannot resolve taddr=no.such.host.invalid" in fails(
        "-o", "taddr=no.such.host.invalid", DISK, folder
    )


def test_a_target_that_does_not_answer(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert "did not answer" in fails("-o", f"tport={port},timeout=0.5", DISK, folder)


@pytest.fixture
def configured(
    tmp_path: Path, folder: Path, disks: TargetProcess, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A configuration with a mount called ``disks``, on ``folder``, which is returned."""
    text = f"[mount disks]\nmountpoint = {folder}\ntvqns = {DISK}\ntport = {disks.address[1]}\n"
    (tmp_path / "vof.conf").write_text(text, encoding="utf-8")
    monkeypatch.setenv("VOF_CONFIG_DIR", str(tmp_path))
    return folder


@pytest.mark.parametrize("option", ["-c", "--config"])
def test_a_mount_by_its_name(configured: Path, option: str) -> None:
    run = vof_mount(option, "disks", "-o", "mode=640")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert is_mounted(configured)
    disk = configured / "disk0" / "disk"
    assert (disk.stat().st_size, disk.stat().st_mode & 0o777) == (DISK_SIZE, 0o640)


def test_a_mount_by_its_name_in_the_foreground(configured: Path) -> None:
    """As the unit has it: it ends in order when it is told to."""
    with subprocess.Popen([*COMMAND, "-f", "-c", "disks"], stderr=subprocess.PIPE) as program:
        eventually((configured / "disk0").exists, "the mount")
        program.send_signal(signal.SIGTERM)
        assert program.wait(PATIENCE) == 0
    assert not is_mounted(configured)


def test_options_between_names(folder: Path, disks: TargetProcess) -> None:
    run = vof_mount(DISK, "-o", f"tport={disks.address[1]}", folder, "-o", "mode=640")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert (folder / "disk0" / "disk").stat().st_mode & 0o777 == 0o640


def test_a_mount_that_is_not_configured(configured: Path) -> None:
    assert "there is no [mount diks] in the configuration; did you mean 'disks'?" in fails(
        "-c", "diks"
    )
    assert not is_mounted(configured)


def test_an_unknown_tvqn(folder: Path, disks: TargetProcess) -> None:
    line = fails("-o", f"tport={disks.address[1]}", DISK, "no/such.service", folder)
    assert "has no device 'no/such.service'; check tvqn=" in line
    assert not is_mounted(folder)


def test_a_type_that_cannot_be_shown(folder: Path) -> None:
    with ScriptedRng(rng_device(device_id=1)) as target:
        line = fails("-o", f"tport={target.port}", RNG_TVQN, folder)
    assert "virtio device type 1, which cannot be shown as files" in line
    assert "virtio-block, " in line
    assert "virtio-rng" in line


def test_mountpoints(folder: Path, tmp_path: Path, mount: MakeMount) -> None:
    assert "does not exist" in fails(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    assert "is not a directory" in fails(tmp_path / "file")
    mount()
    assert "is busy: a fuse.vof is mounted there already" in fails(folder)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_the_mount_of_a_killed_program_is_replaced(
    folder: Path, mount: MakeMount, busy: bool
) -> None:
    """Also where a program has a file open in it."""
    killed = mount().pid
    control = folder / "virtio-fabrics"
    fd = os.open(control, os.O_RDONLY) if busy else None
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: not alive(killed), "the end of vof-mount")
    with pytest.raises(OSError, match="not connected"):
        control.stat()
    run = vof_mount(folder)
    assert run.returncode == 0, run.stderr
    assert control.read_bytes()
    if fd is not None:
        with suppress(OSError):
            os.close(fd)


@pytest.mark.skipif(os.getuid() != 0, reason="missing: root, to mount something else")
def test_the_dead_mount_of_another_program_is_left(folder: Path) -> None:
    """What is not ours is said, not unmounted."""
    fd = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fd},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    command = ["mount", "-i", "-t", "fuse.other", "-o", options, "other", str(folder)]
    subprocess.run(command, check=True, pass_fds=[fd])
    os.close(fd)
    assert f"`umount {folder}` clears it" in fails(folder)
    assert is_mounted(folder)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("colour=red", "unknown option 'colour'"),
        ("uid", "option 'uid' needs a value"),
        ("allow_other=yes", "option 'allow_other' takes no value"),
        ("uid=nobody-of-that-name", "no such user"),
        ("gid=4294967295", "not a number from"),
        ("mode=999", "not permissions in octal"),
        ("mode=7777", "not permissions in octal"),
        ("tport=0", "tport=0"),
        ("transport=pigeon", "transport=pigeon"),
        ("timeout=0", "could not be killed"),
        ("timeout=soon", "timeout=soon"),
        ("name=x", "exactly one TVQN"),
        ("tvqn=x", "unknown option 'tvqn'"),
    ],
)
def test_bad_options(folder: Path, options: str, words: str) -> None:
    assert words in fails("-o", options, folder)


@pytest.mark.skipif(os.getuid() != 0, reason="missing: root, to be somebody else")
def test_without_permission(tmp_path: Path, folder: Path) -> None:
    """Somebody else's mountpoint, and no /etc/fuse.conf that would allow allow_other."""
    # A place and a Python that anybody can reach.
    run = subprocess.run(
        ["/usr/bin/python3", "-c", "import vof"], capture_output=True, check=False, user=65534
    )
    if run.returncode:
        launcher = ["unshare", "--map-user=65534", "--mount", "--"]
        run = subprocess.run([*launcher, "true"], capture_output=True, check=False)
        assert run.returncode == 0, run.stderr
    else:
        launcher = []
    result = vof_mount(folder, command=[*launcher, *COMMAND])
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("vof-mount: ")
    assert "permi" in line.lower() or "cannot mount on" in line
    assert not is_mounted(folder)


def test_the_foreground(folder: Path, rng: ScriptedRng) -> None:
    process = subprocess.Popen(
        [*COMMAND, "-f", "-o", f"tport={rng.port}", RNG_TVQN, folder],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        eventually(lambda: is_mounted(folder), "the mount")
        assert (folder / "rng0").is_dir()
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _out, said = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert "Traceback" not in said
    assert f"vof-mount: tvqn={RNG_TVQN} device=rng0 target=127.0.0.1:{rng.port} " in said
    assert not is_mounted(folder)


def test_a_relative_mountpoint(folder: Path) -> None:
    """The program changes to / in the background."""
    run = subprocess.run(
        [*COMMAND, "mnt"], cwd=folder.parent, capture_output=True, text=True, check=False
    )
    try:
        assert (run.returncode, run.stderr) == (0, "")
        assert is_mounted(folder)
    finally:
        subprocess.run(["umount", folder], check=True)


def test_it_leaves_the_terminal(folder: Path) -> None:
    """Whoever waits for the end of its output does not wait for the end of the mount."""
    run = subprocess.run(
        ["sh", "-c", f"{' '.join(COMMAND)} {folder} | cat; echo done"],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert run.stdout == "done\n"
    assert is_mounted(folder)
    subprocess.run(["umount", folder], check=True)


def test_what_is_configured_for_a_mountpoint(
    folder: Path,
    tmp_path: Path,
    mount: MakeMount,
    rng: ScriptedRng,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VOF_CONFIG_DIR", str(tmp_path))
    text = f"[mount rng]\nmountpoint = {folder}\ntvqns = {RNG_TVQN}\ntport = {rng.port}\n"
    (tmp_path / "vof.conf").write_text(text, encoding="utf-8")
    mount()
    with (folder / "rng0" / "random").open("rb") as file:
        assert len(file.read(16)) == 16
