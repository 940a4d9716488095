# SPDX-License-Identifier: BSD-3-Clause
"""Errors for the statuses of a virtio-crypto device (virtio 1.2 §5.9.7.1).

A status that nobody wrote is none: it is as it was sent.
"""

from __future__ import annotations

import errno

from vof.errors import DeviceError
from vof.wire.crypto import Status

_FAILURES = {
    Status.ERR: (errno.EIO, "failed"),
    Status.BADMSG: (errno.EBADMSG, "found that the tag does not fit the data in"),
    Status.NOTSUPP: (errno.EOPNOTSUPP, "does not support"),
    Status.INVSESS: (errno.ESTALE, "does not know the session of"),
    Status.NOSPC: (errno.ENOSPC, "has no room for"),
    Status.KEY_REJECTED: (errno.EKEYREJECTED, "rejected the signature or key of"),
}

UNWRITTEN = b"\xff"
"""What an answer holds of which nobody writes anything: no status is made of it."""

_NO_STATUS = tuple(int.from_bytes(UNWRITTEN * size, "little") for size in (1, 4))
"""A status byte, and that of a session, as they were sent."""


def device_error(what: str, status: int) -> DeviceError:
    """Return the error that a status other than OK is."""
    if status in _NO_STATUS:
        return DeviceError(f"the device ended {what} without writing a status", status)
    try:
        number, verb = _FAILURES[Status(status)]
    except ValueError:
        return DeviceError(f"the device ended {what} with unknown status {status}", status)
    return DeviceError(f"the device {verb} {what}", status, errno=number)
