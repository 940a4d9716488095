# SPDX-License-Identifier: BSD-3-Clause
"""A crypto device for trio tasks: its sessions made when they are needed, and ended.

Owns how many requests are at the device, and the sessions that belong to one key. Must not know
files.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Hashable

import trio

from vof.drivers.crypto import CryptoDriver
from vof.errors import DeviceError, VofError
from vof.gateways.crypto.jobs import Job
from vof.gateways.crypto.keys import Key
from vof.logline import event
from vof.wire.crypto import Service, Status
from vof.wire.crypto_operations import DataRequest
from vof.wire.crypto_parameters import (
    AeadParameters,
    AkcipherParameters,
    CipherParameters,
    Parameters,
)

ATTEMPTS = 3
"""Sessions that an operation is tried in, where the device forgets them."""


class CryptoDevice:
    """The driver, as much as its queues take at a time. Everyone else waits in order."""

    def __init__(self, driver: CryptoDriver) -> None:
        self.driver = driver
        self._operations = trio.Semaphore(driver.depth)
        self._control = trio.Semaphore(driver.control_depth)
        self.sessions = 0
        """Sessions that the device keeps for us."""
        self.operations = 0
        """Operations that it has finished."""

    async def execute(self, request: DataRequest) -> memoryview:
        async with self._operations:
            result = await self.driver.execute_in_task(request)
        self.operations += 1
        return result

    async def create_session(self, parameters: Parameters) -> int:
        async with self._control:
            session_id = await self.driver.create_session_in_task(parameters)
        self.sessions += 1
        return session_id

    async def destroy_session(self, service: Service, session_id: int) -> None:
        """End a session; if that fails there is nothing that could be done about it."""
        self.sessions -= 1
        try:
            async with self._control:
                await self.driver.destroy_session_in_task(service, session_id)
        except VofError as error:
            event(logging.DEBUG, "session-kept", session=session_id, reason=str(error))


class KeySessions:
    """The device's sessions for one algorithm with one key, as its operations need them.

    They last, and the key does, as long as anyone ``hold``s them and until they are ended; yet an
    operation that runs is waited for.
    """

    def __init__(self, device: CryptoDevice, service: Service, key: Key | None) -> None:
        self._device = device
        self._service = service
        self._key = key
        self._ids: dict[Hashable, int] = {}
        self._making = trio.Lock()
        self._holders = 1
        self._running = 0
        self._ended = False

    def __len__(self) -> int:
        return len(self._ids)

    def hold(self) -> None:
        self._holders += 1

    async def release(self) -> None:
        """Take back one ``hold``, or that of whoever made this."""
        self._holders -= 1
        await self._clean_up()

    async def end(self) -> None:
        """Let no operation begin any more."""
        self._ended = True
        await self._clean_up()

    async def run(self, job: Job) -> bytes:
        """Have a job done; return its output. Raises OSError (ESTALE) after the end."""
        if self._ended:
            raise OSError(errno.ESTALE, "the session was removed")
        self._running += 1
        try:
            return job.output(await self._run(job))
        finally:
            self._running -= 1
            await self._clean_up()

    async def _run(self, job: Job) -> memoryview:
        device = self._device
        stateless = device.driver.stateless(self._service)
        if stateless and self._service is Service.HASH:
            # There is no key that a session could save us sending.
            return await device.execute(job.without_session())
        try:
            return await self._run_in_session(job)
        except DeviceError as error:
            if error.status != Status.NOSPC or not stateless:
                raise
        return await device.execute(job.without_session())

    async def _run_in_session(self, job: Job) -> memoryview:
        shape = _shape(job.parameters)
        for attempt in range(ATTEMPTS):
            session_id = await self._session(shape, job.parameters)
            try:
                return await self._device.execute(job.in_session(session_id))
            except VofError as error:
                if error.errno != errno.ESTALE:
                    raise
                # The device has forgotten the session. An operation changes nothing, so that it
                # can be asked for once more.
                if self._ids.get(shape) == session_id:
                    del self._ids[shape]
                    self._device.sessions -= 1
                if attempt + 1 == ATTEMPTS:
                    raise
        raise AssertionError

    async def _session(self, shape: Hashable, parameters: Parameters) -> int:
        async with self._making:
            if shape not in self._ids:
                self._ids[shape] = await self._device.create_session(parameters)
            return self._ids[shape]

    async def _clean_up(self) -> None:
        if self._running or (self._holders and not self._ended):
            return
        if self._key is not None:
            self._key.wipe()
        ids = list(self._ids.values())
        self._ids.clear()
        with trio.CancelScope(shield=True):
            for session_id in ids:
                await self._device.destroy_session(self._service, session_id)


def _shape(parameters: Parameters) -> Hashable:
    """Return what tells the sessions of one key apart."""
    match parameters:
        case CipherParameters():
            return parameters.direction
        case AeadParameters():
            return parameters.direction, parameters.tag_len
        case AkcipherParameters():
            return parameters.scheme
    return getattr(parameters, "result_len", None)
