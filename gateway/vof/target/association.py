# SPDX-License-Identifier: BSD-3-Clause
"""Associations: who is connected to what, and who may connect (*v5* "Connect Command").

Owns the table of target ids, the rules by which a Connect is refused, and what belongs to one
association: dialect, device status, features, queue sizes, connected queues. Must not know sockets
or memory regions: a connection is here only as a ``Link``.

An association begins with its control queue's Connect and ends with that queue's connection, a
Disconnect, a violation, or its device's removal. Its target id is free again when the last of its
connections is gone, so that what is still being executed for it cannot be taken for its
successor's.
"""

from __future__ import annotations

import heapq
import logging
import threading
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from vof.logline import event
from vof.target.devices.device import Device, DeviceInstance, InUse
from vof.target.registry import DeviceRegistry
from vof.target.work import Statistics, Work
from vof.wire.connect import Names
from vof.wire.constants import (
    CONTROL_QUEUE_DEPTH,
    CONTROL_QUEUE_TARGET_ID,
    AsyncEvent,
    DeviceStatus,
    Transport,
)
from vof.wire.dialect import Dialect
from vof.wire.status import Reason


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


class Refusal(Exception):
    """A Connect that is refused; the connection stays open for another one."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


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


class AssociationTable:
    """All associations with the devices of a registry."""

    def __init__(self, devices: DeviceRegistry, limit: int) -> None:
        self.devices = devices
        self.limit = limit
        self.statistics = Statistics()
        self._changed = threading.Condition()
        self._active: dict[int, Association] = {}
        self._free: list[int] = []
        self._next = 0

    def end_users(self, device: Device, timeout: float) -> bool:
        """End the associations with a device that was removed and wait for them to be gone; False
        where that took too long.
        """
        with self._changed:
            users = [item for item in self._active.values() if item.device is device]
        for association in users:
            association.end("removed", "the device was removed from the configuration")
        with self._changed:
            return self._changed.wait_for(lambda: not self._uses(device), timeout)

    def remove_idle(self, device: Device) -> bool:
        """Let nobody connect to ``device`` any more, unless somebody uses it: then return False."""
        with self._changed:
            if self._uses(device):
                return False
            self.devices.remove(device)
            return True

    def connect_control(
        self, caller: Caller, link: Link, offer: TransportOffer = NO_OFFER
    ) -> ConnectedQueue:
        """Begin an association. Raises Refusal."""
        if caller.names is None:
            raise Refusal(Reason.BAD_NAME, "a control queue's Connect has no names")
        tvqn = caller.names.tvqn
        with self._changed:
            device = self.devices.find(tvqn)
            if device is None:
                raise Refusal(Reason.NO_TARGET, f"there is no device {tvqn!r}")
            if len(self._active) >= self.limit:
                raise Refusal(Reason.NO_INSTANCE, f"{self.limit} associations are the limit")
            try:
                instance = device.new_instance()
            except InUse as error:
                raise Refusal(Reason.NO_INSTANCE, str(error)) from None
            association = Association(self._allocate(), caller, device, instance, offer)
            self._active[association.target_id] = association
            return self._connect(association, None, link)

    def connect_queue(
        self,
        target_id: int,
        queue: int,
        caller: Caller,
        link: Link,
        size: int | None = None,
    ) -> ConnectedQueue:
        """Connect a virtqueue of an association, which is to hold ``size`` commands, 0 for the most
        it can; None leaves it at what was agreed. Raises Refusal."""
        with self._changed:
            association = self._active.get(target_id)
            if association is None:
                raise Refusal(Reason.BAD_INSTANCE, f"there is no target id {target_id}")
            with association.lock:
                self._check_queue(association, queue, caller, size)
                if size is not None:
                    association.queue_sizes[queue] = size or association.device.queue_size
                association.queues.add(queue)
                connected = self._connect(association, queue, link)
                self.statistics.enter(connected.work, association.device.tvqn, queue)
                return connected

    def _check_queue(
        self, association: Association, queue: int, caller: Caller, size: int | None
    ) -> None:
        """Raise Refusal where a virtqueue may not be connected so."""
        target_id, device = association.target_id, association.device
        if association.ended:
            raise Refusal(Reason.BAD_INSTANCE, f"target id {target_id} is ending")
        if caller.names is not None and association.caller.names != caller.names:
            raise Refusal(Reason.BAD_NAME, f"the names are not those of target id {target_id}")
        if association.caller[1:] != caller[1:]:
            reason = f"the Connect is not of the form of target id {target_id}'s"
            raise Refusal(Reason.FOREIGN_FORM, reason)
        if queue >= device.num_queues:
            raise Refusal(Reason.NO_QUEUE, f"there is no queue {queue}")
        if queue in association.queues:
            raise Refusal(Reason.QUEUE_IN_USE, f"queue {queue} is connected already")
        if size and size > device.queue_size:
            reason = f"queue {queue} holds {device.queue_size} commands, not {size}"
            raise Refusal(Reason.QUEUE_SIZE, reason)

    def release(self, connected: ConnectedQueue) -> None:
        """A connection is gone, and so is everything that was executed for it."""
        association = connected.association
        # First of all, so that the end of the association does not reach this connection: its peer
        # is to see it closed when everything here is done.
        association.leave(connected)
        if connected.index is None:
            association.end("disconnected", level=logging.INFO)
        else:
            self.statistics.leave(connected.work)
            with association.lock:
                association.queues.discard(connected.index)
        with self._changed:
            known = self._active.get(association.target_id)
            if known is association and association.over:
                association.instance.close()
                del self._active[association.target_id]
                heapq.heappush(self._free, association.target_id)
                self._changed.notify_all()

    def users(self) -> dict[str, int]:
        """Return how many associations each device has now."""
        with self._changed:
            users = dict.fromkeys((device.tvqn for device in self.devices.all()), 0)
            for association in self._active.values():
                tvqn = association.device.tvqn
                users[tvqn] = users.get(tvqn, 0) + 1
            return users

    def notify(self, device: Device, event: AsyncEvent) -> None:
        """Send an event to all initiators of the device whose dialect has any."""
        with self._changed:
            users = [item for item in self._active.values() if item.device is device]
        for association in users:
            association.notify(event)

    def _connect(self, association: Association, queue: int | None, link: Link) -> ConnectedQueue:
        connected = ConnectedQueue(association, queue)
        association.join(connected, link)
        return connected

    def _allocate(self) -> int:
        """Return the lowest free target id. The limit leaves 0xffff, which means a control queue,
        alone.
        """
        if self._free:
            return heapq.heappop(self._free)
        self._next += 1
        assert self._next <= CONTROL_QUEUE_TARGET_ID
        return self._next - 1

    def _uses(self, device: Device) -> bool:
        return any(item.device is device for item in self._active.values())
