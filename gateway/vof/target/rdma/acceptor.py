# SPDX-License-Identifier: BSD-3-Clause
"""The listeners, and all connections that have not connected yet: one thread for all of them.

A silent peer costs a queue pair and a deadline, never a thread. Owns the events of the connection
manager as long as there are connections, and the number of these: beyond the limit new ones are
refused at once. Must not know commands or devices.

An event that says that a peer has disconnected does not say which one. So all connections are asked
whether theirs has.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

import pyverbs.cm_enums as ce
from pyverbs.cmid import CMID, CMEvent
from pyverbs.pyverbs_error import PyverbsError

from vof.descriptors import SHORTAGES, explain
from vof.errors import RemoteProtocolError
from vof.logline import Throttle, event
from vof.target.association import AssociationTable, TransportOffer
from vof.target.config import Settings
from vof.target.ending import Stalled
from vof.target.rdma.connection import CONTROL_RECEIVES, MAX_DESCS, SPARE, Connection
from vof.target.rdma.endpoint import Endpoint
from vof.target.rdma.handshake import Accepted, Handshake
from vof.target.rdma.listener import Listener
from vof.target.rdma.memory import NotRegistered
from vof.target.rdma.tapped import TappedEndpoint
from vof.target.rdma.verbs import Device
from vof.target.serving import Serving, expired
from vof.target.taps import Taps
from vof.wire.constants import TransportFeature

_ENDS = (
    ce.RDMA_CM_EVENT_DISCONNECTED,
    ce.RDMA_CM_EVENT_CONNECT_ERROR,
    ce.RDMA_CM_EVENT_UNREACHABLE,
    ce.RDMA_CM_EVENT_REJECTED,
)


@dataclass(eq=False)
class _Pending:
    handshake: Handshake
    connection: Connection
    deadline: float

    @property
    def peer(self) -> str:
        return self.connection.peer


class Acceptor:
    """Accepts, waits for the Connect, and starts a thread for each connection that has had it."""

    def __init__(
        self,
        listeners: list[Listener],
        table: AssociationTable,
        settings: Settings,
        taps: Taps | None = None,
    ) -> None:
        """``listeners`` belong to this object from now on."""
        self.settings = settings
        """May be replaced at any time; holds for what is accepted from then on."""
        self._listeners = listeners
        self._table = table
        self._taps = taps
        self._devices: dict[str, Device] = {}
        # Held while events are taken and while ids are closed: to close an id waits for those of
        # its events that were taken and not acknowledged.
        self._cm_lock = threading.Lock()
        self._poll = select.poll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        for fd in (self._wake, *(item.fileno() for item in listeners)):
            self._poll.register(fd, select.POLLIN)
        self._accepting = True
        self._all_refused = threading.Event()
        self._stopping = False
        # In the order in which they were accepted, which is mostly that of their deadlines.
        self._pending: dict[int, _Pending] = {}
        self._serving: Serving[Connection] = Serving(table.release)
        self._full = Throttle(10.0)
        self._removed: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="vof-rdma", daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        self._thread.start()

    def stop_accepting(self) -> None:
        """Refuse whoever comes, and close every connection without an association."""
        self._accepting = False
        os.eventfd_write(self._wake, 1)
        self._all_refused.wait()

    def count(self) -> int:
        """Return how many connections there are."""
        return len(self._serving) + len(self._pending)

    def connected(self) -> list[Connection]:
        """Return the connections that have a thread."""
        return self._serving.connections()

    def wait_for(self, connections: Iterable[object], deadline: float) -> bool:
        """Wait until all of ``connections`` have ended; False where the time did not suffice."""
        return self._serving.wait_for(connections, deadline)

    def close(self) -> None:
        """Close the listeners; no connection is left."""
        self._stopping = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        os.close(self._wake)
        for listener in self._listeners:
            listener.close()
        for device in self._devices.values():
            device.close()

    def _run(self) -> None:
        listeners = {item.fileno(): item for item in self._listeners}
        while not self._stopping:
            for fd, _what in self._poll.poll(self._timeout()):
                if fd == self._wake:
                    os.eventfd_read(self._wake)
                elif fd in listeners:
                    self._take_events(listeners[fd])
                elif pending := self._pending.get(fd):
                    self._advance(pending)
            for pending in expired(self._pending.values()):
                self._drop(pending)
            if not self._accepting:
                for pending in list(self._pending.values()):
                    self._drop(pending)
                self._all_refused.set()

    def _timeout(self) -> float | None:
        for pending in self._pending.values():
            return max(0.0, pending.deadline - time.monotonic()) * 1000
        return None

    def _take_events(self, listener: Listener) -> None:
        while True:
            with self._cm_lock:
                try:
                    found = CMEvent(listener.channel)
                except PyverbsError:
                    return  # there is none any more
                kind = found.event_type
                cmid = None
                if kind == ce.RDMA_CM_EVENT_CONNECT_REQUEST:
                    cmid = CMID(creator=found, listen_id=listener.cmid)
                found.ack_cm_event()
            if cmid is not None:
                self._request(cmid, listener)
            elif kind in _ENDS:
                self._find_ended()
            elif kind == ce.RDMA_CM_EVENT_DEVICE_REMOVAL:
                self._remove(listener.device)

    def _request(self, cmid: CMID, listener: Listener) -> None:
        """Admit who asks for a connection. To close an id that was not accepted refuses it."""
        settings = self.settings
        if not self._accepting or not self._has_room(settings):
            self._close_id(cmid)
            return
        try:
            endpoint = self._endpoint(cmid, listener)
        except OSError as error:
            if error.errno in SHORTAGES:
                self._warn_of_refusal(None, explain(error))
            else:
                # Often because the peer has gone again.
                event(logging.DEBUG, "refused", reason=error.strerror)
            self._close_id(cmid)
            return
        self._begin_handshake(endpoint, settings)

    def _endpoint(self, cmid: CMID, listener: Listener) -> Endpoint:
        """Make the endpoint of a connection that was asked for. Raises OSError."""
        room = max((item.queue_size for item in self._table.devices()), default=0) + SPARE
        receives = max(room, CONTROL_RECEIVES)
        device = self._device(cmid.dev_name)
        if self._taps is None:
            return Endpoint(device, cmid, self._cm_lock, receives)
        return TappedEndpoint(device, cmid, self._cm_lock, receives, self._taps, listener.place)

    def _begin_handshake(self, endpoint: Endpoint, settings: Settings) -> None:
        connection = Connection(endpoint, eager=settings.eager, send_timeout=settings.send_timeout)
        try:
            if not endpoint.reads:
                raise RemoteProtocolError("the initiator lets us read nothing of its memory")
            handshake = Handshake(endpoint, self._table, connection, offer(settings))
        except RemoteProtocolError as error:
            event(logging.WARNING, "violation", peer=endpoint.peer, reason=str(error))
        except (OSError, NotRegistered) as error:
            self._warn_of_refusal(endpoint.peer, str(error))
        else:
            deadline = time.monotonic() + settings.handshake_timeout
            self._pending[endpoint.fileno()] = _Pending(handshake, connection, deadline)
            self._poll.register(endpoint.fileno(), select.POLLIN)
            return
        endpoint.close()

    def _has_room(self, settings: Settings) -> bool:
        if self.count() < settings.connections:
            return True
        self._warn_of_refusal(None, f"{settings.connections} connections are the limit")
        return False

    def _warn_of_refusal(self, peer: str | None, reason: str) -> None:
        self._full.event(logging.WARNING, "refused", peer=peer, reason=reason)

    def _device(self, name: str) -> Device:
        if name not in self._devices:
            self._devices[name] = Device(name)
        return self._devices[name]

    def _close_id(self, cmid: CMID) -> None:
        with self._cm_lock:
            try:
                cmid.close()
            except PyverbsError:
                pass  # nothing is left to be done about it

    def _advance(self, pending: _Pending) -> None:
        peer = pending.peer
        try:
            accepted = pending.handshake.advance(
                lambda reason: event(logging.INFO, "connect-refused", peer=peer, reason=reason)
            )
        except RemoteProtocolError as error:
            event(logging.WARNING, "violation", peer=peer, reason=str(error))
            self._drop(pending)
        except (Stalled, OSError):
            self._drop(pending)
        else:
            if accepted:
                self._hand_over(pending, accepted)

    def _hand_over(self, pending: _Pending, accepted: Accepted) -> None:
        connection = pending.connection
        self._forget_pending(pending)
        connection.connect(pending.handshake, accepted)
        close = connection.endpoint.close
        self._serving.start(connection, accepted.connected, close, transport="rdma")

    def _forget_pending(self, pending: _Pending) -> None:
        fd = pending.handshake.endpoint.fileno()
        self._poll.unregister(fd)
        del self._pending[fd]

    def _drop(self, pending: _Pending) -> None:
        self._forget_pending(pending)
        pending.handshake.endpoint.close()

    def _find_ended(self) -> None:
        for pending in list(self._pending.values()):
            if not pending.handshake.endpoint.alive():
                self._drop(pending)
        for connection in self.connected():
            if not connection.endpoint.alive():
                connection.abort()

    def _remove(self, device: str) -> None:
        """The device goes away: end what uses it. There is an event for each of its ids."""
        if device in self._removed:
            return
        self._removed.add(device)
        # Each once: there is a listener for every port.
        listened = dict.fromkeys(item.address for item in self._listeners if item.device == device)
        event(
            logging.ERROR,
            "device-removed",
            device=device,
            reason=f"{', '.join(listened)} is not served until the target is started again",
        )
        for pending in list(self._pending.values()):
            if pending.handshake.endpoint.device.name == device:
                self._drop(pending)
        for connection in self.connected():
            if connection.endpoint.device.name == device:
                connection.abort()


def offer(settings: Settings) -> TransportOffer:
    """Return what an initiator is offered over RDMA."""
    features = TransportFeature.KEYED_NUM_DESCS
    if settings.eager:
        features |= TransportFeature.KEYED_EAGER_BUF
    return TransportOffer(int(features), MAX_DESCS)
