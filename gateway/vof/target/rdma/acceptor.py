# SPDX-License-Identifier: BSD-3-Clause
"""The listeners, and the thread that takes the events of the connection manager.

Owns these events as long as there are connections, and what it takes to make an endpoint. Must not
know commands or devices; whom there is room for is ``admission``'s.

An event that says that a peer has disconnected does not say which one. So all connections are asked
whether theirs has.
"""

from __future__ import annotations

import logging
import os
import selectors
import threading
from collections.abc import Callable

import pyverbs.cm_enums as ce
from pyverbs.cmid import CMID, CMEvent
from pyverbs.pyverbs_error import PyverbsError

from vof.descriptors import SHORTAGES, explain
from vof.errors import RemoteProtocolError
from vof.logline import event
from vof.target.admission import Admission
from vof.target.association import TransportOffer
from vof.target.association_table import AssociationTable
from vof.target.config import Settings
from vof.target.rdma.connection import CONTROL_RECEIVES, MAX_DESCS, SPARE, KeyedConnection
from vof.target.rdma.endpoint import Endpoint
from vof.target.rdma.handshake import Handshake
from vof.target.rdma.listener import Listener
from vof.target.rdma.memory import NotRegistered
from vof.target.rdma.tapped import TappedEndpoint
from vof.target.rdma.verbs import Device
from vof.target.taps import Taps
from vof.wire.constants import TransportFeature

_ENDS = (
    ce.RDMA_CM_EVENT_DISCONNECTED,
    ce.RDMA_CM_EVENT_CONNECT_ERROR,
    ce.RDMA_CM_EVENT_UNREACHABLE,
    ce.RDMA_CM_EVENT_REJECTED,
)


class Acceptor:
    """Accepts, and waits for whatever comes before a Connect."""

    def __init__(
        self,
        listeners: list[Listener],
        table: AssociationTable,
        settings: Settings,
        taps: Taps | None = None,
    ) -> None:
        """``listeners`` belong to this object from now on."""
        self._listeners = listeners
        self._table = table
        self._taps = taps
        self._devices: dict[str, Device] = {}
        # Held while events are taken and while ids are closed: to close an id waits for those of
        # its events that were taken and not acknowledged.
        self._cm_lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self.admission: Admission[KeyedConnection] = Admission(
            settings, table.release, self._selector, transport="rdma"
        )
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        for fd in (self._wake, *(item.fileno() for item in listeners)):
            self._selector.register(fd, selectors.EVENT_READ)
        self._accepting = True
        self._all_refused = threading.Event()
        self._stopping = False
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

    def close(self) -> None:
        """Close the listeners; no connection is left."""
        self._stopping = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._selector.close()
        os.close(self._wake)
        for listener in self._listeners:
            listener.close()
        for device in self._devices.values():
            device.close()

    def _run(self) -> None:
        listeners = {item.fileno(): item for item in self._listeners}
        while not self._stopping:
            for key, _events in self._selector.select(self.admission.seconds_left()):
                if key.fd == self._wake:
                    os.eventfd_read(self._wake)
                elif key.data is not None:
                    self.admission.advance(key.data)
                else:
                    self._take_events(listeners[key.fd])
            self.admission.drop_late()
            if not self._accepting:
                self.admission.drop_all()
                self._all_refused.set()

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
        if not self._accepting or not self.admission.has_room():
            self._close_id(cmid)
            return
        try:
            endpoint = self._endpoint(cmid, listener)
        except OSError as error:
            if error.errno in SHORTAGES:
                self.admission.refuse(None, explain(error))
            else:
                # Often because the peer has gone again.
                event(logging.DEBUG, "refused", reason=error.strerror)
            self._close_id(cmid)
            return
        self._begin_handshake(endpoint)

    def _endpoint(self, cmid: CMID, listener: Listener) -> Endpoint:
        """Make the endpoint of a connection that was asked for. Raises OSError."""
        room = max((item.queue_size for item in self._table.devices.all()), default=0) + SPARE
        receives = max(room, CONTROL_RECEIVES)
        device = self._device(cmid.dev_name)
        if self._taps is None:
            return Endpoint(device, cmid, self._cm_lock, receives)
        return TappedEndpoint(device, cmid, self._cm_lock, receives, self._taps, listener.place)

    def _begin_handshake(self, endpoint: Endpoint) -> None:
        settings = self.admission.settings
        connection = KeyedConnection(
            endpoint,
            threads=settings.threads,
            eager=settings.eager,
            send_timeout=settings.send_timeout,
        )
        try:
            if not endpoint.reads:
                raise RemoteProtocolError("the initiator lets us read nothing of its memory")
            handshake = Handshake(self._table, connection, offer(settings))
        except RemoteProtocolError as error:
            event(logging.WARNING, "violation", peer=endpoint.peer, reason=str(error))
        except (OSError, NotRegistered) as error:
            self.admission.refuse(endpoint.peer, str(error))
        else:
            self.admission.admit(handshake)
            return
        endpoint.close()

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

    def _find_ended(self) -> None:
        self._end_where(lambda endpoint: not endpoint.alive())

    def _end_where(self, is_to_end: Callable[[Endpoint], bool]) -> None:
        for handshake in self.admission.waiting():
            assert isinstance(handshake, Handshake)
            if is_to_end(handshake.endpoint):
                self.admission.drop(handshake)
        for connection in self.admission.serving.connections():
            if is_to_end(connection.endpoint):
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
        self._end_where(lambda endpoint: endpoint.device.name == device)


def offer(settings: Settings) -> TransportOffer:
    """Return what an initiator is offered over RDMA."""
    features = TransportFeature.KEYED_NUM_DESCS
    if settings.eager:
        features |= TransportFeature.KEYED_EAGER_BUF
    return TransportOffer(int(features), MAX_DESCS)
