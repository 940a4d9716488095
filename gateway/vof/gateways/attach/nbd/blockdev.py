# SPDX-License-Identifier: BSD-3-Clause
"""The kernel's nbd devices, by their files in /sys, /dev and /proc.

Owns how an attached device is recognised, which connections of one are listened to, and what uses
it. Must not know netlink or nbdkit.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vof.errors import ConfigError, VofError
from vof.gateways.attach.clock import CLOCK, Clock, Deadline

_DEVICE = re.compile(r"(?:/dev/)?nbd(0|[1-9]\d{0,6})")

_POLL = 0.02
"""Seconds between two looks at what the kernel does not announce."""

_SECTOR = 512

_NO_UUID = uuid.UUID(int=0)
"""Linux's Documentation/ABI/testing/sysfs-uevent: arguments come after a UUID, whichever it is."""


@dataclass(frozen=True)
class Kernel:
    """The file systems in which the kernel shows itself; tests show another."""

    sys: Path = Path("/sys")
    dev: Path = Path("/dev")
    proc: Path = Path("/proc")

    def device(self, index: int) -> BlockDevice:
        return BlockDevice(self, index)

    def devices(self) -> Iterator[BlockDevice]:
        """Yield every nbd device there is, in order."""
        numbers = (_DEVICE.fullmatch(path.name) for path in (self.sys / "block").glob("nbd*"))
        for index in sorted(int(found[1]) for found in numbers if found):
            yield BlockDevice(self, index)


@dataclass(frozen=True)
class Use:
    """Something that keeps a disk from being detached."""

    how: str
    """In words, as "mounted on /mnt"."""


@dataclass(frozen=True)
class BlockDevice:
    """/dev/nbdN."""

    kernel: Kernel
    index: int

    @property
    def name(self) -> str:
        return f"nbd{self.index}"

    @property
    def path(self) -> Path:
        return self.kernel.dev / self.name

    @property
    def folder(self) -> Path:
        return self.kernel.sys / "block" / self.name

    def attribute(self, name: str) -> str | None:
        """Return what a file of the device's in sysfs says; None if it is not there."""
        try:
            return (self.folder / name).read_text(encoding="utf-8", errors="replace").strip()
        except (FileNotFoundError, NotADirectoryError, OSError):
            return None

    @property
    def size(self) -> int:
        """The size in bytes; 0 for a device that is not attached."""
        sectors = self.attribute("size") or "0"
        return int(sectors) * _SECTOR if sectors.isdigit() else 0

    @property
    def identifier(self) -> str:
        """The identifier it was attached under, empty if there is none."""
        return self.attribute("backend") or ""

    @property
    def is_attached(self) -> bool:
        """True while the driver has a configuration for it, be its connections alive or not."""
        return self.attribute("pid") is not None

    def receivers(self) -> int:
        """Return how many threads of the kernel, rescuers aside, receive for the device."""
        count = 0
        for path in self.kernel.proc.glob("[0-9]*/comm"):
            try:
                name = path.read_text(encoding="utf-8", errors="replace").strip()
            except (FileNotFoundError, ProcessLookupError):
                continue
            count += name.startswith("kworker") and name.endswith(f"+{self.name}-recv")
        return count

    def announce(self, *, ready: bool) -> None:
        """Have udev look at the device again, and at its partitions.

        Linux 6.1 announces an attached device before it has made the file ``backend``, and a
        detached one before it has removed that. ``ready`` tells our rule that the device is as it
        is to stay, and not to be attached anew.
        """
        words = f"change {_NO_UUID} VOF=ready" if ready else "change"
        try:
            for part in (self.folder, *self.folder.glob(f"{self.name}p*")):
                (part / "uevent").write_text(words, encoding="ascii")
        except OSError as error:
            raise VofError(f"cannot announce {self.path} to udev: {error.strerror}") from None

    def read_start(self, length: int = 4096) -> int:
        """Read the start of the disk; return how many bytes there are. Raises OSError.

        Not to be interrupted while the target takes its time.
        """
        with self.path.open("rb", buffering=0) as device:
            return len(device.read(length))

    def flush(self) -> None:
        """Write back what the kernel has of the device itself. Raises OSError."""
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def uses(self) -> list[Use]:
        """Return what the disk and its partitions are in use by: mounts, swap, other devices."""
        parts = [self.folder, *self.folder.glob(f"{self.name}p*")]
        numbers = {_read(part / "dev") for part in parts}
        names = {str(self.kernel.dev / part.name) for part in parts}
        found = [
            Use(f"mounted on {_unescape(point)}")
            for number, point in self._mounts()
            if number in numbers
        ]
        found += [Use(f"swap ({device})") for device in self._swaps() if device in names]
        for part in parts:
            if (part / "holders").is_dir():
                found += [Use(f"held by /dev/{each.name}") for each in (part / "holders").iterdir()]
        return found

    def _mounts(self) -> Iterator[tuple[str, str]]:
        """Yield the device's number and the mount point of each mount here (proc(5), mountinfo)."""
        for line in _read(self.kernel.proc / "self" / "mountinfo").split("\n"):
            fields = line.split(" ")
            if len(fields) > 4:
                yield fields[2], fields[4]

    def _swaps(self) -> Iterator[str]:
        for line in _read(self.kernel.proc / "swaps").split("\n")[1:]:
            yield line.split()[0]


