# SPDX-License-Identifier: BSD-3-Clause
"""The devices of a mount: opens and closes their sessions, and is the root of the tree.

Owns the table of device types, the names of the folders, and what happens when a session ends: the
folder stays, its files fail, ``info`` says why. Must not know what a type shows.
"""

from __future__ import annotations

import errno
import itertools
import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import trio

from vof.errors import ConfigError, SessionLost
from vof.gateways.device_names import device_type
from vof.gateways.fuse.block import open_block
from vof.gateways.fuse.console import open_console
from vof.gateways.fuse.contents import Contents, Opener
from vof.gateways.fuse.crypto import open_crypto
from vof.gateways.fuse.info import info_text
from vof.gateways.fuse.nodes import Folder, Node, TextFile
from vof.gateways.fuse.rng import open_rng
from vof.gateways.sessions.book import SessionBook
from vof.gateways.sessions.log import log_ended, log_opened
from vof.initiator.parameters import SessionParameters
from vof.initiator.session import Session
from vof.logline import describe, event
from vof.wire.constants import DeviceId

OPENERS: dict[int, Opener] = {
    DeviceId.BLOCK: open_block,
    DeviceId.CONSOLE: open_console,
    DeviceId.CRYPTO: open_crypto,
    DeviceId.RNG: open_rng,
}
"""What can be shown, by device type."""

LOOK_INTERVAL = 1.0
"""Seconds between looks at connections that nobody waits on."""

MAX_OPENING = 16
"""Sessions that are opened at once; one that gets no answer holds up no more than itself."""

MAX_NAME = 255
"""Bytes of a file name."""


class Device(Folder):
    """A device's folder."""

    def __init__(self, name: str, session: Session, contents: Contents) -> None:
        super().__init__({"info": TextFile(self._info), **contents.children})
        self.name = name
        self.session = session
        self._contents = contents
        self._lost_at: datetime | None = None
        self._ended = trio.CancelScope()

    @property
    def key(self) -> tuple[str, str]:
        """The device's name and its target, which make it this one and no other."""
        return self.session.tvqn, self.session.parameters.where

    async def run(self) -> None:
        """Do what the device has to do on its own, until it is closed."""
        with self._ended:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._watch)
                    if self._contents.run is not None:
                        nursery.start_soon(self._contents.run)
            except Exception as error:  # noqa: BLE001 - one device, not the mount
                event(
                    logging.ERROR,
                    "internal-error",
                    tvqn=self.session.tvqn,
                    device=self.name,
                    reason=describe(error),
                )
                self.session.fail(SessionLost(f"internal error: {error!r}"))
                self._notice()

    async def close(self) -> None:
        """End the session; what is in flight fails."""
        self._ended.cancel()
        await trio.to_thread.run_sync(self.session.close)
        self._notice()

    async def _watch(self) -> None:
        while self.session.error is None:
            await trio.sleep(LOOK_INTERVAL)
            self._notice()

    def _notice(self) -> None:
        """Check whether the session has ended, and say so once."""
        self.session.look()
        error = self.session.error
        if error is not None and self._lost_at is None:
            self._lost_at = datetime.now(UTC)
            self.changed_ns = int(self._lost_at.timestamp() * 1e9)
            log_ended(self.session, error, self.name)
            self._contents.lost(error)

    def _info(self) -> str:
        self._notice()
        return info_text(self.name, self.session, self._contents, self._lost_at)


