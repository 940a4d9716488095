# SPDX-License-Identifier: BSD-3-Clause
"""Operation files: write the input, read the output. One open file is one operation.

What the operation is done with, key and all, is fixed when the file is opened. The first read has
it done. The output begins where the input ended, so that a shell's descriptor can write and go on
reading; after a seek, or a read at an offset before that, it begins at 0.

A write that is refused ends the operation with its error, for every call that follows: what would
come out would be the result of a part of the input, and many a writer's exit status is not looked
at.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

import trio

from vof.errors import ConfigError, VofError
from vof.gateways.crypto.algorithms import Operation
from vof.gateways.crypto.jobs import Setup, make_job
from vof.gateways.fuse.crypto_device import KeySessions
from vof.gateways.fuse.errnos import fuse_errno
from vof.gateways.fuse.nodes import Access, File, Handle, Opening

LONG_INPUT = 1 << 20
"""Bytes from which on hashing is left to a thread."""

Report = Callable[[BaseException | None], None]
"""Told of each operation how it ended."""


class OperationFile(File):
    """``encrypt`` and the like. ``begin`` makes the operation of each open(2)."""

    access = Access.BOTH

    def __init__(self, begin: Callable[[], OperationHandle], report: Report) -> None:
        super().__init__()
        self._begin = begin
        self._report = report

    async def open(self, opening: Opening) -> Handle:
        if not opening.read:
            error = ConfigError("an operation file is opened for reading and writing (3<>FILE)")
            self._report(error)
            raise error
        return self._begin()


class OperationHandle(Handle):
    """One operation, with ``setup``, of at most ``limit`` bytes of input."""

    def __init__(
        self,
        operation: Operation,
        setup: Setup,
        sessions: KeySessions,
        limit: int,
        report: Report,
    ) -> None:
        self._operation = operation
        self._setup = setup
        self._sessions = sessions
        self._limit = limit
        self._report = report
        self._input = bytearray()
        self._reading = False
        self._start = 0
        """The offset at which the output begins."""
        self._one_at_a_time = trio.Lock()
        self._output: bytes | None = None
        self._error: OSError | None = None
        """What ended the operation: nothing is to be had of it any more."""
        sessions.hold()

    async def write(self, offset: int, data: bytes) -> int:
        self._raise_error()
        place = len(self._input)
        if self._reading:
            self._refuse(errno.EBUSY, "the operation has begun")
        elif offset < place:
            self._refuse(errno.EBUSY, "another writer was there before")
        elif offset > place:
            self._refuse(errno.EINVAL, "input is written from its beginning, without holes")
        elif place + len(data) > self._limit:
            self._refuse(
                errno.EFBIG, f"the device takes {self._limit} bytes of input to {self._operation}"
            )
        self._raise_error()
        self._input += data
        return len(data)

    async def read(self, offset: int, size: int) -> bytes:
        if not self._reading:
            self._reading = True
            self._start = len(self._input)
        async with self._one_at_a_time:
            if self._output is None and self._error is None:
                await self._perform()
        self._raise_error()
        assert self._output is not None
        if offset < self._start:
            self._start = 0
        place = offset - self._start
        return self._output[place : place + size]

    async def release(self) -> None:
        self._input[:] = bytes(len(self._input))
        await self._sessions.release()

    def _refuse(self, number: int, reason: str) -> None:
        self._error = OSError(number, reason)
        self._report(self._error)

    def _raise_error(self) -> None:
        if self._error is not None:
            raise OSError(self._error.errno, self._error.strerror)

    async def _perform(self) -> None:
        try:
            if len(self._input) < LONG_INPUT:
                job = make_job(self._setup, self._operation, self._input)
            else:
                job = await trio.to_thread.run_sync(
                    make_job, self._setup, self._operation, self._input
                )
            output = await self._sessions.run(job)
        except (VofError, OSError) as error:
            if self._error is None:
                self._error = OSError(fuse_errno(error), str(error))
                self._report(error)
        else:
            # A write may have been refused meanwhile.
            if self._error is None:
                self._output = output
                self._report(None)
