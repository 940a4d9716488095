# SPDX-License-Identifier: BSD-3-Clause
"""Opens an association's queues, and says what differs between the transports that carry them.

Owns what an association has besides its queues: over RDMA a protection domain, transport features
(*v5* "Get Feature Command") and the eager buffers of its virtqueues. Must not know in which order
things are done.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vof.engine.choice import open_queue
from vof.errors import CompletionError, ConnectError, RemoteProtocolError
from vof.fabric.destination import Destination
from vof.fabric.interface import OnLost, Queue
from vof.fabric.pending import Pending
from vof.fabric.rdma.connect import connect_rdma
from vof.fabric.rdma.eager import EagerRange
from vof.fabric.rdma.interface import Link
from vof.fabric.rdma.queue import RdmaQueue
from vof.fabric.rdma.requests import MAX_PAYLOAD, MAX_SEGS
from vof.fabric.rdma.tapped import TappedLink
from vof.fabric.tcp.connect import connect_tcp, free_port
from vof.initiator.control import ControlQueue
from vof.initiator.parameters import SessionParameters
from vof.initiator.portal import Portal
from vof.wire.constants import MAX_COMMAND_ID, Command, Transport, TransportFeature
from vof.wire.dialect import Dialect
from vof.wire.v5 import MAX_KEYED_DESCS, KeyedDescriptor

if TYPE_CHECKING:
    from vof.fabric.rdma.verbs import Domain

CONTROL_SIZE = 16
"""Descriptors in flight on a control queue: one command at a time."""


class Connections(ABC):
    """The connections of one association by a portal, which is at ``destination``.
    ``connections_of`` makes them."""

    max_payload: int
    """Bytes that a request may carry, both directions together."""
    max_segs: int
    """Descriptors of a request that travel at all."""

    def __init__(
        self,
        portal: Portal,
        parameters: SessionParameters,
        dialect: Dialect,
        destination: Destination,
    ) -> None:
        self._portal = portal
        self._parameters = parameters
        self._dialect = dialect
        self._destination = destination

    @abstractmethod
    def open(self, name: str, offset: int, size: int, on_lost: OnLost) -> Queue:
        """Return a connected queue for ``size`` descriptors, the ``offset``-th of its association.

        Raises ConfigError, ConnectError.
        """

    def leave_port(self, queue: Queue) -> None:  # noqa: B027 - not every transport keeps one
        """Let the closing of ``queue`` free its local port at once."""

    def agree(self, control: ControlQueue) -> None:  # noqa: B027 - there may be nothing to
        """Agree on transport features, on a control queue that is connected."""

    def set_up(self, control: ControlQueue, index: int, queue: Queue) -> None:  # noqa: B027
        """Have a virtqueue that is connected use what was agreed on."""


def connections_of(
    portal: Portal, parameters: SessionParameters, dialect: Dialect, destination: Destination
) -> Connections:
    """Return what opens the queues of an association by a portal, which is at ``destination``."""
    return _KINDS[portal.transport](portal, parameters, dialect, destination)


class _TcpConnections(Connections):
    max_payload = 1 << 32
    max_segs = MAX_COMMAND_ID

    def open(self, name: str, offset: int, size: int, on_lost: OnLost) -> Queue:
        portal, taps = self._portal, self._parameters.taps
        local_port = portal.local_port_of(name, offset)
        sock = connect_tcp(self._destination, portal.local_address, local_port)
        if taps is not None:
            try:
                sock = taps.stream(sock)
            except OSError as error:
                sock.close()
                raise ConnectError(f"{portal.where}: {error.strerror}") from None
        return open_queue(
            sock,
            f"{portal.where} {name}",
            on_lost,
            self._parameters.connect_timeout,
            self._dialect.framing,
        )

    def leave_port(self, queue: Queue) -> None:
        free_port(queue.fileno())


class _RdmaConnections(Connections):
    max_payload = MAX_PAYLOAD
    max_segs = MAX_SEGS

    def __init__(
        self,
        portal: Portal,
        parameters: SessionParameters,
        dialect: Dialect,
        destination: Destination,
    ) -> None:
        super().__init__(portal, parameters, dialect, destination)
        self._domain: Domain | None = None
        self._features = TransportFeature(0)
        self._num_descs = 1
        """Keyed descriptors that a command may have."""

    def open(self, name: str, offset: int, size: int, on_lost: OnLost) -> Queue:
        portal, taps = self._portal, self._parameters.taps
        local_port = portal.local_port_of(name, offset)
        link, self._domain = connect_rdma(
            self._destination, portal.local_address, local_port, self._domain, size
        )
        used: Link = link
        if taps is not None:
            used = TappedLink(link, taps.keyed(portal.where))
        return RdmaQueue(
            used,
            self._domain.pool,
            f"{portal.where} {name}",
            on_lost,
            self._parameters.connect_timeout,
            size,
            self._dialect.framing,
        )

    def agree(self, control: ControlQueue) -> None:
        wanted = self._dialect.transport_features
        if not self._parameters.eager:
            wanted &= ~TransportFeature.KEYED_EAGER_BUF
        if wanted:
            self._features = TransportFeature(control.get_transport_features() & wanted)
            control.set_transport_features(self._features)
            if self._features & TransportFeature.KEYED_NUM_DESCS:
                self._num_descs = control.get_keyed_num_descs()

    def set_up(self, control: ControlQueue, index: int, queue: Queue) -> None:
        try:
            eager = self._eager_range(control, index)
            _keyed(queue).use_keyed(self._num_descs, eager)
        except RemoteProtocolError as error:
            raise RemoteProtocolError(f"{self._portal.where}: virtqueue {index}: {error}") from None

    def _eager_range(self, control: ControlQueue, index: int) -> EagerRange | None:
        if not self._features & TransportFeature.KEYED_EAGER_BUF:
            return None
        try:
            buffers = _get_keyed_eager_buf(control, index, MAX_KEYED_DESCS)
        except CompletionError:
            return None  # the target has no memory for it: requests can do without
        return EagerRange(buffers) if buffers else None


_KINDS: Mapping[Transport, type[Connections]] = {
    Transport.TCP: _TcpConnections,
    Transport.RDMA: _RdmaConnections,
}


def _get_keyed_eager_buf(control: ControlQueue, index: int, descs: int) -> list[KeyedDescriptor]:
    """Return the first ``descs`` eager buffers of a virtqueue.

    Raises RemoteProtocolError if there are more than were asked for, and as ``ControlQueue``.
    """
    command = Command.GET_KEYED_EAGER_BUF
    fabric = _keyed(control.fabric)
    buffers: list[KeyedDescriptor] = []

    def prepare(command_id: int) -> Pending:
        return fabric.prepare_get_keyed_eager_buf(command.value, command_id, index, descs)

    def take(pending: Pending, completion: Any) -> None:
        if completion.value > descs:
            raise RemoteProtocolError(
                f"{command.value} returns {completion.value} buffers of at most {descs}"
            )
        buffers.extend(fabric.eager_buffers(pending, completion.value))

    control.run(command, prepare, take)
    return buffers


def _keyed(queue: Queue) -> RdmaQueue:
    """Return a queue that was opened here as what it is."""
    assert isinstance(queue, RdmaQueue)
    return queue
