# SPDX-License-Identifier: BSD-3-Clause
"""Associations: who is connected to what, and who may connect (*proposal*, "Connect").

Owns the table of target ids, the rules by which a Connect is refused, and what belongs to one
association: device status, features, queue sizes, connected queues. Must not know sockets: a
connection is here only as a function that ends it.

An association begins with its control queue's Connect and ends with that queue's connection, a
Disconnect, a violation, or its device's removal. Its target id is free again when the last of its
connections is gone, so that what is still being executed for it cannot be taken for its
successor's.
"""

from __future__ import annotations

import errno
import heapq
import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vof.target.devices.device import Device
from vof.target.logline import event
from vof.wire.constants import CONTROL_QUEUE_TARGET_ID, DeviceStatus

Abort = Callable[[], None]
"""Ends a connection from any thread, at once and without waiting for it."""


class Refusal(Exception):
    """A Connect that is answered with ``status``; the connection stays open for another one."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Association:
    """One initiator's use of one device. ``lock`` guards all of it but ``seat``, which guards
    itself.
    """

    def __init__(self, target_id: int, ivqn: str, device: Device) -> None:
        self.target_id = target_id
        self.ivqn = ivqn
        self.device = device
        self.seat = device.take_seat()
        self.lock = threading.RLock()
        self.ended = False
        self.queues: set[int] = set()
        """Indices of the virtqueues that are connected."""
        self.seen_generation = device.generation
        """Config generation that the driver was last told of."""
        self.status = 0
        """Device status."""
        self.driver_features: int | None = None
        """None until the driver has set any."""
        self.queue_sizes: list[int] = []
        self._aborts: dict[object, Abort] = {}
        self._forget()

    def reset(self) -> None:
        """Device reset (virtio 1.2 §2.4). The connected queues stay connected (ours)."""
        with self.lock:
            self._forget()
            self.seat.reset()

    def set_features(self, features: int) -> bool:
        """Take the driver's features; False where negotiation is over (virtio 1.2 §3.1.1)."""
        with self.lock:
            if self.status & (DeviceStatus.FEATURES_OK | DeviceStatus.DRIVER_OK):
                return False
            self.driver_features = features
            # What was not offered is not in force; FEATURES_OK will tell the driver.
            self.seat.choose_features(features & self.device.features)
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
            aborts = list(self._aborts.values())
        event(
            level,
            why,
            peer=peer,
            tvqn=self.device.tvqn,
            ivqn=self.ivqn,
            target_id=self.target_id,
            reason=reason,
        )
        for abort in aborts:
            abort()
        self.seat.stop_waiting()

    def join(self, key: object, abort: Abort) -> None:
        """Note a connection."""
        with self.lock:
            self._aborts[key] = abort

    def leave(self, key: object) -> None:
        """Forget a connection."""
        with self.lock:
            self._aborts.pop(key, None)

    @property
    def over(self) -> bool:
        """True where the association has ended and its last connection is gone."""
        with self.lock:
            return self.ended and not self._aborts

    def _forget(self) -> None:
        self.status = 0
        self.driver_features = None
        self.queue_sizes = [self.device.queue_size] * self.device.num_queues


@dataclass(frozen=True, eq=False)
class Attachment:
    """A connection's place in an association."""

    association: Association
    queue: int | None
    """The virtqueue's index; None for the control queue."""


class AssociationTable:
    """All associations, and the devices there are for them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._changed = threading.Condition()
        self._devices: dict[str, Device] = {}
        self._active: dict[int, Association] = {}
        self._free: list[int] = []
        self._next = 0

    def add(self, device: Device) -> None:
        """Let initiators connect to ``device``."""
        with self._changed:
            self._devices[device.tvqn] = device

    def remove(self, tvqn: str, timeout: float) -> bool:
        """End the device's associations and wait for them to be gone; False where that took too
        long.
        """
        with self._changed:
            device = self._devices.pop(tvqn)
            users = [item for item in self._active.values() if item.device is device]
        for association in users:
            association.end("removed", "the device was removed from the configuration")
        with self._changed:
            return self._changed.wait_for(lambda: not self._uses(device), timeout)

    def connect_control(self, ivqn: str, tvqn: str, abort: Abort) -> Attachment:
        """Begin an association. Raises Refusal."""
        with self._changed:
            device = self._devices.get(tvqn)
            if device is None:
                raise Refusal(errno.ENODEV, f"there is no device {tvqn!r}")
            if len(self._active) >= self.limit:
                raise Refusal(errno.EBUSY, f"{self.limit} associations are the limit")
            association = Association(self._allocate(), ivqn, device)
            self._active[association.target_id] = association
            return self._attach(association, None, abort)

    def connect_queue(
        self, target_id: int, queue: int, ivqn: str, tvqn: str, abort: Abort
    ) -> Attachment:
        """Connect a virtqueue of an association. Raises Refusal."""
        with self._changed:
            association = self._active.get(target_id)
            if association is None:
                raise Refusal(errno.ENODEV, f"there is no target id {target_id}")
            with association.lock:
                if association.ended:
                    raise Refusal(errno.ENODEV, f"target id {target_id} is ending")
                if (association.ivqn, association.device.tvqn) != (ivqn, tvqn):
                    raise Refusal(errno.EPROTO, f"the names are not those of target id {target_id}")
                if queue >= association.device.num_queues:
                    raise Refusal(errno.ECHRNG, f"there is no queue {queue}")
                if queue in association.queues:
                    raise Refusal(errno.EBUSY, f"queue {queue} is connected already")
                association.queues.add(queue)
                return self._attach(association, queue, abort)

    def release(self, attachment: Attachment) -> None:
        """A connection is gone, and so is everything that was executed for it."""
        association = attachment.association
        # First of all, so that the end of the association does not reach this connection: its peer
        # is to see it closed when everything here is done.
        association.leave(attachment)
        if attachment.queue is None:
            association.end("disconnected", level=logging.INFO)
        else:
            with association.lock:
                association.queues.discard(attachment.queue)
        with self._changed:
            known = self._active.get(association.target_id)
            if known is association and association.over:
                association.seat.close()
                del self._active[association.target_id]
                heapq.heappush(self._free, association.target_id)
                self._changed.notify_all()

    def devices(self) -> Iterable[Device]:
        """Return the devices there are now."""
        with self._changed:
            return list(self._devices.values())

    def _attach(self, association: Association, queue: int | None, abort: Abort) -> Attachment:
        attachment = Attachment(association, queue)
        association.join(attachment, abort)
        return attachment

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
