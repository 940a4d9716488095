# SPDX-License-Identifier: BSD-3-Clause
"""The errno map of this edge: what system calls on the mount return for an error of ours.

A lost session, a timeout, a command that the target refused and anything unknown are EIO. Errors of
a device and of the caller pass through as far as a caller of read(2), write(2), mkdir(2) and their
like can make sense of them.
"""

from __future__ import annotations

import errno

from vof.errors import CompletionError, ConnectError, SessionLost, VofError

_PASSED = frozenset(
    {
        errno.EACCES,
        errno.EAGAIN,
        errno.EBADF,
        errno.EBADMSG,
        errno.EBUSY,
        errno.EEXIST,
        errno.EFBIG,
        errno.EINTR,
        errno.EINVAL,
        errno.EISDIR,
        errno.EKEYREJECTED,
        errno.EMSGSIZE,
        errno.ENAMETOOLONG,
        errno.ENODATA,
        errno.ENODEV,
        errno.ENOENT,
        errno.ENOKEY,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.ENOTDIR,
        errno.ENOTEMPTY,
        errno.EOPNOTSUPP,
        errno.EOVERFLOW,
        errno.EPERM,
        errno.ERANGE,
        errno.EROFS,
        errno.ESPIPE,
        errno.ESTALE,
    }
)

_REACHING = frozenset(
    {
        errno.ECONNREFUSED,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ETIMEDOUT,
        errno.EADDRINUSE,
        errno.EADDRNOTAVAIL,
    }
)
"""Why a device could not be reached, for whoever asked for it to be added."""


def fuse_errno(error: BaseException) -> int:
    """Return the errno with which ``error`` reaches the caller of a system call."""
    if isinstance(error, (SessionLost, CompletionError)):
        return errno.EIO
    if isinstance(error, ConnectError) and error.errno in _REACHING:
        return error.errno
    if isinstance(error, (VofError, OSError)) and error.errno in _PASSED:
        return error.errno
    return errno.EIO
