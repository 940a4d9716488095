# SPDX-License-Identifier: BSD-3-Clause
"""Checks whether a place can be mounted on, and complains in words that a user can act on.

libfuse says what it does not like on stderr, in words of its own and sometimes several lines, so
what can be known beforehand is looked at here, and the rest is caught.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from vof.errors import ConfigError

DEVICE = "/dev/fuse"

MOUNTS = Path("/proc/self/mountinfo")

TYPE = "fuse.vof"
"""What the kernel calls a mount of ours."""


def check_mountpoint(mountpoint: str) -> str:
    """Return the absolute path of a folder on which can be mounted. Raises ConfigError.

    A mount of ours whose program was killed is taken away there: who mounts again, as systemd does
    after a failure, wants another in its place.
    """
    path = os.path.realpath(mountpoint)
    _clear_dead(path)
    try:
        folder = stat.S_ISDIR(Path(path).stat().st_mode)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise ConfigError(f"mountpoint {mountpoint} does not exist; make it first") from None
        if error.errno == errno.ENOTCONN:
            raise ConfigError(
                f"mountpoint {mountpoint} is busy: the program behind an old mount is gone; "
                f"`umount {mountpoint}` clears it"
            ) from None
        raise ConfigError(f"mountpoint {mountpoint}: {error.strerror}") from None
    if not folder:
        raise ConfigError(f"mountpoint {mountpoint} is not a directory")
    kind = _mounted_at(path)
    # Of an automount point the kind is autofs: that is to be mounted on.
    if kind is not None and kind.partition(".")[0] == "fuse":
        raise ConfigError(f"mountpoint {mountpoint} is busy: a {kind} is mounted there already")
    if not Path(DEVICE).exists():
        raise ConfigError(f"there is no {DEVICE}; load the kernel's FUSE with `modprobe fuse`")
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        raise ConfigError(f"no permission to open {DEVICE}")
    return path


def catch_stderr(call: Callable[[], object]) -> tuple[Exception | None, str]:
    """Call, and return what it raised and the last line it wrote to file descriptor 2."""
    kept = os.dup(2)
    caught = os.memfd_create("stderr")
    failed: Exception | None = None
    try:
        os.dup2(caught, 2)
        try:
            call()
        except Exception as error:  # noqa: BLE001 - the caller says it in words
            failed = error
        os.dup2(kept, 2)
        text = os.pread(caught, 4096, 0).decode(errors="replace")
    finally:
        os.close(kept)
        os.close(caught)
    lines = [line for line in text.splitlines() if line.strip()]
    return failed, lines[-1] if lines else ""


def _clear_dead(path: str) -> None:
    """Unmount what is mounted at ``path`` if it is ours and nobody is behind it. Nothing is raised:
    what is still there is seen by who looks next."""
    if _mounted_at(path) != TYPE:
        return
    try:
        Path(path).stat()
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            # Lazily, for the files that programs still have open in it are dead as well.
            unmount = ["fusermount3", "-u", "-z", "--", path]
            with suppress(OSError):
                subprocess.run(unmount, stderr=subprocess.DEVNULL, check=False)


def _mounted_at(path: str) -> str | None:
    """Return the type of the file system whose root is at ``path``, the topmost if several."""
    kind = None
    # In bytes: what else would end a line of text may be part of a name.
    for line in MOUNTS.read_bytes().rstrip(b"\n").split(b"\n"):
        fields = line.split(b" ")
        if _unescaped(fields[4]) == os.fsencode(path):
            kind = os.fsdecode(fields[fields.index(b"-") + 1])
    return kind


def _unescaped(field: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), field)
