# SPDX-License-Identifier: BSD-3-Clause
"""The kernel's nbd devices, for scenarios: attach, detach, look at them, and what the kernel says.

Owns the way around a fault of Linux that emulation on a busy machine brings to light. nbd receives
the replies of a connection in a work item that runs as long as the device is attached. Where the
kernel takes more than 10 ms to make a thread for such an item, the workqueue's rescuer takes those
of all connections to work them off in turn, and never gets beyond the first: what is sent over the
others is answered, but nobody reads the answer, until nbd's timeout of 30 s shuts that connection
down. So `attach` counts the threads that receive, and attaches again unless there is one for each.
The threads stay for some minutes, which is why that helps.
"""

import re
import time
from pathlib import Path

from tests.guest.steps import StepError, run, wait_until

_ATTEMPTS = 6
_PATIENCE = 5.0

_said: list[str] = []


def attach(device: Path, socket: Path, *options: str, connections: int) -> int:
    """Attach what is served at the socket; the attempts it took."""
    for attempt in range(1, _ATTEMPTS + 1):
        _listen()
        run("nbd-client", "-unix", socket, device, *options, "-connections", str(connections))
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            if receivers(device) == connections:
                run("udevadm", "settle")
                return attempt
            time.sleep(0.05)
        _disconnect(device)
        run("udevadm", "settle")
        run("dmesg", "--clear")  # those errors say nothing about us
    raise StepError(f"after {_ATTEMPTS} attempts {device} has a connection that nobody listens to")


def detach(device: Path) -> None:
    """Detach when udev has read what it wants. For a device that is attached."""
    run("udevadm", "settle")
    _disconnect(device)


def is_attached(device: Path) -> bool:
    return Path("/sys/block", device.name, "pid").exists()


def receivers(device: Path) -> int:
    """The kernel's threads, rescuers aside, that are receiving for the device."""
    count = 0
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            name = path.read_text(encoding="utf-8", errors="replace").strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
        count += name.startswith("kworker") and name.endswith(f"+{device.name}-recv")
    return count


def attribute(device: Path, name: str) -> str:
    """A file of the device's in sysfs."""
    return Path("/sys/block", device.name, name).read_text(encoding="ascii").strip()


def written(device: Path) -> int:
    """The bytes that the kernel has written to the device."""
    return int(attribute(device, "stat").split()[6]) * 512


def complaints() -> list[str]:
    """What the kernel has said up to now about nbd, file systems and tasks that hang."""
    _listen()
    ordinary = "shutting down sockets"  # on every detach
    what = re.compile(r"nbd\d|I/O error|EXT4-fs|XFS|blocked for")
    return [line for line in _said if what.search(line) and not line.endswith(ordinary)]


def _listen() -> None:
    levels = "emerg,alert,crit,err,warn"
    _said.extend(run("dmesg", "--read-clear", "--level", levels).splitlines())


def _disconnect(device: Path) -> None:
    run("nbd-client", "-d", device)
    wait_until(f"{device} to be free", lambda: not is_attached(device))
