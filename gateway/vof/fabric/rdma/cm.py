# SPDX-License-Identifier: BSD-3-Clause
"""The active side of the RDMA connection manager, for one connection (RDMA_PS_TCP).

Owns an event channel and an id; the queue pair is its user's, and goes through its states by what
the id says. Each step is an attempt (``staggered``), which waits for its event. Reads every event
at once, since the end of an id waits for those that were not.

Must not know messages.
"""

from __future__ import annotations

import errno
import select
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyverbs.cm_enums as ce
import pyverbs.enums as e
from pyverbs.cmid import CMID, AddrInfo, CMEvent, CMEventChannel, ConnParam
from pyverbs.pyverbs_error import PyverbsError

from vof.fabric.rdma.errors import CmError
from vof.fabric.rdma.verbs import Held
from vof.fabric.staggered import Attempt, Wait
from vof.rdma.descriptors import EVENT_CHANNEL, with_descriptor
from vof.rdma.failures import as_os_error, os_error

if TYPE_CHECKING:
    from pyverbs.qp import QP

RETRIES = 6
"""How often a packet is sent again; rxe takes 7 for ever."""

RNR_FOREVER = 7
"""Wait as long as it takes for a peer that has no receive posted."""

ACK_TIMEOUT = 17
"""A packet is sent again after 4.096 us << 17, half a second; with the retries a host that has
vanished is noticed after about five."""

RNR_TIMER = 12
"""How long a peer waits that has found us without a receive: 0.64 ms."""

_MAX_RESOURCES = 128
"""RDMA READs that the target may have outstanding: what the Linux initiator grants."""

_ENDS = {
    ce.RDMA_CM_EVENT_DISCONNECTED: "closed by the target",
    ce.RDMA_CM_EVENT_DEVICE_REMOVAL: "the RDMA device was removed",
    ce.RDMA_CM_EVENT_ADDR_CHANGE: "the address of the RDMA device changed",
}


_REFUSALS = {
    ce.RDMA_CM_EVENT_ADDR_ERROR: errno.ENODEV,
    ce.RDMA_CM_EVENT_ROUTE_ERROR: errno.EHOSTUNREACH,
    ce.RDMA_CM_EVENT_REJECTED: errno.ECONNREFUSED,
    ce.RDMA_CM_EVENT_UNREACHABLE: errno.ETIMEDOUT,
    ce.RDMA_CM_EVENT_DEVICE_REMOVAL: errno.ENODEV,
}


_LOOK = 1.0
"""Seconds until the kernel looks again for who has an address. Where the answer comes while it is
still asking, as it does between interfaces of one machine, it misses that and does nothing else."""

_LATE = 0.1
"""Seconds before the deadline at which an answer may say that it has passed."""


