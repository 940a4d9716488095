# SPDX-License-Identifier: BSD-3-Clause
"""Ending a disk from outside: which one is meant, may it go, and how its supervisor is told.

Bounded in time whatever the target, nbdkit or the supervisor do: the supervisor is asked, then
killed, nbdkit with it, and what it had is taken back here. Never speaks to the target.
"""

from __future__ import annotations

import errno
import os
import select
import signal
from collections.abc import Iterable

from vof.errors import ConfigError
from vof.gateways.attach.blockdev import (
    BlockDevice,
    Kernel,
    index_of_link,
    parse_device,
    wait_until_free,
)
from vof.gateways.attach.netlink import NbdNetlink
from vof.gateways.attach.state import END, END_NOW, Entry, StateFolder
from vof.gateways.suggestion import likely

_PATIENCE = 15.0
"""Seconds a supervisor gets to flush and detach in order."""

_FORCED_PATIENCE = 1.0


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


def end(entry: Entry, folder: StateFolder, kernel: Kernel, *, force: bool) -> None:
    """Detach the disk. Raises ConfigError with EBUSY while it is in use, unless ``force``."""
    device = device_of(entry, kernel)
    if not force and device is not None and (uses := device.uses()):
        words = ", ".join(use.how for use in uses)
        raise ConfigError(
            f"{entry.name} ({device.path}) is in use: {words}; end that first, or lose what is "
            "not written with --force",
            errno=errno.EBUSY,
        )
    if entry.owner is not None:
        _end_supervisor(entry, folder, force=force)
    # Nothing is left here unless the supervisor was killed.
    device = device_of(entry, kernel)
    if device is not None:
        with NbdNetlink() as netlink:
            netlink.disconnect(device.index)
        if wait_until_free(device):
            device.announce()
    claim = folder.adopt(entry.name)
    if claim is not None:
        claim.release()


def _end_supervisor(entry: Entry, folder: StateFolder, *, force: bool) -> None:
    """Return when the supervisor has ended, one way or another."""
    assert entry.owner is not None
    try:
        fd = os.pidfd_open(entry.owner)
    except ProcessLookupError:
        return
    try:
        # The number was another's if the lock is free now, or somebody else's.
        again = folder.entry(entry.name)
        if again is None or again.owner != entry.owner:
            return
        signal.pidfd_send_signal(fd, END_NOW if force else END)
        if not _ended(fd, _FORCED_PATIENCE if force else _PATIENCE):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            _ended(fd, _FORCED_PATIENCE)
    except ProcessLookupError:
        return
    except PermissionError:
        raise ConfigError(
            f"{entry.name} belongs to another user; it takes root", errno=errno.EPERM
        ) from None
    finally:
        os.close(fd)


def _ended(fd: int, timeout: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout * 1000))
