# SPDX-License-Identifier: BSD-3-Clause
"""A virtio-crypto as files: ``algorithms``, and ``sessions`` that users make by mkdir(2).

Owns the list of algorithms, the names of the sessions and how many there may be.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping

from vof.drivers.crypto import CryptoDriver
from vof.gateways.crypto.algorithms import Algorithm, offered
from vof.gateways.crypto.listing import listing
from vof.gateways.fuse.contents import Contents, Facts
from vof.gateways.fuse.crypto_device import CryptoDevice
from vof.gateways.fuse.crypto_session import SessionFolder
from vof.gateways.fuse.nodes import Folder, Node, TextFile
from vof.initiator.session import Session
from vof.wire.crypto import Service

MAX_SESSIONS = 256
"""Folders in ``sessions``."""

MAX_NAME = 255
"""Bytes of a name."""


def open_crypto(session: Session) -> Contents:
    """Return what a virtio-crypto shows."""
    driver = CryptoDriver.attach(session)
    known = offered(driver)
    device = CryptoDevice(driver)
    sessions = SessionsFolder(device, known)
    text = listing(driver, known.values())

    def facts() -> Facts:
        yield from _config(driver)
        yield "algorithms", len(known)
        yield "sessions", f"{len(sessions.children())} of {MAX_SESSIONS}"
        yield "device_sessions", device.sessions
        yield "operations", device.operations

    return Contents(
        children={"algorithms": TextFile(lambda: text), "sessions": sessions},
        facts=facts,
    )


class SessionsFolder(Folder):
    """``sessions``."""

    public = False

    def __init__(self, device: CryptoDevice, known: Mapping[str, Algorithm]) -> None:
        super().__init__()
        self._device = device
        self._known = known
        self._sessions: dict[str, SessionFolder] = {}

    def children(self) -> Mapping[str, Node]:
        return self._sessions

    async def mkdir(self, name: str) -> Node:
        """Make a session, without an algorithm yet.

        Raises OSError: EINVAL for a name that would not print, ENAMETOOLONG, EEXIST, ENOSPC.
        """
        if not name.isprintable():
            raise OSError(errno.EINVAL, "a name is printable text in UTF-8")
        if len(os.fsencode(name)) > MAX_NAME:
            raise OSError(errno.ENAMETOOLONG, f"a name has at most {MAX_NAME} bytes")
        if name in self._sessions:
            raise FileExistsError(errno.EEXIST, "there is a session of that name", name)
        if len(self._sessions) >= MAX_SESSIONS:
            raise OSError(errno.ENOSPC, f"there are {MAX_SESSIONS} sessions already")
        folder = self._sessions[name] = SessionFolder(self._device, self._known)
        return folder

    async def rmdir(self, name: str) -> None:
        """End a session and remove it."""
        try:
            folder = self._sessions.pop(name)
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "no such session", name) from None
        await folder.remove()


def _config(driver: CryptoDriver) -> Iterator[tuple[str, object]]:
    config = driver.config
    services = [service for service in Service if driver.config.algorithms(service)]
    yield "services", " ".join(service.name for service in services) or "none"
    yield "stateless", " ".join(each.name for each in services if driver.stateless(each)) or "none"
    yield "max_dataqueues", config.max_dataqueues
    yield "max_cipher_key_len", config.max_cipher_key_len
    yield "max_auth_key_len", config.max_auth_key_len
    yield "max_size", config.max_size
    for service in services:
        names = sorted(algorithm.name for algorithm in config.algorithms(service))
        yield service.name.lower(), " ".join(names)
