# SPDX-License-Identifier: BSD-3-Clause
"""The next boot of the machine of `scenario_vofctl`: its disk comes back by itself.

virtme-ng boots no systemd here, so this does what systemd would, in its order, with the commands
and the notification of the units as they are installed: the target, the disk, what fstab mounts;
and at shutdown the other way round.
"""

import os
import shlex
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

from tests.guest import nbd, remote_disk
from tests.guest.remote_disk import BY_ID, IMAGE, MOUNT, PATIENCE, UNITS, Target, done, left_over
from tests.guest.steps import EXCHANGE, Scenario, expect, patience, run, wait_until

scenario = Scenario()

DISK = "VOF_GUEST_DISK"
"""The variable that names the disk of the last boot."""

NOTIFICATIONS = Path("/run/notify")


class Unit:
    """A unit's process."""

    process: subprocess.Popen[bytes]
    manager: socket.socket

    @classmethod
    def start(cls, name: str, instance: str) -> str:
        """Start it as the unit says; the first notification."""
        text = (UNITS / name).read_text("utf-8")
        [line] = [line for line in text.splitlines() if line.startswith("ExecStart=")]
        command = shlex.split(line.removeprefix("ExecStart=").replace("%i", instance))
        cls.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        cls.manager.bind(str(NOTIFICATIONS))
        cls.manager.settimeout(patience(PATIENCE))
        with (EXCHANGE / f"{instance}.log").open("ab") as log:
            environment = {**os.environ, "NOTIFY_SOCKET": str(NOTIFICATIONS)}
            cls.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        return cls.manager.recv(4096).decode()

    @classmethod
    def stop(cls) -> int:
        """As KillMode=mixed does; the exit status."""
        cls.process.send_signal(signal.SIGTERM)
        status = cls.process.wait(patience(30))
        cls.manager.close()
        return status


@scenario.step(timeout=90)
def boot() -> None:
    remote_disk.install()
    shutil.copyfile(os.environ[DISK], IMAGE)
    run("modprobe", "nbd")
    Target.start(scenario)


@scenario.step(needs=("boot",), timeout=PATIENCE)
def disk() -> dict[str, Any]:
    state = Unit.start("vof-connect@.service", "disk0")
    return {"state": state, "link": os.path.realpath(BY_ID)}


@scenario.step(needs=("disk",), timeout=120)
def mounted() -> dict[str, Any]:
    run("mount", MOUNT)
    return {
        "files": {path.name: path.read_text("ascii") for path in MOUNT.iterdir() if path.is_file()},
        "status": done("status", "disk0", "-o", "json").json,
    }


@scenario.step(needs=("mounted",), timeout=120)
def shut_down() -> dict[str, Any]:
    run("umount", MOUNT)
    status = Unit.stop()
    run("udevadm", "settle")
    expect(not nbd.is_attached(remote_disk.DEVICE), "it is attached still")
    return {"status": status, "left": left_over(), "complaints": nbd.complaints()}


@scenario.step(needs=("shut_down",), timeout=120)
def not_in_order() -> dict[str, Any]:
    """The service is stopped while its disk is mounted."""
    NOTIFICATIONS.unlink()
    Unit.start("vof-connect@.service", "disk0")
    run("mount", MOUNT)
    status = Unit.stop()
    run("umount", MOUNT)
    wait_until("the device to be free", lambda: not nbd.is_attached(remote_disk.DEVICE))
    run("udevadm", "settle")
    return {"status": status, "left": left_over()}


@scenario.step(always=True)
def stop() -> int:
    return Target.end()


if __name__ == "__main__":
    scenario.main()
