# SPDX-License-Identifier: BSD-3-Clause
"""A reliable connection on RDMA: one queue pair with its two completion queues; see ``interface``.

Receives are posted ahead for every command that may be in flight, in chains that are posted again
as a whole when all of a chain are used up. Sends ask for no completion but now and then: that a
command was answered says that it was sent. Work requests are made once; posting copies them.

Must not know commands. What the connection manager does is ``cm``'s.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import select
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import pyverbs.enums as e
from pyverbs.cq import CQ, CompChannel
from pyverbs.pyverbs_error import PyverbsError
from pyverbs.qp import QP, QPAttr, QPCap, QPInitAttr
from pyverbs.wr import SGE, RecvWR, SendWR

from vof.errors import RemoteProtocolError
from vof.fabric.rdma.eager import MAX_PIECES
from vof.fabric.rdma.interface import Write
from vof.fabric.rdma.verbs import Domain, Held
from vof.fabric.staggered import Attempt
from vof.rdma.descriptors import COMPLETION_CHANNEL, with_descriptor
from vof.rdma.failures import as_os_error, os_error

if TYPE_CHECKING:
    from pyverbs.cq import WC

    from vof.fabric.rdma.cm import ConnectionManager

MAX_COMMANDS = 1024
"""Commands in flight on one connection at most."""

INLINE_SIZE = 128
"""Bytes that are sent without the device looking for them in memory."""

_CHAIN = 16
"""Receives posted together."""

_EVENTS = 16
"""Receives beside those for commands: asynchronous events are answers to none."""

_SLOT = 32
"""Bytes of a receive: a completion has 16, one that has more is told by its length."""

_BATCH = 32
"""Completions taken at a time."""

_REASONS = {
    e.IBV_WC_RETRY_EXC_ERR: "the target's host does not answer",
    e.IBV_WC_RNR_RETRY_EXC_ERR: "the target takes no more commands",
    e.IBV_WC_REM_ACCESS_ERR: "the target's key for its eager buffers is not good any more",
}


_TOO_LONG = frozenset({e.IBV_WC_LOC_LEN_ERR, e.IBV_WC_LOC_QP_OP_ERR})
"""Of a receive: a message that is longer than it. rxe has the second for that."""


class RdmaLink(Held):
    """A link of ``domain`` for ``commands`` commands in flight, over what ``manager`` has resolved.
    Not connected yet: see ``qp_num`` and ``establish``. Raises OSError."""

    def __init__(self, domain: Domain, manager: ConnectionManager, commands: int) -> None:
        super().__init__()
        self._domain = domain
        self._manager = manager
        self.armed = False
        self.writes = self.doorbells = 0
        self._stopped = False
        self._failure: Exception | None = None
        self._epoll = select.epoll()
        try:
            self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except OSError:
            self._epoll.close()
            raise
        domain.join()
        try:
            with as_os_error():
                self._make(commands)
        except BaseException:
            self.close()
            raise

    def _make(self, commands: int) -> None:
        domain = self._domain
        most = min(domain.max_wr, domain.max_cqe) - 2 * _CHAIN - _EVENTS
        self.commands = max(1, min(commands, MAX_COMMANDS, most // 2))
        chains = -(-(self.commands + _EVENTS) // _CHAIN) + 1
        self._room = min(2 * self.commands + 2 * _CHAIN, domain.max_wr, domain.max_cqe)
        context = domain.context
        channel, self._channel_fd = with_descriptor(
            lambda: CompChannel(context), COMPLETION_CHANNEL
        )
        self._channel = self.hold(channel, self._channel_fd)
        self._receive_cq = self.hold(CQ(context, chains * _CHAIN, None, channel, 0))
        self._send_cq = self.hold(CQ(context, self._room, None, None, 0))
        self._qp = self.hold(self._make_qp(chains * _CHAIN))
        self.qp_num: int = self._qp.qp_num
        self._manager.modify(self._qp, e.IBV_QPS_INIT)
        self._make_receives(chains)
        self._make_sends()
        self._poller = select.poll()
        for fd in (self._channel_fd, self._manager.fd, self._wake):
            self._poller.register(fd, select.POLLIN)
            self._epoll.register(fd, select.POLLIN)

    def _make_qp(self, receives: int) -> QP:
        for inline in (INLINE_SIZE, 0):
            self._inline = inline
            caps = QPCap(
                max_send_wr=self._room,
                max_recv_wr=receives,
                max_send_sge=1,
                max_recv_sge=1,
                max_inline_data=inline,
            )
            attributes = QPInitAttr(
                qp_type=e.IBV_QPT_RC, scq=self._send_cq, rcq=self._receive_cq, cap=caps
            )
            try:
                return QP(self._domain.pd, attributes)
            except PyverbsError:
                if not inline:
                    raise
        raise AssertionError

    def _make_receives(self, chains: int) -> None:
        memory = mmap.mmap(-1, chains * _CHAIN * _SLOT)
        self._slots = memoryview(memory)
        addr = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        region = self.hold(self._domain.register_local(addr, len(memory)))
        self._chains = []
        for first in range(0, chains * _CHAIN, _CHAIN):
            chain = []
            for slot in range(first, first + _CHAIN):
                sge = SGE(addr + slot * _SLOT, _SLOT, region.lkey)
                chain.append(self.hold(RecvWR(slot, 1, [sge])))
                sge.close()  # copied
            for one, other in pairwise(chain):
                one.next_wr = other
            self._chains.append(chain[0])
            self._qp.post_recv(chain[0])

    def _make_sends(self) -> None:
        self._posted = self._retired = self._signaled = 0
        """Work requests posted, done with, and the last that asked for a completion."""
        self._message, self._message_sge = self._make_send(e.IBV_WR_SEND)
        self._flags = 0
        self._pieces: list[tuple[SendWR, SGE]] = []
        following = self._message
        for _ in range(MAX_PIECES):
            piece = self._make_send(e.IBV_WR_RDMA_WRITE, following)
            following = piece[0]
            self._pieces.insert(0, piece)
        self._probe, _none = self._make_send(e.IBV_WR_RDMA_WRITE)
        self._probe.num_sge = 0
        self._probe.send_flags = e.IBV_SEND_SIGNALED

    def _make_send(self, opcode: int, following: SendWR | None = None) -> tuple[SendWR, SGE]:
        sge = self.hold(SGE(0, 0, 0))
        request = SendWR(0, opcode, 1, sg=[sge], send_flags=0, next_wr=following)
        # Have it use our element instead of its copy, so that it can be used again and again.
        request.close()
        request.sg_list = sge
        return request, sge

    def establish(self, deadline: float) -> Attempt[None]:
        """Connect; see ``ConnectionManager.connect`` for what is raised."""
        yield from self._manager.connect(self._qp, self._domain.max_reads, deadline)

    def fileno(self) -> int:
        return -1 if self.gone else self._epoll.fileno()

    # Sending.

    def send(self, addr: int, length: int, lkey: int, writes: Sequence[Write] = ()) -> bool:
        if not self._make_room(1 + len(writes)):
            return False
        sge, message = self._message_sge, self._message
        sge.addr = addr
        sge.length = length
        sge.lkey = lkey
        flags = e.IBV_SEND_INLINE if length <= self._inline else 0
        self._posted += 1 + len(writes)
        if self._posted - self._signaled > self._room // 4:
            self._signaled = message.wr_id = self._posted
            flags |= e.IBV_SEND_SIGNALED
        if flags != self._flags:
            self._flags = message.send_flags = flags
        first = message
        place = MAX_PIECES - len(writes)
        for write in writes:
            request, sge = self._pieces[place]
            sge.addr = write.addr
            sge.length = write.length
            sge.lkey = write.lkey
            request.set_wr_rdma(write.rkey, write.remote_addr)
            request.send_flags = e.IBV_SEND_INLINE if write.length <= self._inline else 0
            place += 1
        if writes:
            first = self._pieces[MAX_PIECES - len(writes)][0]
            self.writes += len(writes)
        self._post(first)
        return True

    def probe(self) -> None:
        if self._make_room(1):
            self._posted += 1
            self._signaled = self._probe.wr_id = self._posted
            self.writes += 1
            self._post(self._probe)

    def _post(self, request: SendWR) -> None:
        self.doorbells += 1
        try:
            self._qp.post_send(request)
        except PyverbsError as error:
            raise os_error(error) from None

    def _make_room(self, count: int) -> bool:
        if self._posted - self._retired + count > self._room:
            self._reap()
        return bool(self._posted - self._retired + count <= self._room)

    def _reap(self) -> None:
        """Take the completions of what was sent; note the first failure."""
        count = _BATCH
        while count == _BATCH:
            count, completions = self._send_cq.poll(_BATCH)
            for completion in completions:
                if not completion.status:
                    self._retired = completion.wr_id
                elif completion.status != e.IBV_WC_WR_FLUSH_ERR:
                    self._fail(ConnectionError(_reason(completion)))

    # Receiving.

    def arm(self) -> None:
        with as_os_error():
            self._receive_cq.req_notify()
        self.armed = True

    def take(self) -> list[bytes]:
        messages = []
        try:
            _count, completions = self._receive_cq.poll(_BATCH)
            for completion in completions:
                slot = completion.wr_id
                if completion.status:
                    self._take_failure(completion)
                    break
                start, size = slot * _SLOT, completion.byte_len
                messages.append(bytes(self._slots[start : start + size]))
                if slot % _CHAIN == _CHAIN - 1:
                    self._qp.post_recv(self._chains[slot // _CHAIN])
        except PyverbsError as error:
            raise os_error(error) from None
        if not messages and self._failure is not None:
            raise self._failure
        return messages

    def wait(self, seconds: float) -> list[bytes]:
        if not self.armed:
            self.arm()
            messages = self.take()
            if messages:
                return messages
        for fd, _events in self._poller.poll(seconds * 1000):
            if fd == self._channel_fd:
                with as_os_error():
                    self._channel.get_cq_event(self._receive_cq)
                self._receive_cq.ack_events(1)
                self.armed = False
            elif fd == self._wake:
                os.eventfd_read(self._wake)
            else:
                self._take_cm_events()
        return self.take()

    def _take_failure(self, completion: WC) -> None:
        if completion.status in _TOO_LONG:
            self._fail(RemoteProtocolError(f"a completion of more than {_SLOT} bytes"))
        elif completion.status != e.IBV_WC_WR_FLUSH_ERR:
            self._fail(ConnectionError(_reason(completion)))
        else:  # something else has failed before
            self._reap()
            self._take_cm_events()
            self._fail(
                ConnectionError("the queue pair failed; did the target use a key that is not ours?")
            )

    def _take_cm_events(self) -> None:
        for reason in self._manager.ends():
            self._fail(ConnectionError(reason))

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error

    # The end.

    def stop(self) -> None:
        if self.gone or self._stopped:
            return
        self._stopped = True
        with contextlib.suppress(PyverbsError):
            self._qp.modify(QPAttr(qp_state=e.IBV_QPS_ERR), e.IBV_QP_STATE)
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        if not self.gone:
            self._manager.disconnect()
            self.let_go()
            self._manager.let_go()
            self._close_own()
            self._domain.leave()

    def leave_to_parent(self) -> None:
        if not self.gone:
            super().leave_to_parent()
            self._close_own()

    def _close_own(self) -> None:
        self._epoll.close()
        os.close(self._wake)


def _reason(completion: WC) -> str:
    return _REASONS.get(completion.status, f"work completion status {completion.status}")
