# SPDX-License-Identifier: BSD-3-Clause
"""A virtio-console as the file ``console``: what is written goes out, what comes in is read.

Owns the two tasks that carry bytes between the driver and the file, and the lines of ``info``. What
was written and not sent yet is lost with the session.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from vof.drivers.console import MAX_TRANSMIT, ConsoleDriver
from vof.errors import VofError
from vof.gateways.fuse.contents import Contents, Facts
from vof.gateways.fuse.streams import Stream, StreamFile
from vof.initiator.session import Session


def open_console(session: Session) -> Contents:
    """Return what a virtio-console shows."""
    driver = ConsoleDriver.attach(session)
    stream = Stream()
    received = sent = 0

    def facts() -> Facts:
        yield "bytes_received", received
        yield "bytes_sent", sent

    async def receive() -> None:
        nonlocal received
        while True:
            # Asked only where there is room: a reader that stops makes the device stop.
            data = await driver.read_in_task()
            received += len(data)
            while data:
                data = data[await stream.incoming.put(data) :]

    async def send() -> None:
        nonlocal sent
        while True:
            data = await stream.outgoing.take(MAX_TRANSMIT)
            await driver.write_in_task(memoryview(data))
            sent += len(data)

    async def until_lost(carry: Callable[[], Awaitable[None]]) -> None:
        try:
            await carry()
        except VofError as error:
            stream.fail(error)

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(until_lost, receive)
            nursery.start_soon(until_lost, send)

    return Contents(
        children={"console": StreamFile(stream)}, facts=facts, run=run, lost=stream.fail
    )
