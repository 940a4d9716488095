# SPDX-License-Identifier: BSD-3-Clause
"""Detaches a disk from outside: finds it, checks that it is not in use, and tells its supervisor.

Bounded in time whatever the target, nbdkit or the supervisor do: the supervisor is asked, then
killed, nbdkit with it, and what it had is taken back here. Never speaks to the target.
"""

from __future__ import annotations

import errno
import os
import select
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress

from vof.errors import ConfigError, VofError
from vof.gateways.attach.clock import Deadline
from vof.gateways.attach.nbd.blockdev import (
    BlockDevice,
    Kernel,
    index_of_link,
    parse_device,
    wait_until_free,
)
from vof.gateways.attach.nbd.netlink import NbdNetlink
from vof.gateways.attach.state import END, END_NOW, Entry, StateFolder
from vof.gateways.suggestion import likely

TIME = 19.0
"""Seconds that detaching in order may take."""

FORCED_TIME = 5.0
"""Seconds that it may take by force."""

_TAKE_BACK = 3.5
"""Seconds of these that are kept for when the supervisor does not end."""

_FREE = 1.0


def find(text: str, entries: Iterable[Entry], kernel: Kernel) -> Entry:
    """Return the entry that is called so, or has that device or tvqn. Raises ConfigError."""
    entries = list(entries)
    for entry in entries:
        if entry.name == text:
            return entry
    index = index_of_link(text, kernel)
    if index is None and text.startswith("nbd"):
        index = parse_device(text)
    found = [
        entry
        for entry in entries
        if entry.record
        and (
            entry.record.tvqn == text
            or (index is not None and entry.record.device == str(kernel.device(index).path))
        )
    ]
    if not found:
        known = [entry.name for entry in entries]
        meant = likely(text, known)
        hint = f"did you mean '{meant}'?" if meant else f"there are: {', '.join(known) or 'none'}"
        raise ConfigError(f"no disk '{text}' is attached; {hint}", errno=errno.ENOENT)
    if len(found) > 1:
        names = ", ".join(entry.name for entry in found)
        raise ConfigError(f"'{text}' is attached more than once; name one of {names}")
    return found[0]


def device_of(entry: Entry, kernel: Kernel) -> BlockDevice | None:
    """Return the kernel's device, if it has it still under the entry's identifier."""
    if entry.record is None or not entry.record.identifier:
        return None
    for device in kernel.devices():
        if device.identifier == entry.record.identifier:
            return device
    return None


def end(entries: Iterable[Entry], ending: Ending, *, force: bool) -> dict[str, VofError]:
    """Detach the disks; return what went wrong, by name: ConfigError with EBUSY for one that is in
    use, unless ``force``."""
    failed: dict[str, VofError] = {}
    asked: list[tuple[Entry, SupervisorProcess | None]] = []
    try:
        # All are asked before any is waited for.
        for entry in entries:
            try:
                asked.append((entry, ending.ask(entry, force=force)))
            except VofError as error:
                failed[entry.name] = error
        for entry, supervisor in asked:
            try:
                ending.finish(entry, supervisor)
            except VofError as error:
                failed[entry.name] = error
    finally:
        for _entry, supervisor in asked:
            if supervisor is not None:
                supervisor.close()
    return failed


class SupervisorProcess:
    """A disk's supervisor, as seen from another process."""

    def __init__(self, pid: int) -> None:
        """Raises ProcessLookupError if there is no such process."""
        self._fd = os.pidfd_open(pid)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal. Raises OSError."""
        signal.pidfd_send_signal(self._fd, number)

    def ends_within(self, seconds: float) -> bool:
        """Return whether it ends in that time."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def close(self) -> None:
        os.close(self._fd)


class Ending:
    """The detaching of disks, with one deadline for all of it."""

    def __init__(
        self,
        folder: StateFolder,
        kernel: Kernel,
        deadline: Deadline,
        *,
        supervisor: Callable[[int], SupervisorProcess] = SupervisorProcess,
        netlink: Callable[[], NbdNetlink] | None = None,
    ) -> None:
        self._folder = folder
        self._kernel = kernel
        self._deadline = deadline
        self._supervisor = supervisor
        self._netlink = netlink or NbdNetlink

    def ask(self, entry: Entry, *, force: bool) -> SupervisorProcess | None:
        """Have the supervisor begin; return it, None if there is none any more. Raises
        ConfigError."""
        device = device_of(entry, self._kernel)
        if not force and device is not None and (uses := device.uses()):
            words = ", ".join(use.how for use in uses)
            raise ConfigError(
                f"{entry.name} ({device.path}) is in use: {words}; end that first, or lose what is "
                "not written with --force",
                errno=errno.EBUSY,
            )
        if entry.owner is None:
            return None
        try:
            supervisor = self._supervisor(entry.owner)
        except ProcessLookupError:
            return None
        try:
            # The number was another's if the lock is free now, or somebody else's.
            again = self._folder.entry(entry.name)
            if again is not None and again.owner == entry.owner:
                supervisor.send(END_NOW if force else END)
                return supervisor
        except ProcessLookupError:
            pass
        except PermissionError:
            supervisor.close()
            raise ConfigError(
                f"{entry.name} belongs to another user; it takes root", errno=errno.EPERM
            ) from None
        supervisor.close()
        return None

    def finish(self, entry: Entry, supervisor: SupervisorProcess | None) -> None:
        """Return when the disk is detached, by its supervisor, or here if that was killed. Raises
        VofError."""
        if supervisor is not None and not supervisor.ends_within(self._left_but(_TAKE_BACK)):
            with suppress(ProcessLookupError):
                supervisor.send(signal.SIGKILL)
            supervisor.ends_within(self._left_but(_TAKE_BACK / 2))
        device = device_of(entry, self._kernel)
        if device is not None:
            self._take_back(device)
        claim = self._folder.adopt(entry.name)
        if claim is not None:
            claim.release()

    def _take_back(self, device: BlockDevice) -> None:
        def disconnect() -> None:
            with self._netlink() as netlink:
                netlink.disconnect(device.index)

        clock = self._deadline.clock
        if not clock.done_within(disconnect, self._deadline.left()):
            raise VofError(f"the kernel takes too long to detach {device.path}")
        if wait_until_free(device, self._deadline.left(_FREE), clock):
            device.announce(ready=False)

    def _left_but(self, seconds: float) -> float:
        """Return what is left if so much is kept for later."""
        return max(0.0, self._deadline.left() - seconds)
