# SPDX-License-Identifier: BSD-3-Clause
"""One attached disk: nbdkit and the kernel's device, from the first look at the target to the end.

Owns the order of things. What is begun is undone whatever happens: nbdkit dies with this process,
and the kernel's device is found again by its identifier. When nbdkit ends by itself it is started
again, and the kernel sends what was in flight over the new connections, so a mounted file system
stays. A session that nbdkit has lost is not made again here.

Must not know who waits for the outcome.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from types import FrameType

from vof.drivers.block import BlockDriver
from vof.drivers.block_geometry import check_block_device
from vof.errors import ConfigError, DeviceError, LocalProtocolError, VofError
from vof.gateways.attach.block_path import enter_block_path
from vof.gateways.attach.blockdev import (
    BlockDevice,
    Kernel,
    wait_for_receivers,
    wait_for_size,
    wait_until_free,
)
from vof.gateways.attach.handshake import READ_ONLY, Connection, shake_hands
from vof.gateways.attach.identifier import make_identifier, safe_serial
from vof.gateways.attach.nbdkit import Command, Nbdkit, command, find_filter, metrics_place
from vof.gateways.attach.netlink import NbdNetlink
from vof.gateways.attach.plan import Plan
from vof.gateways.attach.state import END, END_NOW, Claim, Record
from vof.gateways.attach.udev import wait_for_links
from vof.initiator.session import Session

logger = logging.getLogger(__name__)

_ATTEMPTS = 6
_START_TIMEOUT = 60.0
_RECEIVERS_TIMEOUT = 5.0
_SIZE_TIMEOUT = 10.0
_REUSE_TIMEOUT = 15.0
_FLUSH_TIMEOUT = 5.0
_DETACH_TIMEOUT = 3.0
_LOOK_INTERVAL = 5.0
_BACKOFF = (0.0, 1.0, 2.0, 4.0, 8.0, 10.0)
_BLOCK_SIZES = (512, 1024, 2048, 4096)


class Ended(BaseException):
    """A signal has asked for the end; no Exception, so that nothing on the way keeps it."""

    def __init__(self, force: bool) -> None:
        super().__init__()
        self.force = force


@dataclass(frozen=True)
class Facts:
    """What the target's device is."""

    size: int
    block_size: int
    serial: str


def supervise(plan: Plan, claim: Claim, kernel: Kernel, ready: Callable[[Record], None]) -> None:
    """Attach the disk, call ``ready``, and return after it was detached again.

    To be called in a process's main thread. Raises VofError if it cannot be attached.
    """
    disk = Supervisor(plan, claim, kernel)
    force = True
    try:
        with _signals():
            try:
                disk.attach()
                ready(disk.record)
                force = False
                disk.watch()
            except Ended as ended:
                force = ended.force
                if not disk.record.since:
                    raise VofError("ended before the disk was attached") from None
    finally:
        with _escalating(disk):
            disk.detach(force=force)


