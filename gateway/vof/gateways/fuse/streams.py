# SPDX-License-Identifier: BSD-3-Clause
"""Files that are streams: bytes come and go, in order, and have no places.

Owns the waiting of their readers and writers, bounded room between them and a device, O_NONBLOCK
and poll(2). That a caller's signal ends its wait is ``operations``'; here it is a cancellation,
which loses no byte. Must not know a device: somebody puts in what has come, and takes out what
is to go.
"""

from __future__ import annotations

import errno
import select
from collections.abc import Callable

import trio

from vof.errors import VofError
from vof.gateways.fuse.nodes import Access, File, Handle, Opening
from vof.wire.structs import Buffer

ROOM = 64 << 10
"""Bytes kept of each direction."""


class Pipe:
    """Bytes on their way, no more than ``ROOM``; used by trio tasks only."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """``changed`` is called when there are other bytes than before."""
        self.error: VofError | None = None
        """Why nothing comes or goes any more."""
        self._bytes = bytearray()
        self._changed = changed
        self._event = trio.Event()

    def __len__(self) -> int:
        return len(self._bytes)

    @property
    def room(self) -> int:
        return ROOM - len(self._bytes)

    def put_now(self, data: Buffer) -> int:
        """Take what there is room for; return how much. Raises what ended it."""
        self._raise_error()
        count = min(len(data), self.room)
        if count:
            self._bytes += data[:count]
            self._tell()
        return count

    def take_now(self, size: int) -> bytes:
        """Return what there is of ``size`` bytes. What is there is given although it has ended;
        then raises what ended it."""
        data = bytes(self._bytes[:size])
        if data:
            del self._bytes[:size]
            self._tell()
        elif size:
            self._raise_error()
        return data

    async def put(self, data: Buffer) -> int:
        """Wait for room, and return how much of ``data`` it was enough for."""
        while not (count := self.put_now(data)) and data:
            await self._event.wait()
        return count

    async def take(self, size: int) -> bytes:
        """Wait for bytes, and return at most ``size``."""
        while not (data := self.take_now(size)) and size:
            await self._event.wait()
        return data

    def fail(self, error: VofError) -> None:
        """End it: whoever waits gets ``error``, and so does everyone later."""
        if self.error is None:
            self.error = error
            self._tell()

    def _tell(self) -> None:
        self._event.set()
        self._event = trio.Event()
        self._changed()

    def _raise_error(self) -> None:
        if self.error is not None:
            raise self.error.again()


class Stream:
    """What has come from a device, and what is to go to it."""

    def __init__(self) -> None:
        self._watchers: list[Callable[[], None]] = []
        self.incoming = Pipe(self._tell)
        self.outgoing = Pipe(self._tell)

    def fail(self, error: VofError) -> None:
        """End both directions."""
        self.incoming.fail(error)
        self.outgoing.fail(error)

    def events(self) -> int:
        """Return what would not wait, as in poll(2)."""
        found = 0
        if self.incoming or self.incoming.error:
            found |= select.POLLIN
        if self.outgoing.room or self.outgoing.error:
            found |= select.POLLOUT
        if self.outgoing.error:
            found |= select.POLLERR
        return found

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed``, once, when ``events`` may have changed."""
        self._watchers.append(changed)

    def _tell(self) -> None:
        watchers, self._watchers = self._watchers, []
        for changed in watchers:
            changed()


class StreamFile(File):
    """A stream, shared by all its openings: each byte that comes is for one reader."""

    access = Access.BOTH
    stream = True

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self._stream = stream

    def found(self) -> StreamFile:
        # A write that waits for room holds the lock of its inode.
        return StreamFile(self._stream)

    async def open(self, opening: Opening) -> Handle:
        return _StreamHandle(self._stream)


class _StreamHandle(Handle):
    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def read(self, offset: int, size: int) -> bytes:
        if not self.nonblocking:
            return await self._stream.incoming.take(size)
        data = self._stream.incoming.take_now(size)
        if size and not data:
            raise BlockingIOError(errno.EAGAIN, "nothing has come")
        return data

    async def write(self, offset: int, data: bytes) -> int:
        outgoing = self._stream.outgoing
        if self.nonblocking:
            count = outgoing.put_now(data)
            if data and not count:
                raise BlockingIOError(errno.EAGAIN, "there is no room")
            return count
        # All of it, in pieces as there is room; a signal ends it with what was taken.
        done, view = 0, memoryview(data)
        try:
            while done < len(data):
                done += await outgoing.put(view[done:])
        except trio.Cancelled:
            if not done:
                raise
        return done

    async def poll(self, watch: Callable[[], None] | None) -> int:
        if watch is not None:
            self._stream.watch(watch)
        return self._stream.events()
