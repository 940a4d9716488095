# SPDX-License-Identifier: BSD-3-Clause
"""The mount's life: open the devices, mount, answer until it is unmounted or a signal comes, leave.

Owns that order. Nothing is mounted before every device that was named is there; nothing stays
mounted or open after.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import signal
from collections.abc import Callable, Iterator

import trio

from vof.descriptors import shortage_in
from vof.errors import ConfigError, VofError
from vof.gateways.fuse.binding import libfuse, pyfuse3
from vof.gateways.fuse.control import FILE_NAME, Control, ControlFile
from vof.gateways.fuse.devices import Devices
from vof.gateways.fuse.mountpoint import catch_stderr, check_mountpoint
from vof.gateways.fuse.operations import Operations
from vof.gateways.fuse.options import MountOptions
from vof.gateways.sessions.book import SessionBook
from vof.logline import describe, event
from vof.program import ENDING, Interrupted

MAX_REQUESTS = 1024
"""Requests of the kernel that can wait at once without holding up others; each costs a task."""

LEAVE_TIMEOUT = 2.0
"""Seconds for requests in flight to be answered after a signal, once their sessions are closed."""


def run(options: MountOptions, ready: Callable[[], None]) -> str | None:
    """Serve a mount to its end; ``ready`` is called when it is usable.

    Returns None, or what went wrong in words. Raises Interrupted for a signal before it is usable.
    """
    try:
        # Before signals are waited for: the folder may be one whose server does not answer.
        mountpoint = check_mountpoint(options.mountpoint)
    except VofError as error:
        return str(error)
    service = _Service(options, mountpoint, ready)
    try:
        trio.run(service.run)
    except Exception as error:  # noqa: BLE001 - told in one line
        if shortage := shortage_in(error):
            return shortage
        event(logging.ERROR, "internal-error", reason=describe(error))
        return f"internal error: {error!r}; please report it"
    if service.interrupted_by is not None:
        raise Interrupted(service.interrupted_by)
    return service.failure


class _Service:
    def __init__(self, options: MountOptions, mountpoint: str, ready: Callable[[], None]) -> None:
        self.failure: str | None = None
        self.interrupted_by: int | None = None
        """The signal that has ended it before it was usable."""
        self._options = options
        self._mountpoint = mountpoint
        self._tell = ready
        self._is_ready = False
        self._mounted = False
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            book = SessionBook()
            devices = Devices(nursery, book)
            await nursery.start(self._leave_on_signal, devices)
            try:
                with self._scope, _metrics(self._options, book):
                    await self._serve(devices)
            except VofError as error:
                self.failure = str(error)
            finally:
                with trio.CancelScope(shield=True):
                    await devices.close()
            nursery.cancel_scope.cancel()

    async def _serve(self, devices: Devices) -> None:
        options = self._options
        devices.add(FILE_NAME, ControlFile(Control(devices, options.parameters)))
        for tvqn in options.tvqns:
            await devices.create(dataclasses.replace(options.parameters, tvqn=tvqn), options.name)
        operations = Operations(devices, options.ownership, self._ready)
        _mount(operations, self._mountpoint, options)
        self._mounted = True
        try:
            async with trio.open_nursery() as nursery:
                libfuse.take_allocations(
                    lambda request: nursery.start_soon(operations.fallocate, request)
                )
                await pyfuse3.main(max_tasks=MAX_REQUESTS)
                nursery.cancel_scope.cancel()
        finally:
            libfuse.take_allocations(None)
            pyfuse3.close(unmount=True)

    def _ready(self) -> None:
        self._is_ready = True
        self._tell()

    async def _leave_on_signal(
        self, devices: Devices, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        # One that was ignored when the program began, as by nohup(1), stays so.
        heeded = [each for each in ENDING if signal.getsignal(each) is not signal.SIG_IGN]
        with trio.open_signal_receiver(*heeded) as signals:
            task_status.started()
            async for number in signals:
                event(logging.INFO, "leaving", signal=signal.Signals(number).name)
                if not self._is_ready and self.interrupted_by is None:
                    self.interrupted_by = number
                if self._mounted:
                    await devices.close()
                    pyfuse3.terminate()
                    await trio.sleep(LEAVE_TIMEOUT)
                self._scope.cancel()


@contextlib.contextmanager
def _metrics(options: MountOptions, book: SessionBook) -> Iterator[None]:
    """Serve metrics meanwhile, where they are wanted. Raises VofError."""
    if options.metrics is None:
        yield
        return
    # Only who wants it pays for it.
    from vof.gateways.sessions.metrics import session_families  # noqa: PLC0415
    from vof.metrics.exposition import Exposition  # noqa: PLC0415

    exposition = Exposition(options.metrics, "vof-mount", lambda: session_families(book))
    try:
        exposition.start()
        yield
    finally:
        exposition.stop()


class _OfAnyLetters(str):
    """An option for libfuse, which takes any bytes; pyfuse3 asks for it in ASCII."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "surrogateescape") -> bytes:
        return super().encode(errors="surrogateescape")


def _mount(operations: Operations, mountpoint: str, options: MountOptions) -> None:
    source = options.source.replace("\\", "\\\\").replace(",", "\\,")
    name = _OfAnyLetters(f"fsname={source}")
    wanted = {"default_permissions", "subtype=vof", name, *options.fuse}
    failed, words = catch_stderr(lambda: pyfuse3.init(operations, mountpoint, wanted))
    if failed is not None:
        raise ConfigError(f"cannot mount on {mountpoint}: {words or failed}")
    if not libfuse.is_in_place():
        pyfuse3.close(unmount=True)
        raise ConfigError(
            f"cannot mount on {mountpoint}: pyfuse3 was bound to a libfuse loaded before vof-mount "
            "looked at it; is there one in LD_PRELOAD?"
        )
