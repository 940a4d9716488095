# SPDX-License-Identifier: BSD-3-Clause
"""Gives nbdkit's connections to the kernel's nbd driver, gives it new ones, and takes them back.

Owns the device that the kernel has made of them, and how the driver's faults are lived with. What
was attached is found again by its identifier, whatever has happened in between. Must not know what
is at the other end of the connections, nor why they are replaced.

The driver also tells of dead connections by itself (NBD_CMD_LINK_DEAD, to the multicast group
nbd_mc_group). That is not listened to. Linux 6.1 sends one for each connection that it finds ended,
with the device's number and nothing else. Where nbdkit died that is just when a pidfd tells it; of
one that lives no connection ends but by the driver's own timeout, long after ours has given the
session up. And what counts for new connections is when the driver's receivers have ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from vof.errors import VofError
from vof.gateways.attach.clock import CLOCK, Clock, Deadline
from vof.gateways.attach.nbd.blockdev import (
    BlockDevice,
    Kernel,
    attach_once_closed,
    wait_for_receivers,
    wait_for_size,
    wait_until_free,
)
from vof.gateways.attach.nbd.handshake import Connection
from vof.gateways.attach.nbd.netlink import NbdNetlink
from vof.gateways.attach.plan import Plan

logger = logging.getLogger(__name__)

Shake = Callable[[], Connection]
"""Makes one NBD connection. Raises VofError."""

_ATTEMPTS = 6
_RECEIVERS_TIMEOUT = 5.0
_SIZE_TIMEOUT = 10.0
_REUSE_TIMEOUT = 60.0
_FREE_TIMEOUT = 2.0
_OPEN_TIMEOUT = 10.0
_FLUSH_TIMEOUT = 5.0
_DETACH_TIMEOUT = 3.0
_POLL = 0.02
_BLOCK_SIZES = (512, 1024, 2048, 4096)


@dataclass(frozen=True)
class Attached:
    """A device that was attached."""

    device: BlockDevice
    flags: int
    """NBD's transmission flags."""


