# SPDX-License-Identifier: BSD-3-Clause
"""mount(8) and fstab: by the helper for ``fuse.vof``, and by mount.fuse3(8) for ``fuse.vof-mount``.

In a mount namespace of its own, whose /usr/sbin has the helper in it: nothing of the machine is
changed, and whatever a test leaves mounted goes with the namespace.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuse.conftest import DISK, OTHER_DISK
from tests.fuse.mounting import clear_away
from tests.target.process import TargetProcess

pytestmark = [
    pytest.mark.fuse,
    pytest.mark.skipif(os.getuid() != 0, reason="missing: root, for mount(8)"),
]

Shell = Callable[[str], "subprocess.CompletedProcess[str]"]

# The program as pip installs it: a script named after it, whose first word decides what it is.
PROGRAM = f"""#!{sys.executable}
import sys
from vof.__main__ import vof_mount
sys.exit(vof_mount())
"""

PREPARE = """
mount --bind /usr/sbin {real}
for file in {real}/*; do ln -s "$file" {links}/; done
cp {program} {links}/mount.fuse.vof
cp {program} {links}/vof-mount
mount --bind {links} /usr/sbin
"""


@pytest.fixture
def shell(tmp_path: Path, folder: Path) -> Shell:
    """Return a runner of shell commands in such a namespace, with the mountpoint as ``$mnt``."""
    names = {name: tmp_path / name for name in ("real", "links", "program")}
    names["real"].mkdir()
    names["links"].mkdir()
    names["program"].write_text(PROGRAM, encoding="utf-8")
    names["program"].chmod(0o755)

    def run(commands: str) -> subprocess.CompletedProcess[str]:
        script = f"{PREPARE.format(**names)}\nmnt={shlex.quote(str(folder))}\n{commands}\n"
        try:
            return subprocess.run(
                ["unshare", "--mount", "sh", "-e", "-c", script],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            clear_away(folder)
            for link in names["links"].iterdir():
                link.unlink()

    return run


# Unmounted at the end: then the program ends by itself.
LOOK = """
grep "$mnt" /proc/mounts
ls "$mnt"
cat "$mnt"/disk0/info
umount "$mnt"
"""


def test_mount_by_type(shell: Shell, disks: TargetProcess) -> None:
    run = shell(f"mount -t fuse.vof {DISK} $mnt -o tport={disks.address[1]},noatime,ro{LOOK}")
    assert (run.returncode, run.stderr) == (0, "")
    line, *rest = run.stdout.splitlines()
    assert line.split()[0] == DISK
    assert line.split()[2] == "fuse.vof"
    assert {"ro", "noatime"} <= set(line.split()[3].split(","))
    assert "state: ready" in rest


@pytest.mark.parametrize("source", ["none", "vof"])
def test_no_device(shell: Shell, source: str) -> None:
    run = shell(f"mount -t fuse.vof {source} $mnt; ls $mnt; umount $mnt")
    assert (run.returncode, run.stderr, run.stdout) == (0, "", "virtio-fabrics\n")


def test_by_way_of_mount_fuse3(shell: Shell, disks: TargetProcess) -> None:
    run = shell(f"mount -t fuse.vof-mount {DISK} $mnt -o tport={disks.address[1]}{LOOK}")
    assert (run.returncode, run.stderr) == (0, "")
    assert "state: ready" in run.stdout


def test_fstab(shell: Shell, disks: TargetProcess, tmp_path: Path, folder: Path) -> None:
    """With every option that people write there for others to read."""
    options = (
        f"tport={disks.address[1]},uid=12,gid=34,mode=640,allow_other,_netdev,noauto,nofail,user,"
        "x-systemd.automount,x-systemd.requires=network-online.target,defaults,comment=mine"
    )
    fstab = tmp_path / "fstab"
    fstab.write_text(f"{DISK},{OTHER_DISK} {folder} fuse.vof {options} 0 0\n", encoding="utf-8")
    run = shell(
        f"mount -T {fstab} $mnt; stat -c '%u %g %a' $mnt/disk0-2/disk; ls $mnt/disk0-2"
        # Another `mount -a` sees that it is there.
        f"; sed -i s/noauto,// {fstab}; mount -a -T {fstab}; grep -c $mnt /proc/mounts{LOOK}"
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines()[:4] == ["12 34 640", "disk", "info", "1"]


def test_a_fake_mount(shell: Shell) -> None:
    run = shell("mount -f -t fuse.vof none $mnt; ls $mnt")
    assert (run.returncode, run.stderr, run.stdout) == (0, "", "")


def test_what_the_helper_cannot(shell: Shell, disks: TargetProcess) -> None:
    run = shell(f"mount -t fuse.vof no/such $mnt -o tport={disks.address[1]}")
    assert run.returncode
    assert "vof-mount: " in run.stderr
    assert "has no device 'no/such'" in run.stderr
    run = shell("mount -t fuse.vof none $mnt -o colour=red")
    assert "unknown option 'colour'" in run.stderr
