# SPDX-License-Identifier: BSD-3-Clause
"""fallocate(2) with the modes that Python's os module has not got.

Owns the call and the two modes the target uses. Neither ever changes the length of a file.
"""

from __future__ import annotations

import ctypes
import errno
import os

_KEEP_SIZE = 0x01
_PUNCH_HOLE = 0x02
_ZERO_RANGE = 0x10

_libc = ctypes.CDLL(None, use_errno=True)
# The C library's name for the call whose offsets have 64 bits on every machine.
_call = getattr(_libc, "fallocate64", None) or _libc.fallocate
_call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_call.restype = ctypes.c_int


def _fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    while _call(fd, mode | _KEEP_SIZE, offset, length):
        error = ctypes.get_errno()
        if error != errno.EINTR:
            raise OSError(error, os.strerror(error))


def punch_hole(fd: int, offset: int, length: int) -> None:
    """Give the range's space back; it reads as zeros. Raises OSError, EOPNOTSUPP where there is no
    such thing.
    """
    _fallocate(fd, _PUNCH_HOLE, offset, length)


def zero_range(fd: int, offset: int, length: int) -> None:
    """Make the range read as zeros, its space kept. Raises OSError as ``punch_hole`` does."""
    _fallocate(fd, _ZERO_RANGE, offset, length)
