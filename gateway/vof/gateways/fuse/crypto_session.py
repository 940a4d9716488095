# SPDX-License-Identifier: BSD-3-Clause
"""The folder of a crypto session: attribute files that describe it, and its operation files.

What is there depends on the algorithm; before it is chosen there are only ``algorithm`` and
``status``. Choosing another one drops key and attributes.

A value that is refused leaves the one before, or a part of itself if it came in several writes. So
nothing can be done with the session until a value is taken in its place.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TypeVar

import trio

from vof.errors import ConfigError, VofError
from vof.gateways.crypto.algorithms import ALGORITHMS, Algorithm, Operation
from vof.gateways.crypto.jobs import (
    Setup,
    check_aad,
    check_iv,
    check_tag_length,
    max_input,
)
from vof.gateways.crypto.keys import MAX_KEY_FILE, read_key
from vof.gateways.fuse.crypto_device import CryptoDevice, KeySessions
from vof.gateways.fuse.crypto_operation import OperationFile, OperationHandle
from vof.gateways.fuse.errnos import fuse_errno
from vof.gateways.fuse.nodes import (
    Access,
    AttributeFile,
    File,
    Folder,
    Handle,
    Node,
    Opening,
    Refused,
    TextFile,
    telling,
)
from vof.initiator.parameters import parse_integer
from vof.logline import printable
from vof.wire.crypto import KeyType, Service

MAX_AAD = 64 << 10
"""Bytes of additional data."""

_HEX_LIMIT = 3 * MAX_AAD
"""Characters of a value in hexadecimal, with some space between."""

_NAMES = {**errno.errorcode, errno.EOPNOTSUPP: "EOPNOTSUPP"}
"""Of two names with one number the one that the manual has."""


_Value = TypeVar("_Value", bytes, bytearray)


class SessionFolder(Folder):
    """``sessions/NAME``."""

    public = False

    def __init__(self, device: CryptoDevice, offered: Mapping[str, Algorithm]) -> None:
        super().__init__()
        self._device = device
        self._offered = offered
        self._setup: Setup | None = None
        self._sessions: KeySessions | None = None
        self._removed = False
        self._operations = 0
        self._failures = 0
        self._last_failure = ""
        self._refused: dict[str, str] = {}
        """Attributes whose last value was refused, and why."""
        status = TextFile(self._status)
        status.public = False
        self._always: dict[str, Node] = {
            "algorithm": self._attribute("algorithm", self._set_algorithm, self._algorithm),
            "status": status,
        }
        self._children = dict(self._always)

    async def remove(self) -> None:
        """End the session: open files fail from now on, the key is wiped."""
        self._removed = True
        self._children = {}
        await self._drop(self._sessions)

    # Attributes.

    async def _set_algorithm(self, value: bytes) -> None:
        name = value.decode("ascii", "replace").strip().lower()
        algorithm = self._offered.get(name)
        if algorithm is None:
            if name in ALGORITHMS:
                raise VofError(f"the device does not offer {name}", errno=errno.EOPNOTSUPP)
            raise ConfigError(f"unknown algorithm '{name}'; the file 'algorithms' lists them")
        if self._removed:
            raise OSError(errno.ESTALE, "the session was removed")
        if self._setup is None or self._setup.algorithm is not algorithm:
            await self._replace(Setup(algorithm))
            self._refused.clear()
            self._children = self._always | self._files(algorithm)

    async def _set_key(self, value: bytearray) -> None:
        algorithm = self._current().algorithm
        if algorithm.service is Service.AKCIPHER:
            # Checking the numbers of a long key takes its time.
            key = await trio.to_thread.run_sync(read_key, algorithm, value)
        else:
            key = read_key(algorithm, value)
        setup = self._current()
        if setup.algorithm is not algorithm:
            key.wipe()
            raise OSError(errno.EBUSY, "the algorithm was changed meanwhile")
        await self._replace(replace(setup, key=key))

    async def _set_iv(self, value: bytes) -> None:
        setup = self._current()
        iv = _from_hex(value)
        self._setup = replace(setup, iv=check_iv(setup.algorithm, iv) if iv else None)

    async def _set_aad(self, value: bytes) -> None:
        setup = self._current()
        self._setup = replace(setup, aad=check_aad(setup.algorithm, _from_hex(value)))

    async def _set_tag_length(self, value: bytes) -> None:
        setup = self._current()
        number = value.decode("ascii", "replace").strip()
        length = parse_integer("tag_length", number, 0, 1 << 16)
        self._setup = replace(setup, tag_length=check_tag_length(setup.algorithm, length))

    async def _replace(self, setup: Setup) -> None:
        """Take a setup with another key: it has sessions of its own."""
        previous = self._sessions
        self._setup = setup
        self._sessions = KeySessions(self._device, setup.algorithm.service, setup.key)
        if previous is not None:
            # Not ended: files that are open go on with the key that they were opened with.
            await previous.release()

    async def _drop(self, sessions: KeySessions | None) -> None:
        self._sessions = None
        self._setup = None
        if sessions is not None:
            await sessions.end()

    def _current(self) -> Setup:
        if self._setup is None:
            raise OSError(errno.ESTALE, "the session was removed")
        return self._setup

    # Files.

    def _files(self, algorithm: Algorithm) -> dict[str, Node]:
        files: dict[str, Node] = {}
        if algorithm.has_key:
            files["key"] = KeyFile(self._taking("key", self._set_key), self._refusal("key"))
        if algorithm.iv_lengths:
            files["iv"] = self._attribute(
                "iv", self._set_iv, lambda: _line(self._current().iv), limit=_HEX_LIMIT
            )
        if algorithm.has_aad:
            files["aad"] = self._attribute(
                "aad", self._set_aad, lambda: _line(self._current().aad), limit=_HEX_LIMIT
            )
        if algorithm.tag_lengths:
            files["tag_length"] = self._attribute(
                "tag_length",
                self._set_tag_length,
                lambda: f"{self._current().result_length}\n",
            )
        for operation in algorithm.operations:
            files[operation.value] = OperationFile(partial(self._begin, operation), self._report)
        return files

    def _begin(self, operation: Operation) -> OperationHandle:
        setup = self._current()
        assert self._sessions is not None
        if operation not in setup.algorithm.operations:
            raise OSError(errno.ENOENT, "the algorithm was changed")
        for name, reason in self._refused.items():
            error = ConfigError(f"{name} was refused, and wants another value: {reason}")
            self._report(error)
            raise error
        limit = max_input(self._device.driver, setup, operation)
        return OperationHandle(operation, setup, self._sessions, limit, self._report)

    def _algorithm(self) -> str:
        return f"{self._setup.algorithm.name}\n" if self._setup else ""

    # How it is doing.

    def _attribute(
        self,
        name: str,
        store: Callable[[bytes], Awaitable[None]],
        show: Callable[[], str],
        *,
        limit: int = 4096,
    ) -> AttributeFile:
        taking = self._taking(name, store)
        return AttributeFile(taking, show, limit=limit, refused=self._refusal(name))

    def _taking(
        self, name: str, store: Callable[[_Value], Awaitable[None]]
    ) -> Callable[[_Value], Awaitable[None]]:
        async def taking(value: _Value) -> None:
            await store(value)
            self._refused.pop(name, None)

        return taking

    def _refusal(self, name: str) -> Refused:
        def refused(error: BaseException) -> None:
            self._note(error)
            self._refused[name] = _reason(error)

        return refused

    def _report(self, error: BaseException | None) -> None:
        self._operations += 1
        if error is not None:
            self._failures += 1
            self._note(error)

    def _note(self, error: BaseException) -> None:
        number = fuse_errno(error)
        self._last_failure = f"{_NAMES.get(number, number)}: {_reason(error)}"

    def _status(self) -> str:
        setup = self._setup
        facts: dict[str, object] = {"state": self._state()}
        if setup is not None:
            facts["algorithm"] = setup.algorithm.name
            facts["service"] = setup.algorithm.service.name.lower()
            if setup.algorithm.has_key:
                facts["key"] = _key_text(setup)
        facts["device_sessions"] = len(self._sessions) if self._sessions is not None else 0
        facts["operations"] = self._operations
        facts["failures"] = self._failures
        facts["last_failure"] = self._last_failure or "none"
        return "".join(f"{key}: {printable(str(value))}\n" for key, value in facts.items())

    def _state(self) -> str:
        if self._removed:
            return "removed"
        if self._setup is None:
            return "wants an algorithm"
        if self._setup.algorithm.has_key and self._setup.key is None:
            return "wants a key"
        if self._setup.algorithm.iv_lengths and self._setup.iv is None:
            return "wants an iv"
        for name in self._refused:
            return f"wants another {name}"
        error = self._device.driver.session.error
        return "ready" if error is None else f"lost: {error}"


class KeyFile(File):
    """``key``: written, never read. As an attribute file, but for what it leaves in memory."""

    access = Access.WRITE

    def __init__(self, store: Callable[[bytearray], Awaitable[None]], refused: Refused) -> None:
        super().__init__()
        self._store = store
        self._refused = refused

    async def open(self, opening: Opening) -> Handle:
        return _KeyHandle(self._store, self._refused)


class _KeyHandle(Handle):
    def __init__(self, store: Callable[[bytearray], Awaitable[None]], refused: Refused) -> None:
        self._store = store
        self._refused = refused
        self._value = bytearray(MAX_KEY_FILE)
        self._length = 0

    async def write(self, offset: int, data: bytes) -> int:
        with telling(self._refused):
            return await self._write(offset, data)

    async def _write(self, offset: int, data: bytes) -> int:
        end = offset + len(data)
        if offset != self._length:
            raise OSError(errno.EINVAL, "a key is written from its beginning, without holes")
        if end > MAX_KEY_FILE:
            raise OSError(errno.EFBIG, f"a key has at most {MAX_KEY_FILE} bytes")
        self._value[offset:end] = data
        whole = self._value[:end]
        try:
            await self._store(whole)
        finally:
            whole[:] = bytes(end)
        self._length = end
        return len(data)

    async def release(self) -> None:
        self._value[:] = bytes(MAX_KEY_FILE)


def _reason(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _from_hex(value: bytes) -> bytes:
    try:
        return bytes.fromhex(value.decode("ascii").strip())
    except ValueError:
        raise ConfigError("not an even number of hexadecimal digits") from None


def _line(value: bytes | None) -> str:
    return f"{value.hex()}\n" if value else ""


def _key_text(setup: Setup) -> str:
    if setup.key is None:
        return "none"
    if setup.algorithm.service is not Service.AKCIPHER:
        return "set"
    return "private" if setup.key.type is KeyType.PRIVATE else "public"
