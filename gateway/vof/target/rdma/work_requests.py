# SPDX-License-Identifier: BSD-3-Clause
"""Work requests for sending, made once and posted again and again.

Posting copies a work request, and making one costs more than posting it. Owns two properties of
pyverbs 44: a request whose ``sg_list`` is an SGE follows that object's fields from then on; and
neither frees its memory when it is forgotten. So a set of them is kept for the next connection when
one ends, and never freed: there are as many as there were connections at one time.

A set is filled in and posted by one thread.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyverbs.enums as e
from pyverbs.wr import SGE, SendWR

from vof.target.rdma.send_queue import FIRST_IDENT
from vof.wire.structs import COMPLETION_SIZE
from vof.wire.v5 import KeyedDescriptor

_SIGNALLED = int(e.IBV_SEND_SIGNALED)

_spare: list[WorkRequests] = []


class _Ladder:
    """Requests of which each is linked to the one before it. A chain is entered at any height."""

    def __init__(self, kind: int, last: int) -> None:
        self._kind = kind
        self._rungs = [_request(last, _SIGNALLED)]

    def climb(
        self, pieces: Sequence[KeyedDescriptor], address: int, key: int, height: int
    ) -> SendWR:
        """Let the requests from ``height`` downwards move the bytes from ``address`` on from or to
        ``pieces``; return the first of them."""
        rungs = self._rungs
        while len(rungs) <= height:
            sge, request = _request(self._kind, 0)
            request.next_wr = rungs[-1][1]
            rungs.append((sge, request))
        for place, (addr, length, remote_key) in enumerate(pieces):
            sge, request = rungs[height - place]
            sge.addr = address
            sge.length = length
            sge.lkey = key
            request.set_wr_rdma(remote_key, addr)
            address += length
        return rungs[height][1]

    @property
    def last(self) -> tuple[SGE, SendWR]:
        """The request that ends every chain."""
        return self._rungs[0]


class WorkRequests:
    """The work requests of one connection."""

    def __init__(self) -> None:
        self._reads = _Ladder(int(e.IBV_WR_RDMA_READ), int(e.IBV_WR_RDMA_READ))
        self._answer = _Ladder(int(e.IBV_WR_RDMA_WRITE), int(e.IBV_WR_SEND))
        self._answer.last[0].length = COMPLETION_SIZE
        _sge, self._marker = _request(int(e.IBV_WR_RDMA_WRITE), _SIGNALLED)
        self._marker.num_sge = 0

    @classmethod
    def take(cls) -> WorkRequests:
        """Return a set that nobody else uses."""
        try:
            return _spare.pop()
        except IndexError:
            return cls()

    def give_back(self) -> None:
        """Nothing is posted from this set any more."""
        _spare.append(self)

    def reads(
        self, pieces: Sequence[KeyedDescriptor], address: int, key: int, ident: int
    ) -> SendWR:
        """Return what reads ``pieces``, one behind the other, to ``address``."""
        first = self._reads.climb(pieces, address, key, len(pieces) - 1)
        self._reads.last[1].wr_id = ident
        return first

    def answer(
        self,
        pieces: Sequence[KeyedDescriptor],
        address: int,
        key: int,
        message: tuple[int, int],
        ident: int,
        *,
        signalled: bool,
    ) -> SendWR:
        """Return what writes the bytes from ``address`` on to ``pieces``, then sends the completion
        that ``message`` names by address and key."""
        first = self._answer.climb(pieces, address, key, len(pieces))
        sge, request = self._answer.last
        sge.addr, sge.lkey = message
        request.wr_id = ident
        request.send_flags = _SIGNALLED if signalled else 0
        return first

    def marker(self, ident: int) -> SendWR:
        """Return a write of nothing, which needs no key and is told the end of."""
        self._marker.wr_id = ident
        return self._marker


def _request(opcode: int, flags: int) -> tuple[SGE, SendWR]:
    """Return a work request with one SGE, whose fields it follows."""
    sge = SGE(0, 0, 0)
    # One that fails tells its end unasked, and then has to be known as a sender's.
    request = SendWR(FIRST_IDENT, opcode, 1, sg=[sge], send_flags=flags)
    request.close()  # frees its own copy of the SGE's fields
    request.sg_list = sge
    return sge, request
