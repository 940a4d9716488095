# SPDX-License-Identifier: BSD-3-Clause
"""Which failures of work requests are a peer's fault."""

from __future__ import annotations

import errno
from typing import NamedTuple

import pytest

from vof.errors import RemoteProtocolError
from vof.target.ending import Stalled
from vof.target.rdma.send_queue import FIRST_IDENT
from vof.target.rdma.work_completions import check

RECEIVE, CHAIN = 3, FIRST_IDENT + 3


class Item(NamedTuple):
    wr_id: int
    status: int
    byte_len: int = 0


@pytest.mark.parametrize("ident", [RECEIVE, CHAIN])
def test_success(ident: int) -> None:
    check(Item(ident, 0, 16), 64)


@pytest.mark.parametrize(
    ("ident", "status", "words"),
    [
        (RECEIVE, 1, "a message of more than 64 bytes"),
        (RECEIVE, 2, "a message of more than 64 bytes"),
        (RECEIVE, 9, "a message of more than 64 bytes"),
        (CHAIN, 9, "does not let us use the memory that it named"),
        (CHAIN, 10, "does not let us use the memory that it named"),
        (CHAIN, 11, "has no room for a completion of 16 bytes"),
    ],
)
def test_violations(ident: int, status: int, words: str) -> None:
    with pytest.raises(RemoteProtocolError, match=words):
        check(Item(ident, status), 64)


@pytest.mark.parametrize(
    ("ident", "status", "number"),
    [
        (RECEIVE, 5, errno.ECONNRESET),
        (CHAIN, 5, errno.ECONNRESET),
        (CHAIN, 12, errno.ETIMEDOUT),
        (CHAIN, 2, errno.EIO),
        (CHAIN, 4, errno.EIO),
        (RECEIVE, 4, errno.EIO),
        (RECEIVE, 21, errno.EIO),
    ],
)
def test_lost_connections(ident: int, status: int, number: int) -> None:
    with pytest.raises(OSError, match=r"\w+") as caught:
        check(Item(ident, status), 64)
    assert caught.value.errno == number


def test_a_peer_that_never_has_a_receive() -> None:
    with pytest.raises(Stalled, match="took no data for 30 s"):
        check(Item(CHAIN, 13), 64, 30.0)
