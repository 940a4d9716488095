# SPDX-License-Identifier: BSD-3-Clause
"""Tells whether a path still leads to the file that was opened by it.

An image that is replaced or removed stays open here, without a name: what is written to it then is
what nobody finds again. Owns what makes two open files the same. Must not know who serves them.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from collections.abc import Callable

from vof.errors import ConfigError

_BLKROGET = 0x125E
_BLKGETDISKSEQ = 0x80081280


def changed(path: str, fd: int, open_now: Callable[[], int]) -> str:
    """Return in words how what ``open_now`` opens at ``path`` differs from the open file ``fd``;
    nothing where it is the same.

    Raises ConfigError where ``open_now`` does.
    """
    found = os.fstat(fd)
    rest = ""
    if stat.S_ISREG(found.st_mode) and not found.st_nlink:
        rest = f", and the old one has no name any more but /proc/{os.getpid()}/fd/{fd}"
    try:
        now = open_now()
    except ConfigError as error:
        raise ConfigError(f"{error}{rest}") from None
    try:
        same = _identity(now) == _identity(fd)
    finally:
        os.close(now)
    return "" if same else f"{path} was replaced by another file{rest}"


def is_readonly(fd: int) -> bool:
    """Return whether a block device takes no writes, though it may have been opened for them."""
    return bool(_ask(fd, _BLKROGET, "i"))


def _identity(fd: int) -> tuple[int, ...]:
    found = os.fstat(fd)
    kind = stat.S_IFMT(found.st_mode)
    if stat.S_ISBLK(found.st_mode):
        # Its number may be given to another disk when it is gone.
        return kind, found.st_rdev, _ask(fd, _BLKGETDISKSEQ, "Q")
    if stat.S_ISCHR(found.st_mode):
        return kind, found.st_rdev
    return kind, found.st_dev, found.st_ino


def _ask(fd: int, request: int, form: str) -> int:
    """Return a block device's answer, 0 where this kernel has none."""
    try:
        answer = fcntl.ioctl(fd, request, bytes(struct.calcsize(form)))
    except OSError:
        return 0
    return int(struct.unpack(form, answer)[0])
