# SPDX-License-Identifier: BSD-3-Clause
"""A virtio-rng as the file ``random``: a stream without end, any number of readers.

Offsets mean nothing, as for /dev/urandom. Owns the file and the lines of ``info`` about the stream.
"""

from __future__ import annotations

import contextlib
import select
from collections.abc import Callable

import trio

from vof.drivers.rng import MAX_REQUEST, RngDriver
from vof.errors import VofError
from vof.gateways.fuse.contents import Contents, Facts
from vof.gateways.fuse.health import START_UP_SAMPLES
from vof.gateways.fuse.nodes import Access, File, Handle, Opening
from vof.gateways.fuse.reservoir import Reservoir
from vof.initiator.session import Session

MAX_REQUESTS = 4
"""Requests in flight at most; more would only wait at the device."""

SIZE = 4096
"""The size as stat(2) tells it (ours). It bounds no read, but a program that takes all of a regular
file's size, as openssl(1) does, comes to an end; of a size of 0 many take it for one that
is not known."""


def open_rng(session: Session) -> Contents:
    """Return what a virtio-rng shows."""
    driver = RngDriver.attach(session)
    timeout = session.parameters.timeout
    reservoir = Reservoir(
        driver.read_in_task,
        depth=min(MAX_REQUESTS, driver.depth),
        max_request=MAX_REQUEST,
        patience=float("inf") if timeout is None else timeout,
    )

    def facts() -> Facts:
        yield "health", _health(reservoir)
        yield "bytes_tested", reservoir.tests.tested
        yield "bytes_delivered", reservoir.delivered

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reservoir.run)
            if timeout is not None:
                nursery.start_soon(_watch, driver, reservoir, timeout)

    return Contents(
        children={"random": RandomFile(reservoir)},
        facts=facts,
        run=run,
        lost=reservoir.fail,
    )


async def _watch(driver: RngDriver, reservoir: Reservoir, timeout: float) -> None:
    """Make sure that somebody is there while the device lets us wait."""
    while reservoir.error is None:
        left = timeout - reservoir.waiting
        if left <= 0:
            left = timeout
            with contextlib.suppress(VofError):  # the session has ended, and says so itself
                await trio.to_thread.run_sync(driver.check, abandon_on_cancel=True)
        await trio.sleep(left)


class RandomFile(File):
    """Random bytes."""

    access = Access.READ
    public = True

    def __init__(self, reservoir: Reservoir) -> None:
        super().__init__()
        self._reservoir = reservoir

    @property
    def size(self) -> int:
        return SIZE

    async def open(self, opening: Opening) -> Handle:
        return _RandomHandle(self._reservoir)


class _RandomHandle(Handle):
    def __init__(self, reservoir: Reservoir) -> None:
        self._reservoir = reservoir

    async def read(self, offset: int, size: int) -> bytes:
        if self.nonblocking:
            return self._reservoir.take_now(size)
        return await self._reservoir.take(size)

    async def poll(self, watch: Callable[[], None] | None) -> int:
        reservoir = self._reservoir
        if reservoir.error is not None:
            return select.POLLIN | select.POLLERR
        if reservoir.ready:
            return select.POLLIN
        if watch is not None:
            reservoir.watch(watch)
        return 0


def _health(reservoir: Reservoir) -> str:
    tests = reservoir.tests
    if tests.failure is not None:
        return f"failed: {tests.failure}"
    if reservoir.started:
        return "passed"
    return f"start-up test: {tests.tested} of {START_UP_SAMPLES} bytes"