class Supervisor:
    """See the module."""

    def __init__(self, plan: Plan, claim: Claim, kernel: Kernel) -> None:
        self._plan = plan
        self._claim = claim
        self._kernel = kernel
        self._command: Command | None = None
        self._nbdkit: Nbdkit | None = None
        self._device: BlockDevice | None = None
        self._identifier = ""
        self.record = Record(
            claim.folder.name,
            plan.tvqn,
            plan.parameters.where,
            "connecting",
            connections=plan.connections,
            metrics=metrics_place(plan, claim.folder),
            settings=plan.settings,
        )

    def attach(self) -> None:
        """Make the disk usable. Raises VofError."""
        self._note()
        _enter_block_path()
        with NbdNetlink() as netlink:
            facts = look_at(self._plan)
            serial = safe_serial(facts.serial, self._plan.tvqn)
            self._identifier = make_identifier(self.record.name, serial)
            filter_file = find_filter(self._plan.fast_path)
            self._command = command(self._plan, self._claim.folder, filter_file)
            self._note(identifier=self._identifier, fast_path=filter_file is not None)
            self._start_nbdkit()
            self._device = self._adopt(netlink) or self._connect(netlink, facts)
            self._note(device=str(self._device.path))
        wait_for_size(self._device, self.record.size, _SIZE_TIMEOUT)
        self._device.announce()
        self._try_to_read(self._device)
        wait_for_links(self._device, self.record.name)
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        self._note(state="connected", since=now)
        logger.info("connected: '%s' is %s", self._plan.tvqn, self._device.path)

    def watch(self) -> None:
        """Start nbdkit again whenever it ends; return when the device is not ours any more."""
        assert self._device is not None
        while True:
            assert self._nbdkit is not None
            if _ends_within(self._nbdkit.pid, _LOOK_INTERVAL):
                self._nbdkit.wait()
                self._restart(self._nbdkit.last_words())
            if self._device.identifier != self._identifier:
                logger.warning("%s was detached by somebody else", self._device.path)
                return

    def detach(self, *, force: bool) -> None:
        """Undo all that was done, within a few seconds. Nothing is raised, and nothing waits for
        the target; ``force`` waits for nothing at all."""
        with suppress(OSError):
            self._note(state="disconnecting")
        if force:
            self.break_off()
        for device in list(self._kernel.devices()):
            if self._identifier and device.identifier == self._identifier:
                self._detach(device, force=force)
        if self._nbdkit is not None:
            self._nbdkit.end()
        self._claim.release()
        logger.info("disconnected: '%s'", self._plan.tvqn)

    def break_off(self) -> None:
        """Kill nbdkit, so that nothing waits for it any more."""
        if self._nbdkit is not None:
            self._nbdkit.kill()

    def _detach(self, device: BlockDevice, *, force: bool) -> None:
        if not force and not _done_within(device.flush, _FLUSH_TIMEOUT):
            logger.warning("%s could not be flushed within %g s", device.path, _FLUSH_TIMEOUT)
        # The kernel says goodbye to nbdkit first, and may wait for it.
        if not _done_within(lambda: _disconnect(device.index), _DETACH_TIMEOUT):
            self.break_off()
            _done_within(lambda: _disconnect(device.index), _DETACH_TIMEOUT)
        if not wait_until_free(device):
            uses = ", ".join(use.how for use in device.uses()) or "open"
            logger.warning("%s is detached; it becomes free when not %s", device.path, uses)
        with suppress(VofError):
            device.announce()

    def _start_nbdkit(self) -> None:
        assert self._command is not None
        self._nbdkit = Nbdkit(self._command, self._claim.folder, _tell)
        self._nbdkit.wait_until_ready(_START_TIMEOUT)
        self._note(nbdkit=self._nbdkit.pid)

    def _shake_hands(self, count: int) -> list[Connection]:
        assert self._nbdkit is not None
        with ExitStack() as undo:
            found = []
            for _each in range(count):
                connection = shake_hands(self._nbdkit.socket, _START_TIMEOUT)
                undo.callback(connection.socket.close)
                found.append(connection)
            undo.pop_all()
            return found

    def _connect(self, netlink: NbdNetlink, facts: Facts) -> BlockDevice:
        """Attach nbdkit's export to the kernel; see `wait_for_receivers` for why in a loop."""
        count = self._plan.connections
        for _attempt in range(_ATTEMPTS):
            connections = self._shake_hands(count)
            try:
                size, flags = connections[0].size, connections[0].flags
                index = netlink.connect(
                    self._plan.index,
                    sockets=[each.socket for each in connections],
                    size=size,
                    block_size=_block_size(facts.block_size, size),
                    flags=flags,
                    timeout=self._plan.kernel_timeout,
                    dead_timeout=self._plan.dead_timeout,
                    identifier=self._identifier,
                )
            finally:
                _close(connections)
            self._note(size=size, read_only=bool(flags & READ_ONLY))
            device = self._kernel.device(index)
            if wait_for_receivers(device, count, _RECEIVERS_TIMEOUT):
                return device
            logger.info("%s is attached anew: the kernel listens to a part of it", device.path)
            netlink.disconnect(index)
            wait_until_free(device, _REUSE_TIMEOUT)
        raise VofError(
            f"the kernel does not listen to all {count} connections, tried {_ATTEMPTS} times; "
            "connections=1 does without"
        )

    def _adopt(self, netlink: NbdNetlink) -> BlockDevice | None:
        """Take over the device that a supervisor before us has left attached, if there is one."""
        previous = self._claim.previous
        if previous is None or previous.identifier != self._identifier:
            return None
        for device in self._kernel.devices():
            if device.identifier == self._identifier:
                logger.info("%s is taken over", device.path)
                self._note(size=device.size, read_only=previous.read_only)
                self._reconnect(netlink, device)
                return device
        return None

    def _reconnect(self, netlink: NbdNetlink, device: BlockDevice) -> None:
        """Give the device new connections in the place of its old ones, which have ended."""
        deadline = time.monotonic() + _RECEIVERS_TIMEOUT
        while device.receivers() and time.monotonic() < deadline:
            time.sleep(0.02)  # until the kernel has noticed: it replaces dead ones only
        connections = self._shake_hands(self._plan.connections)
        try:
            size = connections[0].size
            if size != device.size:
                raise VofError(
                    f"the disk has {size} bytes now, {device.path} has {device.size}: disconnect "
                    "and connect it again"
                )
            netlink.reconfigure(
                device.index,
                sockets=[each.socket for each in connections],
                dead_timeout=self._plan.dead_timeout,
                identifier=self._identifier,
            )
        finally:
            _close(connections)
        if not wait_for_receivers(device, self._plan.connections, _RECEIVERS_TIMEOUT):
            raise VofError(f"the kernel does not listen to all connections of {device.path}")

    def _restart(self, why: str) -> None:
        assert self._device is not None
        logger.error("nbdkit ended (%s); it is started again", why)
        self._note(state="restarting", error=why, restarts=self.record.restarts + 1)
        for attempt in range(1 << 30):
            time.sleep(_BACKOFF[min(attempt, len(_BACKOFF) - 1)])
            if self._device.identifier != self._identifier:
                return
            try:
                self._start_nbdkit()
                with NbdNetlink() as netlink:
                    self._reconnect(netlink, self._device)
            except VofError as error:
                logger.error("%s", error)
                self.break_off()
                self._note(error=str(error))
            else:
                self._note(state="connected")
                logger.info("connected again: '%s' is %s", self._plan.tvqn, self._device.path)
                return

    def _try_to_read(self, device: BlockDevice) -> None:
        """Read the disk's start through the kernel. Raises VofError if that fails or takes long."""
        timeout = self._plan.parameters.connect_timeout
        failure: list[OSError] = []

        def read() -> None:
            try:
                device.read_start()
            except OSError as error:
                failure.append(error)

        if not _done_within(read, timeout):
            raise VofError(
                f"the target answers too slowly: a first read takes more than {timeout:g} s"
            )
        if failure:
            raise VofError(f"{device.path} cannot be read: {failure[0].strerror}")

    def _note(self, **changes: object) -> None:
        self.record = replace(self.record, **changes)  # type: ignore[arg-type]
        self._claim.write(self.record)


