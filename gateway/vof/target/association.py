# SPDX-License-Identifier: BSD-3-Clause
"""One initiator's use of one device.

Owns what belongs to one association: dialect, device status, features, queue sizes, connected
queues. Must not know sockets or memory regions: a connection is here only as a ``Link``.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from vof.logline import event
from vof.target.devices.device import Device, DeviceInstance
from vof.target.work import Work
from vof.wire.connect import Names
from vof.wire.constants import (
    CONTROL_QUEUE_DEPTH,
    AsyncEvent,
    DeviceStatus,
    Transport,
)
from vof.wire.dialect import Dialect


class Link(Protocol):
    """A connection as its association knows it. Any thread may call these, and waits for
    nothing."""

    def abort(self) -> None:
        """End the connection at once."""

    def notify(self, event: AsyncEvent, completion: bytes) -> None:
        """Send the event on a control queue, some time: ``completion`` says it. One that waits to
        be sent is replaced by the next of its kind."""

    def reset(self) -> None:
        """The device was reset: revoke what the initiator can reach by key."""


class Caller(NamedTuple):
    """An initiator that connects, to what and how: the same in every Connect of an association."""

    names: Names | None
    """None where a virtqueue's Connect leaves them out: those of the control queue's stand."""
    transport: Transport
    dialect: Dialect


class TransportOffer(NamedTuple):
    """The transport features on offer and their limits (*v5*, transport features)."""

    features: int = 0
    """Bits of ``TransportFeature``."""
    max_descs: int = 0
    """Keyed descriptors that one command may have."""


NO_OFFER = TransportOffer()


class Association:
    """One initiator's use of one device. ``lock`` guards all of it but ``instance``, which guards
    itself.
    """

    def __init__(
        self,
        target_id: int,
        caller: Caller,
        device: Device,
        instance: DeviceInstance,
        offer: TransportOffer,
    ) -> None:
        assert caller.names is not None
        self.target_id = target_id
        self.caller = caller
        self.ivqn = caller.names.ivqn
        self.device = device
        self.dialect = caller.dialect
        self.transport_features = 0
        """Transport feature bits in force."""
        self.offer = offer
        self.instance = instance
        self.lock = threading.RLock()
        self._left = threading.Condition(self.lock)
        self.ended = False
        self.queues: set[int] = set()
        """Indices of the virtqueues that are connected."""
        self.seen_generation = device.generation
        """Config generation that the driver was last told of."""
        self._config_told = False
        """A config change was told, and the config space not read since."""
        self.status = 0
        """Device status."""
        self.driver_features: int | None = None
        """None until the driver has set any."""
        self.queue_sizes: list[int] = []
        self._links: dict[ConnectedQueue, Link] = {}
        self._forget()

    @property
    def offered_transport_features(self) -> int:
        """The transport feature bits that may be set."""
        return int(self.offer.features) & self.dialect.transport_features

    def set_transport_features(self, features: int) -> bool:
        """Put transport features in force; False where one of them is not on offer."""
        with self.lock:
            if features & ~self.offered_transport_features:
                return False
            self.transport_features = features
            return True

    def depth(self, index: int | None) -> int | None:
        """Return how many commands a connected queue may have in flight, the control queue without
        ``index``: in *v5* that is its size. None before, where nobody counts them here."""
        if self.dialect.framing.has_descriptors:
            return None
        return CONTROL_QUEUE_DEPTH if index is None else self.queue_sizes[index]

    def notify(self, event: AsyncEvent) -> None:
        """Send the event to the initiator, if its dialect has any. Of config changes one at most is
        outstanding until the config space is read, which tells of all of them (*v5* "Events")."""
        with self.lock:
            dialect = self.dialect
            if not dialect.has_async_events:
                return
            if event is AsyncEvent.CONFIG_CHANGE and dialect.has_status_list:
                if self._config_told:
                    return
                self._config_told = True
            links = [link for connected, link in self._links.items() if connected.index is None]
        completion = dialect.event(event, self.device.generation)
        for link in links:
            link.notify(event, completion)

    def config_is_read(self) -> None:
        """The driver reads the config space, and learns its generation: the next change is told."""
        with self.lock:
            self._config_told = False

    def reset(self) -> None:
        """Device reset (virtio 1.2 §2.4). The connected queues stay connected (ours)."""
        with self.lock:
            for link in self._links.values():
                link.reset()
            self._forget()
            self.instance.reset()

    def set_features(self, features: int) -> bool:
        """Take the driver's features; False where negotiation is over (virtio 1.2 §3.1.1)."""
        with self.lock:
            if self.status & (DeviceStatus.FEATURES_OK | DeviceStatus.DRIVER_OK):
                return False
            self.driver_features = features
            # What was not offered is not in force; FEATURES_OK will tell the driver.
            self.instance.choose_features(features & self.device.features)
            return True

    def set_status(self, status: int) -> None:
        """Set the device status; 0 is a reset. FEATURES_OK stays unset where the features are not
        ours.
        """
        with self.lock:
            if not status:
                self.reset()
                return
            if status & DeviceStatus.FEATURES_OK and not self.status & DeviceStatus.FEATURES_OK:
                if self.driver_features is None:
                    self.set_features(0)
                elif self.driver_features & ~self.device.features:
                    status &= ~int(DeviceStatus.FEATURES_OK)
            self.status = status

    def end(
        self,
        why: str,
        reason: str | None = None,
        *,
        level: int = logging.WARNING,
        peer: str | None = None,
    ) -> None:
        """End the association and its connections. Only the first call does and logs anything."""
        with self.lock:
            if self.ended:
                return
            self.ended = True
            links = list(self._links.values())
        event(
            level,
            why,
            peer=peer,
            tvqn=self.device.tvqn,
            ivqn=self.ivqn,
            target_id=self.target_id,
            reason=reason,
        )
        for link in links:
            link.abort()

    def join(self, connected: ConnectedQueue, link: Link) -> None:
        """Note a connection."""
        with self.lock:
            self._links[connected] = link

    def link(self, queue: int) -> Link | None:
        """Return the connection of a virtqueue, None where it has none."""
        with self.lock:
            links = (link for connected, link in self._links.items() if connected.index == queue)
            return next(links, None)

    def leave(self, connected: ConnectedQueue) -> None:
        """Forget a connection."""
        with self._left:
            self._links.pop(connected, None)
            self._left.notify_all()

    def wait_until_left(self) -> None:
        """Return when the last connection is gone, and with it all that was executed for them."""
        with self._left:
            self._left.wait_for(lambda: not self._links)

    @property
    def over(self) -> bool:
        """True where the association has ended and its last connection is gone."""
        with self.lock:
            return self.ended and not self._links

    def _forget(self) -> None:
        self.status = 0
        self.driver_features = None
        self.queue_sizes = [self.device.queue_size] * self.device.num_queues


@dataclass(frozen=True, eq=False)
class ConnectedQueue:
    """A queue of an association and the work on it, for as long as its connection lasts."""

    association: Association
    index: int | None
    """The virtqueue's; None for the control queue."""
    work: Work = field(default_factory=Work)
    """What is done here."""