class Devices(Folder):
    """The root of the tree: fixed entries and the devices' folders.

    ``nursery`` runs what the devices do on their own; ``book`` is told of their sessions.
    """

    def __init__(self, nursery: trio.Nursery, book: SessionBook | None = None) -> None:
        super().__init__()
        self._book = book or SessionBook()
        self._fixed: dict[str, Node] = {}
        self._devices: dict[str, Device] = {}
        self._opening: set[tuple[str, str]] = set()
        self._nursery = nursery
        self._threads = trio.CapacityLimiter(MAX_OPENING)

    def add(self, name: str, node: Node) -> None:
        """Add an entry that is no device."""
        self._fixed[name] = node

    def children(self) -> Mapping[str, Node]:
        return self._fixed | self._devices

    async def create(self, parameters: SessionParameters, name: str | None = None) -> Device:
        """Open a session and show its device, as ``name`` or under a name made of the tvqn.

        Raises ConfigError for a name that cannot be, a device that is there already or a type that
        cannot be shown, and whatever opening a session raises.
        """
        if parameters.tvqn is None:
            raise ConfigError("no device named: tvqn= is missing")
        if name is not None:
            self._check(name)
        key = parameters.tvqn, parameters.where
        if key in self._opening or any(device.key == key for device in self._devices.values()):
            raise ConfigError(
                f"'{parameters.tvqn}' at {parameters.where} is here already; destroy it first",
                errno=errno.EEXIST,
            )
        self._opening.add(key)
        try:
            session, contents = await trio.to_thread.run_sync(
                _open, parameters, abandon_on_cancel=True, limiter=self._threads
            )
        finally:
            self._opening.discard(key)
        if name is not None and name in self.children():
            await trio.to_thread.run_sync(session.close)
            self._check(name)
        device = Device(name or self._name_for(parameters.tvqn), session, contents)
        self._devices[device.name] = device
        self.changed_ns = device.changed_ns
        self._book.enter(session)
        self._nursery.start_soon(device.run)
        log_opened(session, device.name)
        return device

    async def destroy(self, tvqn: str, where: str | None = None) -> None:
        """Remove a device. ``where`` says at which target, if several have one of that name.

        Raises ConfigError if there is none, or more than one.
        """
        found = [
            device
            for device in self._devices.values()
            if device.session.tvqn == tvqn and where in (None, device.key[1])
        ]
        if not found:
            raise ConfigError(f"'{tvqn}' is not here", errno=errno.ENODEV)
        if len(found) > 1:
            raise ConfigError(f"'{tvqn}' is here from several targets: say taddr= and tport=")
        del self._devices[found[0].name]
        await self._close(found[0])

    async def close(self) -> None:
        """Close all devices."""
        async with trio.open_nursery() as nursery:
            while self._devices:
                nursery.start_soon(self._close, self._devices.popitem()[1])

    async def _close(self, device: Device) -> None:
        await device.close()
        self._book.leave(device.session)

    def _check(self, name: str) -> None:
        if not is_name(name):
            raise ConfigError(f"name={name}: not a name for a folder")
        if name in self.children():
            raise ConfigError(f"name={name}: is in use", errno=errno.EEXIST)

    def _name_for(self, tvqn: str) -> str:
        taken = self.children()
        return next(name for name in candidate_names(tvqn) if name not in taken)


def candidate_names(tvqn: str) -> Iterator[str]:
    """Yield names for a device's folder, best first: the tvqn's last component, then numbered."""
    name = tvqn.rpartition("/")[2].removesuffix(".service")
    name = "".join(letter if letter.isprintable() else "_" for letter in name)
    if not is_name(name):
        name = "device"
    yield name
    for number in itertools.count(2):
        suffix = f"-{number}"
        room = MAX_NAME - len(suffix)
        yield name.encode()[:room].decode(errors="ignore") + suffix


def is_name(name: str) -> bool:
    """Return whether a folder can be called that."""
    if name in ("", ".", "..") or "/" in name or not name.isprintable():
        return False
    return len(name.encode()) <= MAX_NAME


def _open(parameters: SessionParameters) -> tuple[Session, Contents]:
    session = Session.open(parameters)
    opener = OPENERS.get(session.device_id)
    if opener is None:
        session.close()
        shown = ", ".join(device_type(known) for known in OPENERS)
        raise ConfigError(
            f"'{session.tvqn}' is a {device_type(session.device_id)}, which cannot be shown as "
            f"files; what can: {shown}",
            errno=errno.EOPNOTSUPP,
        )
    contents = opener(session)
    # For ``info``, which must not ask: in *v5* that takes commands, and a session may be lost.
    session.queue_sizes.count()
    return session, contents
