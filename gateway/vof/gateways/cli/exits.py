# SPDX-License-Identifier: BSD-3-Clause
"""The exit status of each kind of outcome, the same for every verb of vofctl."""

from __future__ import annotations

import errno
from enum import IntEnum

from vof.errors import ConfigError, ConnectError, SessionLost, VofError


class Exit(IntEnum):
    """Documented in vofctl(8); scripts rely on them."""

    DONE = 0
    FAILED = 1
    """The device or the system failed it."""
    USAGE = 2
    """The command line, a key or the input cannot be used."""
    REJECTED = 3
    """A signature or a tag does not fit the data."""
    UNREACHABLE = 4
    """The target cannot be reached, does not know the device, or went away."""

    BUSY = 5
    """A disk, a name or a device is in use."""
    NOT_FOUND = 6
    """There is no such disk attached."""
    DENIED = 7
    """It takes more privilege."""


_BY_ERRNO = {
    errno.EBUSY: Exit.BUSY,
    errno.ENOENT: Exit.NOT_FOUND,
    errno.EPERM: Exit.DENIED,
    errno.EACCES: Exit.DENIED,
    errno.ENODEV: Exit.FAILED,
}
"""What the errno of a ConfigError says beyond "the command line"."""

_REJECTIONS = frozenset({errno.EKEYREJECTED, errno.EBADMSG})


def exit_of(error: Exception) -> Exit:
    """Return the exit status for an error."""
    if isinstance(error, ConfigError):
        return _BY_ERRNO.get(error.errno, Exit.USAGE)
    if isinstance(error, (ConnectError, SessionLost)):
        return Exit.UNREACHABLE
    if isinstance(error, VofError) and error.errno in _REJECTIONS:
        return Exit.REJECTED
    return Exit.FAILED