class ConnectionManager(Held):
    """One connection to be. Raises OSError where the machine has no connection manager."""

    def __init__(self) -> None:
        super().__init__()
        try:
            with as_os_error():
                channel, self.fd = with_descriptor(CMEventChannel, EVENT_CHANNEL)
                self._channel = self.hold(channel, self.fd)
                self._id = self.hold(CMID(creator=channel))
        except BaseException:
            self.let_go()
            raise
        self._connected = False

    @property
    def device(self) -> str:
        """Name of the device that the resolved address is reached by."""
        return self._id.dev_name  # type: ignore[no-any-return]

    def resolve(
        self, address: str, port: int, source: str | None, source_port: int, deadline: float
    ) -> Attempt[None]:
        """Find the device and the route to a numeric address, from a local end if that is given.
        Raises CmError."""
        local: dict[str, str] = {}
        if source or source_port:
            local["src"] = source or ("::" if ":" in address else "0.0.0.0")
            local["src_service"] = str(source_port)
        with as_os_error():
            info = AddrInfo(
                dst=address, dst_service=str(port), port_space=ce.RDMA_PS_TCP, flags=0, **local
            )
        step = "address"
        try:
            yield from self._find(info, deadline)
            step = "route"
            self._id.resolve_route(_ms(deadline))
            yield from self._await(step, ce.RDMA_CM_EVENT_ROUTE_RESOLVED, deadline)
        except PyverbsError as error:
            raise CmError(step, os_error(error).errno or errno.EIO) from None

    def _find(self, info: AddrInfo, deadline: float) -> Attempt[None]:
        while True:
            look = min(deadline, time.monotonic() + _LOOK)
            self._id.resolve_addr(info, _ms(look))
            try:
                yield from self._await("address", ce.RDMA_CM_EVENT_ADDR_RESOLVED, deadline, look)
            except CmError as error:
                if error.errno != errno.ETIMEDOUT or time.monotonic() >= deadline - _LATE:
                    raise
            else:
                return

    def modify(self, qp: QP, state: int) -> None:
        """Take the queue pair to ``state``, with what the id knows of the connection."""
        attributes, mask = self._id.init_qp_attr(state)
        if state == e.IBV_QPS_INIT:
            attributes.qp_access_flags = (
                e.IBV_ACCESS_LOCAL_WRITE | e.IBV_ACCESS_REMOTE_READ | e.IBV_ACCESS_REMOTE_WRITE
            )
        elif state == e.IBV_QPS_RTR:
            attributes.min_rnr_timer = RNR_TIMER
        elif state == e.IBV_QPS_RTS:
            attributes.timeout = ACK_TIMEOUT
            attributes.retry_cnt = RETRIES
            attributes.rnr_retry = RNR_FOREVER
        qp.modify(attributes, mask)

    def connect(self, qp: QP, resources: int, deadline: float) -> Attempt[None]:
        """Connect an initialised queue pair, which has its receives. Raises CmError, OSError."""
        parameters = ConnParam(
            resources=min(resources, _MAX_RESOURCES),
            depth=0,
            retry=RETRIES,
            rnr_retry=RNR_FOREVER,
            qp_num=qp.qp_num,
        )
        with as_os_error():
            self._id.connect(parameters)
        yield from self._await("connection", ce.RDMA_CM_EVENT_CONNECT_RESPONSE, deadline)
        with as_os_error():
            self.modify(qp, e.IBV_QPS_RTR)
            self.modify(qp, e.IBV_QPS_RTS)
            self._id.establish()
        self._connected = True

    def ends(self) -> Iterator[str]:
        """Read the events that have come; yield why those end the connection that do."""
        while (event := self._next()) is not None:
            if event in _ENDS:
                yield _ENDS[event]

    def disconnect(self) -> None:
        """Tell the peer that we leave, if there is a connection."""
        if self._connected and not self.gone:
            self._connected = False
            try:
                self._id.disconnect()
            except PyverbsError:
                pass  # the peer was first

    def _await(
        self, step: str, wanted: int, deadline: float, look: float | None = None
    ) -> Attempt[None]:
        while (event := self._next()) is None:
            if time.monotonic() >= deadline:
                raise CmError(step, errno.ETIMEDOUT)
            yield Wait(self.fd, select.POLLIN, deadline)
        if event == wanted:
            return
        # Nobody answers for an address: that is not known before the time is up.
        end = deadline if look is None else look
        late = event == ce.RDMA_CM_EVENT_ADDR_ERROR and time.monotonic() >= end - _LATE
        raise CmError(step, errno.ETIMEDOUT if late else _REFUSALS.get(event, errno.ECONNABORTED))

    def _next(self) -> int | None:
        """Return the next event if there is one."""
        try:
            event = CMEvent(self._channel)
        except PyverbsError as error:
            problem = os_error(error)
            if problem.errno == errno.EAGAIN:
                return None
            raise problem from None
        kind: int = event.event_type
        event.ack_cm_event()
        return kind


def _ms(deadline: float) -> int:
    return max(1, round((deadline - time.monotonic()) * 1000))
