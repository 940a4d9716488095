# SPDX-License-Identifier: BSD-3-Clause
"""One virtqueue's connection: requests in, their results out.

A device may have a native data path; then that serves the connection, and Python does what is
returned to it. Else a loop here does all of it, with as many threads as the configuration says.

Owns the command ids in flight and the threads. Must not know device types or what a control command
means.

Memory: a command's device-readable bytes and its response together are at most
``limits.max_transfer``; a connection holds one command being received and as many being executed as
its queue has threads, a receive buffer, and one kept response buffer a thread. ``vof-target(8)``,
LIMITS, adds it up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, assert_never

from vof.errors import RemoteProtocolError
from vof.target.association import Association
from vof.target.commands import execute, refuse
from vof.target.devices.device import NativeExecutor
from vof.target.ending import Stalled
from vof.target.native_events import ControlCommand, DiskError, Request
from vof.target.tcp.channel import Channel
from vof.target.tcp.completions import KEPT_RESPONSE, ResponseBuffer, answer
from vof.target.work import Work
from vof.target.workers import Workers
from vof.wire.constants import Command
from vof.wire.dialect import Dialect
from vof.wire.framing import command_parser
from vof.wire.status import Reason
from vof.wire.stream import ReceivedCommand, StreamLimits

if TYPE_CHECKING:
    from vof.target import native

_TOO_MANY = Reason.TOO_MANY_COMMANDS

RECEIVE_SIZE = 1 << 16
"""Bytes of the receive buffer. Larger payloads are received straight to where they belong."""


class Virtqueue:
    """Serves one virtqueue. ``serve`` is called once; ``stop`` and ``finish`` from any thread."""

    def __init__(
        self,
        channel: Channel,
        association: Association,
        index: int,
        *,
        work: Work,
        threads: int,
        name: str,
        failed: Callable[[Exception], None],
    ) -> None:
        """``threads`` may be 0 for what suits the queue; ``failed`` is told what went wrong in one
        of them."""
        self._channel = channel
        self._association = association
        self._index = index
        self._work = work
        self._threads = threads
        self._name = name
        self._failed = failed
        self._depth = association.depth(index)
        self._responses = ResponseBuffer()
        self._in_flight: set[int] = set()
        self._workers: Workers[ReceivedCommand] | None = None
        self._native: native.Queue | None = None

    def serve(self) -> None:
        """Serve until the connection ends. Raises RemoteProtocolError, DeviceFailure, Unanswered,
        Stalled or OSError."""
        dialect = self._association.dialect
        if executor := self._association.instance.native_executor():
            association = self._association
            self._work.native = self._native = open_native(
                executor,
                self._channel.fileno(),
                association.dialect,
                association.device.limits,
                threads=self._threads,
                depth=self._depth or 0,
            )
            try:
                self._serve_native(self._native, executor)
            except BlockingIOError:  # SO_SNDTIMEO
                raise Stalled(self._channel.send_timeout) from None
            return
        if self._threads > 1:
            self._workers = Workers(self._threads, self._name, self._execute_in_worker)
        self._serve_stream(dialect)

    def stop(self) -> None:
        """End at the next opportunity; the caller aborts the channel."""
        if self._native:
            self._native.stop()

    def finish(self) -> None:
        """The channel was told to finish; a native queue has to be told too."""
        left = self._channel.seconds_left
        if self._native and left is not None:
            self._native.finish(left)

    def close(self) -> None:
        """Wait for what is in progress."""
        if self._workers:
            self._workers.finish()
        if self._native:
            self._native.close()

    @property
    def _over(self) -> bool:
        return self._association.ended or self._channel.overdue

    def _control(self, head: bytes) -> bool:
        """Execute a control command; False where it was the last one."""
        last = self._is_disconnect(head)
        if last and self._workers:
            self._workers.finish()  # what is in flight is completed before it
        self._channel.send([execute(self._association, head, on_control_queue=False)])
        return not last

    def _is_disconnect(self, head: bytes) -> bool:
        return self._association.dialect.command_of(head) is Command.DISCONNECT

    def _serve_native(self, queue: native.Queue, executor: NativeExecutor) -> None:
        """Do what the native data path leaves to Python, until it says that this is the end."""
        self.finish()  # if the channel was told before there was this queue
        association = self._association
        while not association.ended:
            match queue.serve():
                case None:
                    return
                case ControlCommand(head):
                    last = self._is_disconnect(head)
                    if last:
                        queue.drain()  # what is in flight is completed before it
                    queue.send(execute(association, head, on_control_queue=False))
                    if last:
                        queue.flush()
                        return
                case Request(payload, room):
                    with payload:  # whoever kept it would find other bytes there
                        writable = memoryview(bytearray(room))
                        used = self._work.execute(
                            association.instance, self._index, payload, writable
                        )
                    assert used == room
                    queue.answer(writable)
                case DiskError() as error:
                    executor.report(error)
                case other:
                    assert_never(other)

    def _serve_stream(self, dialect: Dialect) -> None:
        parser = command_parser(dialect.framing)(dialect, self._association.device.limits)
        buffer = memoryview(bytearray(RECEIVE_SIZE))
        while not self._over:
            if destinations := parser.destinations():
                count = self._channel.receive_into(destinations[0])
                commands = parser.advance(count) if count else []
            else:
                count = self._channel.receive_into(buffer)
                commands = parser.feed(buffer[:count])
            if not count:
                return
            # Commands that came together were all sent before any of them was completed.
            if len(commands) > 1 and len({item.command_id for item in commands}) < len(commands):
                raise RemoteProtocolError("a command id is used again while it is in flight")
            in_flight = len(self._in_flight)
            for command in commands:
                in_flight += command.is_request
                if command.command_id in self._in_flight:
                    raise RemoteProtocolError(
                        f"command id {command.command_id} is used again while it is in flight"
                    )
                if not command.is_request:
                    if not self._control(command.head):
                        return
                elif self._depth is not None and in_flight > self._depth:
                    self._channel.send([refuse(self._association, command.head, _TOO_MANY)])
                elif self._workers:
                    self._in_flight.add(command.command_id)
                    self._workers.submit(command)
                else:
                    self._execute(command)
            # The payloads are not to be held while waiting for the next command.
            commands = command = None  # type: ignore[assignment]

    def _execute(self, command: ReceivedCommand) -> None:
        """Execute a request and send its completion."""
        writable = self._responses.take(command.in_length)
        instance = self._association.instance
        used = self._work.execute(instance, self._index, command.payload, writable)
        parts = answer(command, writable, used, instance.tail)
        # From here on the peer may use the id again.
        self._in_flight.discard(command.command_id)
        self._channel.send(parts)

    def _execute_in_worker(self, command: ReceivedCommand) -> None:
        try:
            self._execute(command)
        except Exception as error:  # noqa: BLE001 - ends the association, not the thread
            self._failed(error)


def open_native(
    executor: NativeExecutor,
    fd: int,
    dialect: Dialect,
    limits: StreamLimits,
    *,
    threads: int,
    depth: int,
) -> native.Queue:
    """Return what serves a virtqueue's connected socket natively, to be closed before the socket.

    ``threads`` may be 0 for what suits the device; ``depth`` is how many commands may be in flight
    before more are refused, 0 for any number.
    """
    from vof.target import native  # noqa: PLC0415 - it may not be built

    return native.Queue(
        executor.device,
        executor.rules,
        fd,
        width=threads or executor.width,
        dialect=dialect.name,
        max_ndesc=limits.max_ndesc,
        max_transfer=limits.max_transfer,
        plain_opcodes=dialect.plain_opcodes,
        framing=dialect.framing,
        largest_kept=KEPT_RESPONSE,
        depth=depth,
    )
