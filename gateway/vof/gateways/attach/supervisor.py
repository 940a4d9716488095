# SPDX-License-Identifier: BSD-3-Clause
"""One attached disk: nbdkit and the kernel's device, from the first look at the target to the end.

Owns the order of things. What is begun is undone whatever happens: nbdkit dies with this process,
and the kernel's device is found again by its identifier. When nbdkit ends by itself it is started
again, and the kernel sends what was in flight over the new connections, so a mounted file system
stays. A session that nbdkit has lost is not made again here.

nbdkit announces more bytes than any disk has, for it could not announce others later. The kernel is
told how many there are, here, and again when nbdkit's plugin says that the disk has grown.

Must not know who waits for the outcome.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from vof.errors import ConfigError, VofError
from vof.gateways.attach.clock import CLOCK, Clock, Deadline
from vof.gateways.attach.facts import Facts, look_at
from vof.gateways.attach.fence import Fence
from vof.gateways.attach.identifier import make_identifier, safe_serial
from vof.gateways.attach.nbd.attachment import Attachment
from vof.gateways.attach.nbd.blockdev import BlockDevice, Kernel
from vof.gateways.attach.nbd.handshake import READ_ONLY, Connection, shake_hands
from vof.gateways.attach.nbd.nbdkit import (
    CommandLine,
    Nbdkit,
    command_line,
    find_filter,
    metrics_place,
)
from vof.gateways.attach.plan import Plan
from vof.gateways.attach.signals import Ended, Signals
from vof.gateways.attach.state import Claim, Record
from vof.gateways.attach.udev import wait_for_links
from vof.gateways.block_path import enter_block_path
from vof.gateways.sessions.status import LOST, SessionStatus, now

logger = logging.getLogger(__name__)

_START_TIMEOUT = 60.0
_LOOK_INTERVAL = 5.0

_BACKOFF = (0.0, 1.0, 2.0, 4.0, 8.0, 10.0)


@dataclass(frozen=True)
class Parts:
    """The parts that a supervisor works with; a test has others."""

    look: Callable[[Plan], Facts] = look_at
    nbdkit: Callable[[CommandLine, Path, Callable[[str], None]], Nbdkit] = Nbdkit
    shake: Callable[[Path, float], Connection] = shake_hands
    fence: Callable[[int, int], Fence] = Fence.of
    enter_block_path: Callable[[], None] = enter_block_path
    wait_for_links: Callable[[BlockDevice, str], None] = wait_for_links
    clock: Clock = CLOCK


def supervise(
    plan: Plan,
    claim: Claim,
    kernel: Kernel,
    ready: Callable[[Record], None],
    changed: Callable[[Record], None] = lambda _record: None,
) -> None:
    """Attach the disk, call ``ready``, and return after it was detached again; ``changed`` is
    called with each other state that it comes to afterwards.

    To be called in a process's main thread. Raises VofError if it cannot be attached, or if nbdkit
    ends and is not to be started again, and Interrupted if it was ended before it was attached.
    """
    run(Supervisor(plan, claim, Attachment(plan, kernel)), ready, changed)


def run(
    disk: Supervisor,
    ready: Callable[[Record], None],
    changed: Callable[[Record], None] = lambda _record: None,
) -> None:
    """Have a supervisor attach its disk, and watch that until it is detached; see `supervise`."""
    signals = Signals(disk.break_off)
    force = True
    try:
        try:
            with signals.armed():
                disk.attach()
                ready(disk.record)
                disk.changed = changed
                force = False
                disk.watch()
        except Ended as ended:
            force = ended.force
            if not disk.record.since:
                raise
    finally:
        disk.detach(force=force)


class Supervisor:
    """One attached disk, from `attach` to `detach`; `watch` is all that comes between."""

    def __init__(
        self, plan: Plan, claim: Claim, attachment: Attachment, parts: Parts | None = None
    ) -> None:
        self._plan = plan
        self._claim = claim
        self._attachment = attachment
        self._parts = parts or Parts()
        self._command: CommandLine | None = None
        self._nbdkit: Nbdkit | None = None
        self._device: BlockDevice | None = None
        self._fence = Fence(())
        self._failed = False
        self._heard: SessionStatus | None = None
        """What nbdkit's plugin has said and was acted upon."""
        self._no_filter = ""
        """Why nbdkit runs without our filter."""
        self.changed: Callable[[Record], None] = lambda _record: None
        """Called with each state that the disk comes to."""
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
        self._enter_block_path()
        self._attachment.check()
        facts = self._parts.look(self._plan)
        serial = safe_serial(facts.serial, self._plan.tvqn)
        identifier = make_identifier(self.record.name, serial)
        filter_file, self._no_filter = find_filter(self._plan.fast_path)
        self._command = command_line(self._plan, self._claim.folder, filter_file)
        self._note(identifier=identifier, fast_path_reason=self._no_filter)
        self._attachment.identifier = identifier
        self._start_nbdkit()
        device = self._device = self._adopt(facts) or self._connect(facts)
        self._note(device=str(device.path))
        self._attachment.wait_until_usable(device, self.record.size)
        self._parts.wait_for_links(device, self.record.name)
        self._connected(device, since=now())
        logger.info("connected: '%s' is %s", self._plan.tvqn, device.path)

    def watch(self) -> None:
        """Start nbdkit again whenever it ends, and follow what it says of its session; return when
        the device is not ours any more.

        Raises VofError when nbdkit ends and is not to be started again.
        """
        device = self._device
        assert device is not None
        while True:
            assert self._nbdkit is not None
            if self._nbdkit.ends_within(_LOOK_INTERVAL):
                why = self._nbdkit.last_words()
                if not self._plan.restart:
                    self._failed = True
                    logger.error("nbdkit ended (%s)", why)
                    self._note(error=why)
                    raise VofError(f"nbdkit ended ({why}), and is not to be started again")
                self._restart(device, why)
            if not self._attachment.holds(device):
                logger.warning("%s was detached by somebody else", device.path)
                return
            if self._nbdkit.status != self._heard:
                self._follow(device)

    def detach(self, *, force: bool) -> None:
        """Undo all that was done, within a few seconds. Nothing is raised, and nothing waits for
        the target; ``force`` waits for nothing at all."""
        with suppress(OSError):
            self._note(state="disconnecting")
        if force:
            self.break_off()
        self._attachment.detach(force=force, break_off=self.break_off)
        self._fence.drop()
        if self._nbdkit is not None:
            self._nbdkit.end()
        logger.info("disconnected: '%s'", self._plan.tvqn)
        if self._failed:
            self._claim.leave()
        else:
            self._claim.release()

    def break_off(self) -> None:
        """Kill nbdkit, so that nothing waits for it any more."""
        if self._nbdkit is not None:
            self._nbdkit.kill()

    def _start_nbdkit(self) -> None:
        assert self._command is not None
        self._heard = None
        self._nbdkit = self._parts.nbdkit(self._command, self._claim.folder, _tell)
        self._nbdkit.wait_until_ready(_START_TIMEOUT)
        self._note(nbdkit=self._nbdkit.pid)

    def _shake(self) -> Connection:
        assert self._nbdkit is not None
        return self._parts.shake(self._nbdkit.socket, _START_TIMEOUT)

    def _connect(self, facts: Facts) -> BlockDevice:
        """Attach nbdkit's export to the kernel."""
        found = self._attachment.connect(self._shake, facts.size, facts.block_size)
        self._put_up_fence()
        self._note(size=facts.size, read_only=bool(found.flags & READ_ONLY))
        return found.device

    def _adopt(self, facts: Facts) -> BlockDevice | None:
        """Take over the device that a supervisor before us has left attached, if there is one."""
        previous = self._claim.previous
        if previous is None or previous.identifier != self._attachment.identifier:
            return None
        device = self._attachment.find()
        if device is not None:
            logger.info("%s is taken over", device.path)
            self._note(read_only=previous.read_only)
            self._reconnect(device, facts)
        return device

    def _reconnect(self, device: BlockDevice, facts: Facts) -> None:
        """Give the device connections to a new nbdkit."""
        self._attachment.reconnect(device, self._shake, facts.size)
        self._put_up_fence()
        self._note(size=facts.size)

    def _connected(self, device: BlockDevice, **changes: object) -> None:
        """The disk is usable, as far as nbdkit's plugin has not said otherwise by now."""
        assert self._nbdkit is not None
        self._note(state="connected", **changes)
        self._nbdkit.hear()
        self._follow(device)

    def _follow(self, device: BlockDevice) -> None:
        """Take over what nbdkit's plugin says of the session."""
        assert self._nbdkit is not None
        status = self._heard = self._nbdkit.status
        if status is None:
            return
        if status.size > device.size:
            self._grow(device, status.size)
        changes: dict[str, object] = {"state": status.state, "state_since": status.since}
        if status.state == LOST:
            changes["error"] = status.reason
        changes["fast_path"] = status.fast_path
        changes["fast_path_reason"] = self._no_filter or status.fast_path_reason
        if status.state == LOST != self.record.state:
            logger.error(
                "%s fails from now on: the session is lost (%s); disconnect it and connect it "
                "again when the target is back",
                device.path,
                status.reason,
            )
        self._note(**changes)

    def _grow(self, device: BlockDevice, size: int) -> None:
        """Pass the disk's size on to the kernel."""
        try:
            self._attachment.grow(device, size)
            self._note(size=size)
            logger.info("%s has %d bytes now", device.path, size)
        except VofError as error:
            logger.warning("%s keeps its size: %s", device.path, error)

    def _put_up_fence(self) -> None:
        # nbdkit has its session, and makes no other, since it has connections to the kernel.
        assert self._nbdkit is not None
        self._fence = self._parts.fence(self._nbdkit.pid, self._plan.parameters.tport)

    def _restart(self, device: BlockDevice, why: str) -> None:
        """Start nbdkit again until it serves the device, or that is not ours any more."""
        logger.error("nbdkit ended (%s); it is started again", why)
        self._note(state="restarting", error=why, restarts=self.record.restarts + 1)
        if not self._wait_for_target(device):
            return
        attempt = 0
        while True:
            self._parts.clock.sleep(_BACKOFF[min(attempt, len(_BACKOFF) - 1)])
            if not self._attachment.holds(device):
                return
            try:
                facts = self._parts.look(self._plan)
                self._start_nbdkit()
                self._reconnect(device, facts)
            except VofError as error:
                logger.error("%s", error)
                self.break_off()
                self._note(error=str(error))
                attempt += 1
            else:
                self._connected(device)
                logger.info("connected again: '%s' is %s", self._plan.tvqn, device.path)
                return

    def _wait_for_target(self, device: BlockDevice) -> bool:
        """Wait until the target has ended what nbdkit has left there, if that can be known; return
        whether the device is ours still."""
        deadline = Deadline(self._plan.fence_timeout, self._parts.clock)
        while not self._fence.passed_within(deadline.left(_LOOK_INTERVAL)):
            if not self._attachment.holds(device):
                return False
            if deadline.is_over:
                seconds = self._plan.fence_timeout
                self._fence.drop(f"it has not closed its connections within {seconds} s")
        if self._fence.reason:
            logger.warning(
                "whether the target still executes requests is not known: %s", self._fence.reason
            )
        return True

    def _enter_block_path(self) -> None:
        try:
            self._parts.enter_block_path()
        except ConfigError as error:
            logger.warning("%s", error)

    def _note(self, **changes: object) -> None:
        before = self.record.state
        if changes.get("state", before) != before:
            changes = {"state_since": now()} | changes
        self.record = replace(self.record, **changes)  # type: ignore[arg-type]
        self._claim.write(self.record)
        if self.record.state != before:
            self.changed(self.record)


def _tell(line: str) -> None:
    logger.info("%s", line)
