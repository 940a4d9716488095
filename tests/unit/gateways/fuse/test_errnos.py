# SPDX-License-Identifier: BSD-3-Clause
"""What reaches the caller of a system call."""

from __future__ import annotations

import errno

import pytest

from vof.errors import (
    CompletionError,
    ConfigError,
    ConnectError,
    DeviceError,
    LocalProtocolError,
    RemoteProtocolError,
    SessionLost,
    VofError,
)
from vof.gateways.fuse.errnos import fuse_errno


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (SessionLost("x"), errno.EIO),
        (SessionLost("x", errno=errno.EINVAL), errno.EIO),
        (RemoteProtocolError("x"), errno.EIO),
        (DeviceError("x", 1), errno.EIO),
        (DeviceError("x", 1, errno=errno.EBADMSG), errno.EBADMSG),
        (DeviceError("x", 1, errno=errno.EKEYREJECTED), errno.EKEYREJECTED),
        (DeviceError("x", 2, errno=errno.ENOTSUP), errno.EOPNOTSUPP),
        (LocalProtocolError("x", errno=errno.ENOSPC), errno.ENOSPC),
        (LocalProtocolError("x"), errno.EINVAL),
        (ConfigError("x"), errno.EINVAL),
        (ConfigError("x", errno=errno.EEXIST), errno.EEXIST),
        (ConnectError("x"), errno.ECONNREFUSED),
        (ConnectError("x", errno=errno.ETIMEDOUT), errno.ETIMEDOUT),
        (ConnectError("x", errno=errno.ENODEV), errno.ENODEV),
        (ConnectError("x", errno=errno.ESHUTDOWN), errno.EIO),
        (CompletionError("read", 7, errno=errno.EINVAL), errno.EIO),
        (CompletionError("read", 4096), errno.EIO),
        (VofError("x", errno=errno.ECONNRESET), errno.EIO),
        (TimeoutError(errno.ETIMEDOUT, "x"), errno.EIO),
        (OSError(errno.EFBIG, "x"), errno.EFBIG),
        (OSError("no number"), errno.EIO),
        (ZeroDivisionError(), errno.EIO),
        (MemoryError(), errno.EIO),
    ],
)
def test_map(error: BaseException, number: int) -> None:
    assert fuse_errno(error) == number
