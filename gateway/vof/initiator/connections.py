# SPDX-License-Identifier: BSD-3-Clause
"""Opens a session's queues, and says what differs between the transports that carry them.

Owns what an association has besides its queues: over RDMA a protection domain, transport features
(*v5* "Get Feature Command") and the eager buffers of its virtqueues. Must not know the order of a
session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from vof.engine.choice import open_queue
from vof.errors import CompletionError, ConfigError, ConnectError, RemoteProtocolError
from vof.fabric.destination import Destination
from vof.fabric.interface import OnLost, Queue
from vof.fabric.rdma.connect import connect_rdma
from vof.fabric.rdma.eager import EagerRange
from vof.fabric.rdma.interface import Link
from vof.fabric.rdma.queue import RdmaQueue
from vof.fabric.rdma.requests import MAX_PAYLOAD, MAX_SEGS
from vof.fabric.rdma.tapped import TappedLink
from vof.fabric.tcp.connect import connect_tcp, free_port
from vof.initiator.control import ControlQueue
from vof.initiator.parameters import SessionParameters
from vof.wire.constants import MAX_COMMAND_ID, Transport, TransportFeature
from vof.wire.dialect import Dialect
from vof.wire.v5 import MAX_KEYED_DESCS

if TYPE_CHECKING:
    from vof.fabric.rdma.verbs import Domain

CONTROL_SIZE = 16
"""Descriptors in flight on a control queue: one command at a time."""


class Connections(Protocol):
    """The connections of one association; ``connections_of`` makes them."""

    max_payload: int
    """Bytes that a request may carry, both directions together."""
    max_segs: int
    """Descriptors of a request that travel at all."""

    def open(self, name: str, offset: int, size: int, on_lost: OnLost) -> Queue:
        """Return a connected queue for ``size`` descriptors, the ``offset``-th from ``iport``.

        Raises ConfigError, ConnectError.
        """

    def leave_port(self, queue: Queue) -> None:
        """Let the closing of ``queue`` free its local port at once."""

    def agree(self, control: ControlQueue) -> None:
        """Agree on transport features, on a control queue that is connected."""

    def set_up(self, control: ControlQueue, index: int, queue: Queue) -> None:
        """Have a virtqueue that is connected use what was agreed on."""


def connections_of(
    parameters: SessionParameters, dialect: Dialect, destination: Destination
) -> Connections:
    """Return what opens the queues of an association over the transport that the user chose."""
    if Transport(parameters.transport) is Transport.RDMA:
        return _RdmaConnections(parameters, dialect, destination)
    return _TcpConnections(parameters, dialect, destination)


def destination_of(parameters: SessionParameters) -> Destination:
    """Return where an opening goes that begins now."""
    return Destination(parameters.taddr, parameters.tport, parameters.connect_timeout)


class _TcpConnections:
    max_payload = 1 << 32
    max_segs = MAX_COMMAND_ID

    def __init__(
        self, parameters: SessionParameters, dialect: Dialect, destination: Destination
    ) -> None:
        self._parameters = parameters
        self._dialect = dialect
        self._destination = destination

    def open(self, name: str, offset: int, size: int, on_lost: OnLost) -> Queue:
        parameters = self._parameters
        iport = _local_port(parameters, name, offset)
        sock = connect_tcp(self._destination, parameters.iaddr, iport)
        if parameters.taps is not None:
            try:
                sock = parameters.taps.stream(sock)
            except OSError as error:
                sock.close()
                raise ConnectError(f"{parameters.where}: {error.strerror}") from None
        return open_queue(
            sock,
            f"{parameters.where} {name}",
            on_lost,
            parameters.connect_timeout,
            self._dialect.framing,
        )

    def leave_port(self, queue: Queue) -> None:
        free_port(queue.fileno())

    def agree(self, control: ControlQueue) -> None:
        pass

    def set_up(self, control: ControlQueue, index: int, queue: Queue) -> None:
        pass


class _RdmaConnections:
    max_payload = MAX_PAYLOAD
    max_segs = MAX_SEGS

    def __init__(
        self, parameters: SessionParameters, dialect: Dialect, destination: Destination
    ) -> None:
        self._parameters = parameters
        self._dialect = dialect
        self._destination = destination
        self._domain: Domain | None = None
        self._features = TransportFeature(0)
        self._num_descs = 1
        """Keyed descriptors that a command may have."""

    def open(self, name: str, offset: int, size: int, on_lost: OnLost) -> Queue:
        parameters = self._parameters
        iport = _local_port(parameters, name, offset)
        link, self._domain = connect_rdma(
            self._destination, parameters.iaddr, iport, self._domain, size
        )
        used: Link = link
        if parameters.taps is not None:
            used = TappedLink(link, parameters.taps.keyed(parameters.where))
        return RdmaQueue(
            used,
            self._domain.pool,
            f"{parameters.where} {name}",
            on_lost,
            parameters.connect_timeout,
            size,
            self._dialect.framing,
        )

    def leave_port(self, queue: Queue) -> None:
        pass

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
        assert isinstance(queue, RdmaQueue)
        try:
            queue.use_keyed(self._num_descs, self._eager_range(control, index))
        except RemoteProtocolError as error:
            raise RemoteProtocolError(
                f"{self._parameters.where}: virtqueue {index}: {error}"
            ) from None

    def _eager_range(self, control: ControlQueue, index: int) -> EagerRange | None:
        if not self._features & TransportFeature.KEYED_EAGER_BUF:
            return None
        try:
            buffers = control.get_keyed_eager_buf(index, MAX_KEYED_DESCS)
        except CompletionError:
            return None  # the target has no memory for it: requests can do without
        return EagerRange(buffers) if buffers else None


def _local_port(parameters: SessionParameters, name: str, offset: int) -> int:
    iport = parameters.iport + offset if parameters.iport else 0
    if iport > 65535:
        raise ConfigError(f"iport={parameters.iport}: no port is left for {name}")
    return iport