class Attachment:
    """One disk's device of the kernel's driver, and the connections that the device has."""

    def __init__(
        self,
        plan: Plan,
        kernel: Kernel,
        netlink: Callable[[], NbdNetlink] = NbdNetlink,
        clock: Clock = CLOCK,
    ) -> None:
        self.identifier = ""
        """What the device is attached under; empty before anything is."""
        self._plan = plan
        self._kernel = kernel
        self._netlink = netlink
        self._clock = clock

    def check(self) -> None:
        """Raises ConfigError where the kernel has no nbd driver."""
        self._netlink().close()

    def find(self) -> BlockDevice | None:
        """Return the device that is attached under the identifier, if there is one."""
        return next(self._devices(), None)

    def holds(self, device: BlockDevice) -> bool:
        """Return whether the device is ours still."""
        return device.identifier == self.identifier

    def connect(self, shake: Shake, size: int, block_size: int) -> Attached:
        """Attach new connections; see `wait_for_receivers` for why in a loop. Raises VofError."""
        count = self._plan.connections
        wanted = None if self._plan.index is None else self._kernel.device(self._plan.index)
        with self._netlink() as netlink:
            for _attempt in range(_ATTEMPTS):
                with _shaken(shake, count) as connections:
                    flags = connections[0].flags
                    attach = partial(
                        netlink.connect,
                        self._plan.index,
                        sockets=[each.socket for each in connections],
                        size=size,
                        block_size=_block_size(block_size, size),
                        flags=flags,
                        timeout=self._plan.kernel_timeout,
                        dead_timeout=self._plan.dead_timeout,
                        identifier=self.identifier,
                    )
                    index = attach_once_closed(attach, wanted, _OPEN_TIMEOUT, self._clock)
                device = self._kernel.device(index)
                if wait_for_receivers(device, count, _RECEIVERS_TIMEOUT, self._clock):
                    return Attached(device, flags)
                logger.info("%s is attached anew: the kernel listens to a part of it", device.path)
                netlink.disconnect(index)
                wait_until_free(device, _REUSE_TIMEOUT, self._clock)
        raise VofError(
            f"the kernel does not listen to all {count} connections, tried {_ATTEMPTS} times; "
            "connections=1 does without"
        )

    def reconnect(self, device: BlockDevice, shake: Shake, size: int) -> None:
        """Give the device new connections in the place of its old ones, which have ended, and the
        size that the disk has now. Raises VofError if it has become smaller."""
        if size < device.size:
            raise VofError(
                f"the disk has {size} bytes now, {device.path} has {device.size}: disconnect "
                "and connect it again"
            )
        deadline = Deadline(_RECEIVERS_TIMEOUT, self._clock)
        while device.receivers() and not deadline.is_over:
            self._clock.sleep(_POLL)  # until the kernel has noticed: it replaces dead ones only
        with _shaken(shake, self._plan.connections) as connections:
            with self._netlink() as netlink:
                netlink.reconfigure(
                    device.index,
                    sockets=[each.socket for each in connections],
                    size=size,
                    dead_timeout=self._plan.dead_timeout,
                    identifier=self.identifier,
                )
        if not wait_for_receivers(device, self._plan.connections, _RECEIVERS_TIMEOUT, self._clock):
            raise VofError(f"the kernel does not listen to all connections of {device.path}")

    def grow(self, device: BlockDevice, size: int) -> None:
        """Give the device that size, while it is in use. Raises VofError."""
        with self._netlink() as netlink:
            netlink.resize(device.index, size, self.identifier)

    def wait_until_usable(self, device: BlockDevice, size: int) -> None:
        """Return when the disk can be read through the kernel. Raises VofError."""
        wait_for_size(device, size, _SIZE_TIMEOUT, self._clock)
        device.announce(ready=True)
        timeout = self._plan.parameters.connect_timeout
        try:
            if not self._clock.done_within(device.read_start, timeout):
                raise VofError(
                    f"the target answers too slowly: a first read takes more than {timeout:g} s"
                )
        except OSError as error:
            raise VofError(f"{device.path} cannot be read: {error.strerror}") from None

    def detach(self, *, force: bool, break_off: Callable[[], None]) -> None:
        """Have the kernel let go of what is attached, within a few seconds. Nothing is raised.

        ``break_off`` breaks the connections, for when that takes long; ``force`` writes nothing
        back.
        """
        for device in list(self._devices()):
            self._detach(device, force, break_off)

    def _detach(self, device: BlockDevice, force: bool, break_off: Callable[[], None]) -> None:
        if not force and not self._done_within(device.flush, _FLUSH_TIMEOUT):
            logger.warning("%s could not be flushed within %g s", device.path, _FLUSH_TIMEOUT)
        # The kernel says goodbye to nbdkit first, and may wait for it.
        if not self._done_within(lambda: self._disconnect(device), _DETACH_TIMEOUT):
            break_off()
            self._done_within(lambda: self._disconnect(device), _DETACH_TIMEOUT)
        if not wait_until_free(device, _FREE_TIMEOUT, self._clock):
            uses = ", ".join(use.how for use in device.uses()) or "open"
            logger.warning("%s is detached; it becomes free when not %s", device.path, uses)
        with suppress(VofError):
            device.announce(ready=False)

    def _done_within(self, act: Callable[[], object], seconds: float) -> bool:
        try:
            return self._clock.done_within(act, seconds)
        except (OSError, VofError) as error:
            logger.warning("%s", error)
            return True

    def _disconnect(self, device: BlockDevice) -> None:
        with self._netlink() as netlink:
            netlink.disconnect(device.index)

    def _devices(self) -> Iterator[BlockDevice]:
        for device in self._kernel.devices():
            if self.identifier and self.holds(device):
                yield device


@contextmanager
def _shaken(shake: Shake, count: int) -> Iterator[list[Connection]]:
    """Have so many connections; what the kernel was not given of them ends here."""
    with ExitStack() as undo:
        found = []
        for _each in range(count):
            connection = shake()
            undo.callback(connection.socket.close)
            found.append(connection)
        yield found


def _block_size(block_size: int, size: int) -> int:
    """Return the kernel's block size: the device's, where Linux has that and it fits."""
    return block_size if block_size in _BLOCK_SIZES and size % block_size == 0 else 512
