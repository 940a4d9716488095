# SPDX-License-Identifier: BSD-3-Clause
"""Random bytes on their way from a device to its readers.

Owns how much is fetched ahead and how many requests that takes, the tests every byte passes before
anyone gets it, and who gets which: each byte goes to one reader, once, readers in the order they
came. Must not know the device (a function fetches) nor the file.

Nothing is known of how the device answers: with what it has, or not before a request is full. So a
request is small until the device has shown itself quick, and a slow device has always answered soon
enough for someone who wants little.

Only trio tasks use it. A reader waits for what is on its way, never for the device itself, so that
its patience may be shorter than the device's.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Awaitable, Callable

import trio

from vof.errors import DeviceError, VofError
from vof.gateways.fuse.health import START_UP_SAMPLES, StreamTests

MIN_REQUEST = 1 << 10
"""Bytes asked of a quick device at least, so that small reads share a request.

Doubled each time that the device has filled a request and its bytes were wanted: a device that is
read much is asked for much at a time, and never for more ahead than was read of it.
"""

FIRST_REQUEST = 64
"""Bytes asked at most of a device that has not answered yet."""

SMALLEST_REQUEST = 8
"""Bytes asked at most of the slowest of devices."""

QUICK, SLOW = 0.1, 1.0
"""Seconds for an answer. One that comes within the first lets the next request be ``GROWTH`` times
as large, which then takes no more than about ``SLOW``; one that was full and took longer than the
second halves it. A short one says that the device does not wait until a request is full."""

GROWTH = 16

READ_AHEAD = 4 << 10
"""Bytes fetched for whoever polls or does not want to wait."""

LINGER = 0.1
"""Seconds without more after which a reader goes with what it has."""

MAX_LINGER = 1.0
"""Seconds after which it goes, however much more trickles in."""


class _Reader:
    def __init__(self, size: int) -> None:
        self.missing = size
        self.parts: list[bytes] = []
        self.first = trio.Event()
        self.full = trio.Event()


class Reservoir:
    """The bytes of one device. ``run`` fetches, as long as it is not cancelled.

    ``fetch(buffer)`` fills a buffer from its start and returns how much; up to ``depth`` calls of
    at most ``max_request`` bytes are made at once.
    """

    def __init__(
        self,
        fetch: Callable[[memoryview], Awaitable[int]],
        *,
        depth: int,
        max_request: int,
        patience: float,
    ) -> None:
        self.tests = StreamTests()
        self.error: VofError | None = None
        """Why no more comes."""
        self.delivered = 0
        """Bytes handed out."""
        self._fetch = fetch
        self._depth = depth
        self._max_request = max_request
        self._patience = patience
        self._pool: deque[bytes] = deque()
        self._pooled = 0
        self._asked = 0
        self._requests = 0
        self._ahead = 0
        self._least = MIN_REQUEST
        self._most = min(FIRST_REQUEST, max_request)
        self._heard_at = 0.0
        """When something last came, or was asked for after nothing was."""
        self._readers: deque[_Reader] = deque()
        self._watchers: list[Callable[[], None]] = []
        self._wanted = trio.Event()

    @property
    def started(self) -> bool:
        """True once the start-up test is over and was passed."""
        return self.tests.failure is None and self.tests.tested >= START_UP_SAMPLES

    @property
    def ready(self) -> bool:
        """True where a read would return at once, with bytes or with an error."""
        return self.error is not None or bool(self._available())

    @property
    def waiting(self) -> float:
        """Seconds for which the device has answered nothing, though it was asked."""
        return trio.current_time() - self._heard_at if self._requests else 0.0

    async def run(self) -> None:
        """Fetch what is wanted."""
        async with trio.open_nursery() as nursery:
            while True:
                while (size := self._request_size()) > 0:
                    if not self._requests:
                        self._heard_at = trio.current_time()
                    self._asked += size
                    self._requests += 1
                    nursery.start_soon(self._request, size)
                self._wanted = trio.Event()
                await self._wanted.wait()

    def fail(self, error: VofError) -> None:
        """End the stream: every reader gets ``error``, now and later."""
        if self.error is None:
            self.error = error
            self._pool.clear()
            self._pooled = 0
            for reader in self._readers:
                reader.first.set()
                reader.full.set()
            self._tell_watchers()

    async def take(self, size: int) -> bytes:
        """Return 1 to ``size`` bytes: all of them, unless the device is slow to give more.

        Raises what ended the stream, or EIO if the device gave nothing at all while patience
        lasted. Cancelled, it gives back what it has.
        """
        self._raise_error()
        if not size:
            return b""
        reader = _Reader(size)
        self._readers.append(reader)
        self._serve()
        self._wanted.set()
        try:
            await self._wait_for_first(reader)
            if reader.first.is_set():
                await self._wait_for_more(reader)
        except trio.Cancelled:
            self._give_back(reader)
            raise
        finally:
            if reader in self._readers:
                self._readers.remove(reader)
        if not reader.parts:
            self._raise_error()
            raise OSError(errno.EIO, f"no random bytes within {self._patience:g} s")
        return self._deliver(reader.parts)

    def take_now(self, size: int) -> bytes:
        """Return what there is of ``size`` bytes. Raises BlockingIOError if there is nothing."""
        self._raise_error()
        count = min(size, self._available())
        if not count and size:
            self._fetch_ahead()
            raise BlockingIOError(errno.EAGAIN, "no random bytes yet")
        return self._deliver(self._draw(count))

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed``, once, when ``ready`` has become true, and see that it does."""
        self._watchers.append(changed)
        self._fetch_ahead()

    async def _wait_for_first(self, reader: _Reader) -> None:
        began = trio.current_time()
        # What comes may be for others, or for the start-up test; the reader's turn comes nearer.
        while (left := max(began, self._heard_at) + self._patience - trio.current_time()) > 0:
            with trio.move_on_after(left):
                await reader.first.wait()
                return

    async def _wait_for_more(self, reader: _Reader) -> None:
        with trio.move_on_after(MAX_LINGER):
            before = -1
            while reader.missing != before:
                before = reader.missing
                with trio.move_on_after(LINGER):
                    await reader.full.wait()
                    return

    async def _request(self, size: int) -> None:
        data = bytearray(size)
        began = trio.current_time()
        try:
            count = await self._fetch(memoryview(data))
        except VofError as error:
            self.fail(error)
            return
        finally:
            self._asked -= size
            self._requests -= 1
            self._wanted.set()
        self._learn(size, count, trio.current_time() - began)
        self._arrived(bytes(data[:count]))

    def _learn(self, size: int, count: int, seconds: float) -> None:
        """Take from an answer of ``count`` bytes to ``size`` how much to ask for."""
        full = count == size
        self._least = min(2 * size, self._max_request) if full else MIN_REQUEST
        if seconds < QUICK or not full:
            self._most = min(max(self._most, GROWTH * size), self._max_request)
        elif seconds > SLOW:
            self._most = max(SMALLEST_REQUEST, size // 2)

    def _arrived(self, data: bytes) -> None:
        self._heard_at = trio.current_time()
        if not self.tests.feed(data):
            self.fail(DeviceError(f"health test failed: {self.tests.failure}", 0))
        if self.error is None:
            self._pool.append(data)
            self._pooled += len(data)
            if self._pooled >= self._ahead:
                self._ahead = 0
            self._serve()
            if self.ready:
                self._tell_watchers()

    def _request_size(self) -> int:
        """Return the size of the next request; 0 if nothing more is to be asked for now."""
        if self.error is not None or self._requests >= self._depth:
            return 0
        wanted = self._ahead + sum(reader.missing for reader in self._readers)
        # The bytes of the start-up test are given away after it.
        missing = max(wanted - self._pooled, START_UP_SAMPLES - self.tests.tested) - self._asked
        return min(self._most, max(self._least, missing)) if missing > 0 else 0

    def _available(self) -> int:
        """Bytes that a newcomer could have."""
        return self._pooled if self.started and not self._readers else 0

    def _serve(self) -> None:
        """Give what there is to the readers in turn."""
        while self.started and self._pooled and self._readers:
            reader = self._readers[0]
            count = min(reader.missing, self._pooled)
            reader.parts += self._draw(count)
            reader.missing -= count
            reader.first.set()
            if not reader.missing:
                reader.full.set()
                self._readers.popleft()

    def _give_back(self, reader: _Reader) -> None:
        """Leave to the next what a reader has that takes nothing."""
        if self.error is None and reader.parts:
            self._pool.extendleft(reversed(reader.parts))
            self._pooled += sum(map(len, reader.parts))
            if reader in self._readers:
                self._readers.remove(reader)
            self._serve()

    def _draw(self, count: int) -> list[bytes]:
        self._pooled -= count
        parts = []
        while count:
            part = self._pool.popleft()
            if len(part) > count:
                self._pool.appendleft(part[count:])
                part = part[:count]
            parts.append(part)
            count -= len(part)
        return parts

    def _deliver(self, parts: list[bytes]) -> bytes:
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self.delivered += len(data)
        return data

    def _fetch_ahead(self) -> None:
        self._ahead = max(self._ahead, READ_AHEAD)
        self._wanted.set()

    def _tell_watchers(self) -> None:
        watchers, self._watchers = self._watchers, []
        for changed in watchers:
            changed()

    def _raise_error(self) -> None:
        if self.error is not None:
            raise self.error.again()
