# SPDX-License-Identifier: BSD-3-Clause
"""A machine with remote disks, for the scenarios about vofctl: what is installed and configured on
it, and the target. The same for every boot, but for the disk's content, which the target keeps."""

import json
import shlex
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.guest import nbd
from tests.guest.steps import EXCHANGE, Scenario, expect, patience, run, wait_until

FOLDER = Path("/run/disks")
IMAGE = FOLDER / "disk0.img"
SIZE = 96 << 20
SERIAL = "vof disk-0"
TVQN = "virtio-target/block/disk0.service"
OTHER = "virtio-target/block/other.service"
RNG = "virtio-target/rng/rng0.service"
MOUNT = Path("/srv/remote")
BY_NAME = Path("/dev/vof/disk0")
BY_ID = Path("/dev/disk/by-id/virtio-of-vof_disk-0")
DEVICE = Path("/dev/nbd0")
UNITS = Path("/lib/systemd/system")
CONNECTIONS = 2

PATIENCE = 120
"""Seconds for a connect: programs start slowly here."""

_TARGET = f"""\
[target]
threads = 2

[disk0]
tvqn = {TVQN}
model = block
backend = driver=block-posix,path={IMAGE},queues=2,serial={SERIAL}

[other]
tvqn = {OTHER}
model = block
backend = driver=block-memory,size=16M

[rng]
tvqn = {RNG}
model = rng
backend = driver=rng-random
"""
_VOF = f"""\
[defaults]
timeout = 120
connections = {CONNECTIONS}

[device disk0]
tvqn = {TVQN}
device = {DEVICE}
"""
_FSTAB = f"{BY_ID} {MOUNT} ext4 _netdev,noauto,x-systemd.requires=vof-disk@disk0.target 0 2\n"


def install() -> list[str]:
    """Install rules and units, write the configuration; what was installed for udev."""
    run("tools/install.sh", "/", "files")
    run("udevadm", "control", "--reload")
    for path, text in (
        (Path("/etc/vof/vof.conf"), _VOF),
        (Path("/etc/vof/initiator-name"), "vqn.uuid:the-guest\n"),
        (FOLDER / "target.conf", _TARGET),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    with Path("/etc/fstab").open("a", encoding="utf-8") as fstab:
        fstab.write(_FSTAB)
    MOUNT.mkdir(parents=True, exist_ok=True)
    return [str(path) for path in Path("/lib/udev").rglob("*vof*")]


class Target:
    """vof-target, one at a time."""

    process: subprocess.Popen[bytes]
    starts = 0

    @classmethod
    def start(cls, scenario: Scenario) -> None:
        """Return when it listens."""
        log = EXCHANGE / "vof-target.log"
        cls.process = scenario.start("vof-target", "vof-target", FOLDER / "target.conf")
        cls.starts += 1
        wait_until("the target", lambda: log.read_text().count("listening on") == cls.starts, 60)

    @classmethod
    def end(cls) -> int:
        """End it in order; its exit status."""
        cls.process.send_signal(signal.SIGTERM)
        return cls.process.wait(patience(30))


@dataclass(frozen=True)
class Outcome:
    """What a vofctl did."""

    status: int
    output: str
    errors: str
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.output)

    def record(self) -> dict[str, Any]:
        return dict(vars(self))


def vofctl(*words: str | Path) -> Outcome:
    """Run it to its end."""
    command = ("vofctl", *map(str, words))
    print(f"$ {shlex.join(command)}")
    start = time.monotonic()
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    seconds = round(time.monotonic() - start, 3)
    print(f"{done.stdout}{done.stderr}[{done.returncode}, {seconds} s]")
    return Outcome(done.returncode, done.stdout, done.stderr, seconds)


def done(*words: str | Path) -> Outcome:
    """The same; StepError unless it succeeds."""
    outcome = vofctl(*words)
    expect(outcome.status == 0, f"vofctl {words}: {outcome.errors}{log()}")
    return outcome


def log() -> str:
    """What supervisors have said of disks that are there."""
    logs = Path("/run/vof/devices").glob("*/log")
    return "".join(f"\n--- {path}\n{path.read_text()}" for path in logs)


def left_over() -> dict[str, Any]:
    """What there is of attached disks: nothing, after the last was taken away."""
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _alive(path)]
    return {
        "entries": sorted(path.name for path in Path("/run/vof/devices").glob("*")),
        "attached": nbd.is_attached(DEVICE),
        "links": sorted(str(path) for path in (BY_NAME, BY_ID) if path.is_symlink()),
        "nbdkit": sum(b"nbdkit" in command.split(b"\0")[0] for command in commands),
        "vofctl": sum(b"/bin/vofctl\0" in command for command in commands),
    }


def _alive(path: Path) -> bool:
    try:
        return bool(path.read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False
