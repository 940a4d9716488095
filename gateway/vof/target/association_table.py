# SPDX-License-Identifier: BSD-3-Clause
"""The table of associations: who is connected to what, and who may connect.

Owns the target ids, and the rules by which a Connect is refused (*v5* "Connect Command"). Must not
know how one came.

An association begins with its control queue's Connect and ends with that queue's connection, a
Disconnect, a violation, or its device's removal. Its target id is free again when the last of its
connections is gone, so that what is still being executed for it cannot be taken for its
successor's.
"""

from __future__ import annotations

import heapq
import logging
import threading

from vof.target.association import (
    NO_OFFER,
    Association,
    Caller,
    ConnectedQueue,
    Link,
    TransportOffer,
)
from vof.target.devices.device import Device, InUse
from vof.target.registry import DeviceRegistry
from vof.target.work import Statistics
from vof.wire.constants import CONTROL_QUEUE_TARGET_ID, AsyncEvent
from vof.wire.status import Reason


class Refusal(Exception):
    """A Connect that is refused; the connection stays open for another one."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


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
