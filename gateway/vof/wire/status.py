# SPDX-License-Identifier: BSD-3-Clause
"""The reasons for refusing a command, and the number that each revision has for one.

*proposal* and *v2* say a Linux errno number, or 4096 for what has none; *v5* has a list of its own
("Status Values"). Owns the words for each number and the errno that fits it at our own edges. Must
not know which end says it.
"""

from __future__ import annotations

import errno
from enum import Enum

from vof.errors import CompletionError, errno_words

OTHER = 4096
"""A status of *proposal* and *v2* that means "some other error"."""


class Reason(Enum):
    """The reasons for refusing a command. Each has its number in *v5*, and an errno for the earlier
    ones."""

    UNKNOWN_COMMAND = 0x0001, errno.EOPNOTSUPP
    TOO_MANY_COMMANDS = 0x0002, errno.EBUSY
    NO_TARGET = 0x1001, errno.ENODEV
    NO_INSTANCE = 0x1002, errno.EBUSY
    """There are as many associations as there may be."""
    ACCESS = 0x1003, errno.EACCES
    BAD_INSTANCE = 0x1010, errno.ENODEV
    BAD_NAME = 0x1011, errno.EPROTO
    FOREIGN_FORM = 0x1010, errno.EPROTO
    """A virtqueue's Connect is not of its control queue's revision or transport (ours)."""
    NO_QUEUE = 0x1020, errno.ECHRNG
    """A Connect to a virtqueue that there is not."""
    NO_SUCH_QUEUE = 0x1020, errno.EINVAL
    """A control command about one."""
    QUEUE_IN_USE = 0x1021, errno.EBUSY
    QUEUE_SIZE = 0x1022, errno.EINVAL
    TRANSPORT_FEATURE = 0x2000, errno.EINVAL
    DEVICE_STATUS = 0x2010, errno.EINVAL
    DEVICE_FEATURE = 0x2020, errno.EINVAL
    CONFIG_EXTENT = 0x2030, errno.EINVAL
    CONFIG_WIDTH = 0x2031, errno.EINVAL
    CONFIG_FAILED = 0x2030, errno.EIO
    """The device could not do what writing its config space asks for; *v5* has no number for it
    (ours)."""

    def __init__(self, number: int, errno: int) -> None:
        self.number = number
        self.errno = errno


SENTENCES = {
    0x0001: "unknown or disabled command",
    0x0002: "too many commands in flight",
    0x1001: "there is no target of that tvqn",
    0x1002: "the device instance could not be created",
    0x1003: "refused by access control",
    0x1010: "bad device instance id",
    0x1011: "bad name, or not the device instance's",
    0x1020: "virtqueue index too large",
    0x1021: "virtqueue in use",
    0x1022: "queue size too large",
    0x2000: "transport feature not supported",
    0x2010: "device status not supported",
    0x2020: "device feature not supported",
    0x2030: "beyond the config space",
    0x2031: "bad width of a config field",
    0x20F0: "the device-readable buffers could not be read",
    0x20F1: "the device-writable buffers could not be written",
}
"""What each status of *v5* says."""

_EDGE_ERRNOS = {
    **{reason.number: reason.errno for reason in reversed(Reason)},
    0x20F0: errno.EFAULT,
    0x20F1: errno.EFAULT,
}


def describe_errno_status(status: int) -> str:
    """Return the words for a status of *proposal* or *v2*."""
    if status in errno.errorcode:
        return errno_words(status)
    return "no errno" if status != OTHER else "some other error"


def describe_v5_status(status: int) -> str:
    """Return the words for a status of *v5*."""
    return SENTENCES.get(status, "a status that no text has")


def refused_by_errno(what: str, status: int) -> CompletionError:
    """Return the error for the command ``what`` that was refused by a target of *proposal* or
    *v2*."""
    known = status in errno.errorcode
    number = status if known else errno.EIO
    words = f"status {status}: {describe_errno_status(status)}"
    return CompletionError(f"the target refused {what} with {words}", status, errno=number)


def refused_by_v5(what: str, status: int) -> CompletionError:
    """Return the same for a target of *v5*, or what turns out to be one of an earlier revision."""
    if status not in SENTENCES and status in errno.errorcode:
        return refused_by_errno(what, status)
    words = f"status {status:#06x}: {describe_v5_status(status)}"
    number = _EDGE_ERRNOS.get(status, errno.EIO)
    return CompletionError(f"the target refused {what} with {words}", status, errno=number)