def look_at(plan: Plan) -> Facts:
    """Return what the target's device is, over a session of its own. Raises VofError."""
    # Bound to iport=, its closing connections would hold the ports that nbdkit needs.
    parameters = replace(plan.parameters, iport=0)
    session = Session.open(parameters)
    try:
        check_block_device(session)
        driver = BlockDriver.attach(session, 1)
    except BaseException:
        session.close()
        raise
    try:
        try:
            serial = driver.get_id()
        except (DeviceError, LocalProtocolError):
            serial = ""
        return Facts(driver.size, driver.geometry.block_size, serial)
    finally:
        driver.close()


def _enter_block_path() -> None:
    try:
        enter_block_path()
    except ConfigError as error:
        logger.warning("%s", error)


def _block_size(block_size: int, size: int) -> int:
    """Return the kernel's block size: the device's, where Linux has that and it fits."""
    return block_size if block_size in _BLOCK_SIZES and size % block_size == 0 else 512


def _disconnect(index: int) -> None:
    with NbdNetlink() as netlink:
        netlink.disconnect(index)


def _done_within(act: Callable[[], object], timeout: float) -> bool:
    """Return whether ``act`` is done in time; otherwise a thread goes on with it. What it raises,
    of what can be expected, is logged."""

    def run() -> None:
        try:
            act()
        except (OSError, VofError) as error:
            logger.warning("%s", error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout)
    return not thread.is_alive()


def _ends_within(pid: int, timeout: float) -> bool:
    """Return whether our child ends in that time; it is not reaped."""
    fd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(timeout * 1000))
    finally:
        os.close(fd)


def _close(connections: list[Connection]) -> None:
    """The kernel has what it needs of them."""
    for connection in connections:
        connection.socket.close()


def _tell(line: str) -> None:
    logger.info("%s", line)


@contextmanager
def _signals() -> Iterator[None]:
    """Have the signals that ask for an end raise Ended."""

    def end(number: int, _frame: FrameType | None) -> None:
        for each in (END, END_NOW, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        raise Ended(number == END_NOW)

    for each in (END, END_NOW, signal.SIGINT):
        signal.signal(each, end)
    yield


@contextmanager
def _escalating(disk: Supervisor) -> Iterator[None]:
    """While it is being detached, END_NOW stops waiting; nothing else counts."""
    for each in (END, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    signal.signal(END_NOW, lambda _number, _frame: disk.break_off())
    yield
    signal.signal(END_NOW, signal.SIG_IGN)