def parse_device(text: str) -> int:
    """Return the number of ``/dev/nbdN`` or ``nbdN``. Raises ConfigError."""
    found = _DEVICE.fullmatch(text)
    if not found:
        raise ConfigError(f"{text} is not an nbd device; name one as /dev/nbd0")
    return int(found[1])


def index_of_link(text: str, kernel: Kernel) -> int | None:
    """Return the number of the nbd device that a path leads to, through links; else None."""
    if not text.startswith("/"):
        return None
    path = Path(os.path.realpath(text))
    found = _DEVICE.fullmatch(path.name)
    return int(found[1]) if found and path.parent == kernel.dev else None


def wait_for_size(device: BlockDevice, size: int, timeout: float, clock: Clock = CLOCK) -> None:
    """Return when device and node are there in that size (bytes). Raises VofError."""
    deadline = Deadline(timeout, clock)
    while not (device.size == size // _SECTOR * _SECTOR and _is_block_device(device.path)):
        if deadline.is_over:
            raise VofError(
                f"{device.path} has {device.size} bytes, not {size}, {timeout:g} s after it was "
                "attached"
            )
        clock.sleep(_POLL)


def wait_for_receivers(
    device: BlockDevice, count: int, timeout: float, clock: Clock = CLOCK
) -> bool:
    """Return whether the kernel listens to as many connections, at the latest after ``timeout``.

    It may not, by a fault of Linux. nbd receives the replies of a connection in a work item that
    runs as long as the device is attached. Where the kernel takes more than 10 ms to make a thread
    for one, the workqueue's rescuer takes those of all connections to work them off in turn and
    never gets beyond the first: what is sent over the others is answered, but nobody reads that.
    Attached anew it works, for the threads that were made stay for some minutes.
    """
    deadline = Deadline(timeout, clock)
    while device.receivers() < count:
        if deadline.is_over:
            return False
        clock.sleep(_POLL)
    return True


def wait_until_free(device: BlockDevice, timeout: float, clock: Clock = CLOCK) -> bool:
    """Return whether the kernel lets go of a device that was detached, soon.

    Somebody may have it open, as udev has to see what is on it. Not while it is in use: that is not
    waited for.
    """
    deadline = Deadline(timeout, clock)
    while device.is_attached:
        if device.uses() or deadline.is_over:
            return False
        clock.sleep(_POLL)
    return True


def attach_once_closed(
    attach: Callable[[], int], device: BlockDevice | None, timeout: float, clock: Clock = CLOCK
) -> int:
    """Call ``attach``, which names ``device`` to the kernel, and return what it does.

    Linux takes a device that somebody has open for one in use, also one that is attached to
    nothing, which udev looks at for a moment after each announcement: that is waited for, for
    ``timeout`` seconds. Raises what ``attach`` raises.
    """
    deadline = Deadline(timeout, clock)
    while True:
        try:
            return attach()
        except ConfigError as error:
            attached = device is None or device.is_attached
            if error.errno != errno.EBUSY or attached or deadline.is_over:
                raise
        clock.sleep(_POLL)


def _is_block_device(path: Path) -> bool:
    try:
        return stat.S_ISBLK(path.stat().st_mode)
    except OSError:
        return False


def _read(path: Path) -> str:
    try:
        # Not as text, of which other characters of a name would end a line, too.
        return path.read_bytes().decode(errors="surrogateescape").strip("\n")
    except OSError:
        return ""


def _unescape(text: str) -> str:
    """Undo the octal escapes of /proc/self/mountinfo."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
