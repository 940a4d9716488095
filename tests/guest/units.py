# SPDX-License-Identifier: BSD-3-Clause
"""The units of a machine with systemd, for the scenarios that run there: what is installed and
configured on it, and asking systemd and its journal."""

import json
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from tests.guest import remote_disk
from tests.guest.harness import CHECKOUT
from tests.guest.machine import PLACE
from tests.guest.remote_disk import BY_ID, DEVICE, MOUNT, TVQN
from tests.guest.steps import run, wait_until

TARGET = "vof-target.service"
DISK = "vof-connect@disk0.service"
WITH_DISK = "vof-disk@disk0.target"
FILES = "vof-mount@remote.service"
FILE_SYSTEM = "srv-remote.mount"
UNITS = (DISK, WITH_DISK, FILES, TARGET)
SERVICES = (DISK, FILES, TARGET)

IMAGE = Path("/var/lib/vof/disk0.img")
SIZE = 32 << 20
FOLDER = Path("/srv/files")
RANDOM = FOLDER / "rng0" / "random"
NAMES = ("words", "after", "later")
WORDS = "written before the reboot\n"
METRICS = "127.0.0.1:9301"

TIMEOUT = 40
"""Seconds for a request of the disk: a target that does not answer keeps a shutdown that long."""

_TARGET = f"""\
[target]
threads = 2
metrics = {METRICS}

[disk0]
tvqn = {TVQN}
model = block
backend = driver=block-posix,path={IMAGE},queues=2,serial={remote_disk.SERIAL}

[rng0]
tvqn = virtio-target/rng/rng0.service
model = rng
backend = driver=rng-simulator
"""
_VOF = f"""\
[defaults]
timeout = {TIMEOUT}

[device disk0]
tvqn = {TVQN}
device = {DEVICE}
connections = {remote_disk.CONNECTIONS}

[mount remote]
mountpoint = {FOLDER}
tvqns = virtio-target/rng/rng0.service
"""
_OPTIONS = f"_netdev,x-systemd.requires={WITH_DISK},x-systemd.device-timeout=600"
_FSTAB = f"{BY_ID} {MOUNT} ext4 {_OPTIONS} 0 2\n"

_CHECKED_OUT = """\
#!/usr/lib/vof/bin/python3
import sys
from vof.__main__ import {function}
sys.exit({function}())
"""
_PROGRAMS = {
    "sbin/vofctl": "vofctl",
    "sbin/vof-target": "vof_target",
    "bin/vof-mount": "vof_mount",
}


def furnish(root: Path, *, programs: bool, image: Path | None = None) -> None:
    """Make `root`, a folder on the host, what a machine's owner would add to a Debian.

    With `programs` also what `make install` would: units and rules by it, and programs that are
    the checkout's. The disk has the content of `image`, or none.
    """
    for path, text in (
        ("etc/vof/vof.conf", _VOF),
        ("etc/vof/initiator-name", "vqn.uuid:the-guest\n"),
        ("etc/vof/target.conf", _TARGET),
        ("etc/fstab", _FSTAB),
        # Programs take ten times as long here.
        (f"etc/systemd/system/{DISK}.d/slow.conf", "[Service]\nTimeoutStartSec=600\n"),
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    for folder in (IMAGE.parent, MOUNT, FOLDER):
        _inside(root, folder).mkdir(parents=True)
    if image:
        shutil.copyfile(image, _inside(root, IMAGE))
    else:
        with _inside(root, IMAGE).open("wb") as blank:
            blank.truncate(SIZE)
    if programs:
        subprocess.run([CHECKOUT / "tools/install.sh", root, "files"], check=True)
        _install_programs(root / "usr")


def enable(root: Path) -> None:
    """Have all of it come up at the next boot."""
    for unit, template, by in (
        (DISK, "vof-connect@.service", "remote-fs.target"),
        (FILES, "vof-mount@.service", "remote-fs.target"),
        (TARGET, TARGET, "multi-user.target"),
    ):
        wants = root / f"etc/systemd/system/{by}.wants"
        wants.mkdir(parents=True, exist_ok=True)
        (wants / unit).symlink_to(f"/usr/lib/systemd/system/{template}")


def _inside(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _install_programs(usr: Path) -> None:
    home = usr / "lib/vof"
    packages = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    (home / "bin").mkdir(parents=True)
    (home / packages).mkdir(parents=True)
    (home / "bin/python3").symlink_to("/usr/bin/python3")
    (home / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = true\n")
    paths = (PLACE / "gateway", PLACE / ".venv" / packages)
    (home / packages / "checkout.pth").write_text("".join(f"{path}\n" for path in paths))
    for name, function in _PROGRAMS.items():
        program = home / "bin" / Path(name).name
        program.write_text(_CHECKED_OUT.format(function=function), encoding="ascii")
        program.chmod(0o755)
        (usr / name).parent.mkdir(parents=True, exist_ok=True)
        (usr / name).symlink_to(Path("../lib/vof/bin", program.name))


def systemctl(*words: str, check: bool = True) -> str:
    """Run it; what it printed."""
    return run("systemctl", "--no-pager", *words, check=check)


def properties(unit: str, *names: str) -> dict[str, str]:
    """Some of a unit's properties, and how it is."""
    wanted = ("ActiveState", "SubState", "Result", "NRestarts", "MainPID", *names)
    lines = systemctl("show", unit, "-p", ",".join(wanted)).splitlines()
    return dict(line.split("=", 1) for line in lines)


def order(*boot: str) -> list[str]:
    """What systemd and the programs said of these units, oldest first, as `UNIT: message`."""
    run("journalctl", "--sync")
    command = ["journalctl", "-q", "-o", "json", "--output-fields=UNIT,_SYSTEMD_UNIT,MESSAGE"]
    chosen = [f"--unit={unit}" for unit in (*UNITS, FILE_SYSTEM)]
    done = subprocess.run([*command, *chosen, *boot], stdout=subprocess.PIPE, check=True)
    said = [json.loads(line) for line in done.stdout.splitlines()]
    return [f"{entry.get('UNIT') or entry['_SYSTEMD_UNIT']}: {entry['MESSAGE']}" for entry in said]


def look_at_target() -> dict[str, Any]:
    """Whether it reloads when it is told to, and the first words of its metrics."""
    systemctl("reload", TARGET)
    wait_until("the reload", lambda: any("event=reloaded" in line for line in order("-b")), 30)
    with urllib.request.urlopen(f"http://{METRICS}/metrics", timeout=30) as reply:
        return {"metrics": reply.read(64).decode(), "reloaded": True}
