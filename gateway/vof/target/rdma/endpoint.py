# SPDX-License-Identifier: BSD-3-Clause
"""One reliable connection: queue pair, completion queue, protection domain, connection id.

Owns these objects from the request for the connection to their close, in an order in which nothing
is used that is closed, and what is posted on them. Must not know what is sent.

Its thread calls everything but ``register``, ``alive`` and ``shut_down``, which any thread may
call.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import AddressValueError, IPv6Address
from typing import Any

import pyverbs.enums as e
from pyverbs.cmid import CMID, ConnParam
from pyverbs.cq import CQ, CompChannel
from pyverbs.pd import PD
from pyverbs.pyverbs_error import PyverbsError
from pyverbs.qp import QP, QPAttr, QPCap, QPInitAttr
from pyverbs.wr import SGE, RecvWR, SendWR

from vof.logline import event
from vof.rdma.descriptors import COMPLETION_CHANNEL, close_with_descriptor, with_descriptor
from vof.rdma.failures import as_os_error, os_error
from vof.target.rdma.memory import NotRegistered, Region
from vof.target.rdma.verbs import LOCAL, REMOTE_WRITE, Device, RegisteredMemory
from vof.target.rdma.work_completions import WorkCompletion
from vof.target.rdma.work_requests import WorkRequests
from vof.wire.v5 import KeyedDescriptor

SEND_ROOM = 384
"""Work requests that may be on their way to a peer: those of a request with 256 descriptors, and
some more."""

BATCH = 32
"""Completions that are taken at a time."""

_READS = 16
_TIMEOUT = 18
_RETRIES = 6
_RNR_FOREVER = 7
_RNR_TIMER = 12


class Endpoint:
    """The target's end of one connection."""

    def __init__(
        self, device: Device, cmid: CMID, cm_lock: threading.Lock, receive_room: int
    ) -> None:
        """``cmid`` is that of a request to connect, and belongs to this object unless OSError is
        raised. ``cm_lock`` is held by whoever takes events of ``cmid``'s channel.
        """
        self.device = device
        self.max_message = device.max_message
        self.receive_room = receive_room
        """Receives that can be posted."""
        self._cmid = cmid
        self._cm_lock = cm_lock
        self._lock = threading.Lock()
        self._closed = False
        self._closers: list[Callable[[], None]] = []
        self._armed = False
        self._receives: list[RecvWR] = []
        self._requests = WorkRequests.take()
        self.peer = "?"
        """The initiator's address and queue pair, for log lines."""
        try:
            with as_os_error():
                self._open()
        except BaseException:
            self._destroy()
            raise

    def _open(self) -> None:
        context = self.device.context
        self._domain = self._keep(PD(context))
        channel, self._fd = with_descriptor(lambda: CompChannel(context), COMPLETION_CHANNEL)
        self._channel = channel
        self._closers.append(partial(close_with_descriptor, channel))
        entries = self.receive_room + SEND_ROOM + 2
        self._cq = self._keep(CQ(context, entries, None, channel, 0))
        # One more than is counted: what asks for the end of the others.
        room = QPCap(SEND_ROOM + 1, self.receive_room, 1, 1, 0)
        init = QPInitAttr(qp_type=e.IBV_QPT_RC, scq=self._cq, rcq=self._cq, cap=room, sq_sig_all=0)
        self._qp = self._keep(QP(self._domain, init))
        attributes, mask = self._cmid.init_qp_attr(e.IBV_QPS_INIT)
        attributes.qp_access_flags = REMOTE_WRITE
        self._qp.modify(attributes, mask)
        attributes, mask = self._cmid.init_qp_attr(e.IBV_QPS_RTR)
        attributes.min_rnr_timer = _RNR_TIMER
        self.peer = _name(attributes)
        self._qp.modify(attributes, mask)
        attributes, mask = self._cmid.init_qp_attr(e.IBV_QPS_RTS)
        self.reads = min(int(attributes.max_rd_atomic), self.device.max_reads, _READS)
        """Reads that may be outstanding: what the initiator allows, and no more than are of use.
        With none, no request can be served."""
        attributes.max_rd_atomic = self.reads
        attributes.timeout = _TIMEOUT
        attributes.retry_cnt = _RETRIES
        attributes.rnr_retry = _RNR_FOREVER  # until the send timeout, that is
        self._qp.modify(attributes, mask)

    def _keep(self, made: Any) -> Any:
        self._closers.append(made.close)
        return made

    def fileno(self) -> int:
        """Return the descriptor that is readable when something was completed since ``arm``."""
        return self._fd

    def register(self, size: int, access: int = LOCAL) -> Region:
        """Return ``size`` bytes, in whole pages, of this connection's. Raises NotRegistered."""
        with self._lock:
            if self._closed:
                raise NotRegistered(size, "the connection is closed")
            return RegisteredMemory(self._domain, size, access)

    def expose(self, size: int) -> Region:
        """Return such memory that the peer may write to. Raises NotRegistered."""
        return self.register(size, REMOTE_WRITE)

    def accept(self) -> None:
        """Let the connection come about; there are receives by now. Raises OSError."""
        # The initiator reads nothing of ours.
        parameters = ConnParam(
            resources=1, depth=self.reads, retry=7, rnr_retry=7, qp_num=self._qp.qp_num
        )
        with as_os_error():
            self._cmid.accept(parameters)

    def alive(self) -> bool:
        """Return whether the peer has not disconnected."""
        with self._lock:
            if self._closed:
                return False
            try:
                self._cmid.init_qp_attr(e.IBV_QPS_RTS)
            except PyverbsError:
                return False
            return True

    def shut_down(self) -> None:
        """Disconnect at once; everything posted completes with an error."""
        with self._lock:
            if self._closed:
                return
            for step in (self._to_error, self._cmid.disconnect):
                try:
                    step()
                except PyverbsError:
                    pass  # disconnected already

    def close(self) -> None:
        """Disconnect and close everything: no work request touches any memory from then on, and
        all keys are revoked. Idempotent."""
        self.shut_down()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._destroy()
        # Under a lock: it waits for events of this id that were taken and not acknowledged yet.
        with self._cm_lock:
            try:
                self._cmid.close()
            except PyverbsError:
                pass  # nothing is left to be done about it

    def _destroy(self) -> None:
        # The domain is the last, and closes the memory regions.
        while self._closers:
            close = self._closers.pop()
            try:
                close()
            except PyverbsError as error:
                event(logging.ERROR, "not-closed", peer=self.peer, reason=str(error))
        self._drop_receives()
        self._requests.give_back()

    def _drop_receives(self) -> None:
        while self._receives:
            self._receives.pop().close()

    # Receiving

    def make_receives(self, region: Region, offset: int, size: int, count: int) -> None:
        """Let receive number n have the ``size`` bytes of ``region`` at ``offset`` + n * size, for
        ``count`` of them, in place of all before. None may be posted."""
        self._drop_receives()
        for number in range(count):
            place = SGE(region.address + offset + number * size, size, region.local_key)
            self._receives.append(RecvWR(number, 1, [place]))
            place.close()

    def post_receive(self, number: int) -> None:
        """Post a receive. Raises OSError."""
        try:
            self._qp.post_recv(self._receives[number])
        except PyverbsError as error:
            raise os_error(error) from None

    def arm(self) -> bool:
        """Have the next completion make the descriptor readable; False where it would already.
        What was completed before is to be reaped afterwards. Raises OSError."""
        if self._armed:
            return False
        with as_os_error():
            self._cq.req_notify()
        self._armed = True
        return True

    def disarm(self) -> None:
        """The descriptor is readable: make it so no more, until ``arm``. Raises OSError."""
        try:
            self._channel.get_cq_event(self._cq)
        except PyverbsError:
            return  # none there
        self._armed = False
        with as_os_error():
            self._cq.ack_events(1)

    def reap(self) -> list[WorkCompletion]:
        """Return what was completed, at most ``BATCH``. Raises OSError."""
        try:
            return self._cq.poll(BATCH)[1]  # type: ignore[no-any-return]
        except PyverbsError as error:
            raise os_error(error) from None

    # Sending: what send_queue asks of a poster. All of it raises OSError.

    def post_reads(
        self, pieces: Sequence[KeyedDescriptor], address: int, key: int, ident: int
    ) -> None:
        """Read the peer's ``pieces``, one behind the other, to ``address``."""
        self._post(self._requests.reads(pieces, address, key, ident))

    def post_answer(
        self,
        pieces: Sequence[KeyedDescriptor],
        address: int,
        key: int,
        message: tuple[int, int],
        ident: int,
        *,
        signalled: bool,
    ) -> None:
        """Write what is at ``address`` to the peer's ``pieces``, then send the 16 bytes that
        ``message`` names by address and key."""
        self._post(self._requests.answer(pieces, address, key, message, ident, signalled=signalled))

    def post_marker(self, ident: int) -> None:
        """Post a write of nothing, which no key is needed for."""
        self._post(self._requests.marker(ident))

    def _post(self, request: SendWR) -> None:
        try:
            self._qp.post_send(request)
        except PyverbsError as error:
            raise os_error(error) from None

    def _to_error(self) -> None:
        self._qp.modify(QPAttr(qp_state=e.IBV_QPS_ERR), e.IBV_QP_STATE)


def _name(attributes: QPAttr) -> str:
    """Return what log lines call the peer: its address, and the number of its queue pair."""
    try:
        gid = IPv6Address(attributes.ah_attr.dgid)
    except AddressValueError:
        return f"?:qp{attributes.dest_qp_num}"
    host = str(gid.ipv4_mapped) if gid.ipv4_mapped else f"[{gid}]"
    return f"{host}:qp{attributes.dest_qp_num}"
