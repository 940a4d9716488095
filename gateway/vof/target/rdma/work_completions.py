# SPDX-License-Identifier: BSD-3-Clause
"""Explains work requests that failed, and says whose fault that is.

Owns the difference between a peer that breaks the protocol and one that is gone. Must not know
pyverbs: the numbers are those of enum ibv_wc_status. Of a failure nothing else is told but the
work request's identity.
"""

from __future__ import annotations

import errno
from typing import Protocol

from vof.errors import RemoteProtocolError
from vof.target.ending import Stalled
from vof.target.rdma.send_queue import FIRST_IDENT

LOC_LEN_ERR, LOC_QP_OP_ERR, WR_FLUSH_ERR = 1, 2, 5
REM_INV_REQ_ERR, REM_ACCESS_ERR, REM_OP_ERR = 9, 10, 11
RETRY_EXC_ERR, RNR_RETRY_EXC_ERR = 12, 13

_GONE = {
    WR_FLUSH_ERR: (errno.ECONNRESET, "the connection has failed"),
    RETRY_EXC_ERR: (errno.ETIMEDOUT, "the initiator does not answer"),
}
# What a receive says of a message that does not fit; devices do not agree.
_TOO_LONG = frozenset({LOC_LEN_ERR, LOC_QP_OP_ERR, REM_INV_REQ_ERR})


class WorkCompletion(Protocol):
    """The end of a receive or of a chain."""

    @property
    def wr_id(self) -> int:
        """The number of the receive, or the identity of the chain."""

    @property
    def status(self) -> int:
        """0, or why it has failed."""

    @property
    def byte_len(self) -> int:
        """Bytes that a receive has brought."""


def check(completion: WorkCompletion, message_size: int, send_timeout: float = 0.0) -> None:
    """Raise what ends the connection where ``completion`` is not a success: RemoteProtocolError,
    Stalled or OSError."""
    status = completion.status
    if not status:
        return
    if status in _GONE:
        raise OSError(*_GONE[status])
    if completion.wr_id < FIRST_IDENT:
        if status in _TOO_LONG:
            raise RemoteProtocolError(f"a message of more than {message_size} bytes")
    elif status in (REM_INV_REQ_ERR, REM_ACCESS_ERR):
        raise RemoteProtocolError("the initiator does not let us use the memory that it named")
    elif status == REM_OP_ERR:
        raise RemoteProtocolError("the initiator has no room for a completion of 16 bytes")
    elif status == RNR_RETRY_EXC_ERR:
        raise Stalled(send_timeout)
    raise OSError(errno.EIO, f"a work request has failed with status {status}")
