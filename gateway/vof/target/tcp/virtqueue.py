# SPDX-License-Identifier: BSD-3-Clause
"""One virtqueue's connection: requests in, their results out.

A device may have a native executor; then a native queue serves the connection with it, and Python
does what is returned to it. Else a loop here does all of it.

Owns the command ids in flight. One thread sends and receives, and looks at what the device has done
meanwhile. Must not know device types, what a control command means, or how requests are executed:
``execution`` does.

Memory: a command's device-readable bytes and its response together are at most
``limits.max_transfer``; a connection holds one command being received and as many being executed as
its queue has threads, a receive buffer, and one kept response buffer a thread. ``vof-target(8)``,
LIMITS, adds it up.
"""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING, assert_never

from vof.errors import RemoteProtocolError
from vof.target.association import ConnectedQueue
from vof.target.commands import execute, refuse
from vof.target.devices.device import NativeExecutor, Request
from vof.target.ending import Stalled
from vof.target.execution import Execution
from vof.target.native_events import ControlCommand, DiskError, NativeRequest
from vof.target.tcp.channel import Channel
from vof.target.tcp.completions import KEPT_RESPONSE, ResponseBuffers, answer
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
        self, channel: Channel, connected: ConnectedQueue, *, threads: int, name: str
    ) -> None:
        """``threads`` may be 0 for what suits the queue."""
        assert connected.index is not None
        self._channel = channel
        self._association = connected.association
        self._index = connected.index
        self._work = connected.work
        self._threads = threads
        self._depth = connected.association.depth(connected.index)
        self._executor = connected.association.instance.native_executor()
        self._execution: Execution[ReceivedCommand | None] = Execution(
            connected, threads=0 if self._executor else threads, name=name, wake=self._wake_up
        )
        self._responses = ResponseBuffers()
        self._in_flight: set[int] = set()
        self._native: native.Queue | None = None
        self._wake = -1

    def serve(self) -> None:
        """Serve until the connection ends. Raises RemoteProtocolError, DeviceFailure, Cancelled,
        Stalled or OSError."""
        if self._executor:
            try:
                self._serve_native(self._executor)
            except BlockingIOError:  # SO_SNDTIMEO
                raise Stalled(self._channel.send_timeout) from None
            return
        if not self._execution.is_direct:
            try:
                self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            except OSError as error:
                self._association.end("no-descriptor", error.strerror)
                return
        self._serve_stream(self._association.dialect)

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
        """Wait for what is in progress, but not for what waits itself."""
        self._execution.finish()
        if self._native:
            self._native.close()
        if self._wake >= 0:
            os.close(self._wake)

    @property
    def _over(self) -> bool:
        return self._association.ended or self._channel.overdue

    def _is_disconnect(self, head: bytes) -> bool:
        return self._association.dialect.command_of(head) is Command.DISCONNECT

    # Natively

    def _serve_native(self, executor: NativeExecutor) -> None:
        """Do what the native data path leaves to Python, until it says that this is the end."""
        association = self._association
        queue = self._work.native = self._native = open_native(
            executor,
            self._channel.fileno(),
            association.dialect,
            association.device.limits,
            threads=self._threads,
            depth=self._depth or 0,
        )
        self.finish()  # if the channel was told before there was this queue
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
                case NativeRequest(payload, room):
                    with payload:  # whoever kept it would find other bytes there
                        request = Request(self._index, payload, memoryview(bytearray(room)))
                        self._execution.submit(None, request)
                        taken = self._execution.take()
                    assert taken
                    assert taken[2] == room
                    queue.answer(request.writable)
                case DiskError() as error:
                    executor.report(error)
                case other:
                    assert_never(other)

    # In Python

    def _serve_stream(self, dialect: Dialect) -> None:
        parser = command_parser(dialect.framing)(dialect, self._association.device.limits)
        buffer = memoryview(bytearray(RECEIVE_SIZE))
        while not self._over:
            self._await_more()
            if destinations := parser.destinations():
                count = self._channel.receive_into(destinations[0])
                commands = parser.advance(count) if count else []
            else:
                count = self._channel.receive_into(buffer)
                commands = parser.feed(buffer[:count])
            if not count:
                self._drain()
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
                else:
                    self._begin(command)
            # The payloads are not to be held while waiting for the next command.
            commands = command = None  # type: ignore[assignment]

    def _control(self, head: bytes) -> bool:
        """Execute a control command; False where it was the last one."""
        last = self._is_disconnect(head)
        if last:
            self._drain()  # what is in flight is completed before it
        self._channel.send([execute(self._association, head, on_control_queue=False)])
        return not last

    def _begin(self, command: ReceivedCommand) -> None:
        """Have a request executed, when there is room for it: until then a peer that sends faster
        than the device works waits in its own socket."""
        while not self._execution.has_room:
            self._await_done()
        self._in_flight.add(command.command_id)
        writable = self._responses.take(command.in_length)
        self._execution.submit(command, Request(self._index, command.payload, writable))
        self._answer()

    def _answer(self) -> None:
        """Send the completions of what is done."""
        while taken := self._execution.take():
            command, request, used = taken
            assert command
            parts = answer(command, request.writable, used, self._association.instance.tail)
            # From here on the peer may use the id again.
            self._in_flight.discard(command.command_id)
            self._channel.send(parts)
            self._responses.give(request.writable)

    def _drain(self) -> None:
        while self._execution.busy:
            self._await_done()

    def _await_more(self) -> None:
        """Answer what gets done until there is something to be received."""
        while self._execution.busy and not self._wait(select.POLLIN):
            pass

    def _await_done(self) -> None:
        """Wait until something is done, and answer it. What may wait for ever is given up when the
        peer has closed its end."""
        if self._wait(select.POLLRDHUP if self._execution.may_wait else 0):
            self._execution.cancel()
            self._answer()

    def _wait(self, events: int) -> bool:
        """Wait until something is done, which is answered, or one of ``events`` has come to pass
        on the channel; return whether that has."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if events:
            poll.register(self._channel.fileno(), events)
        ready = {fd for fd, _what in poll.poll()}
        if self._wake in ready:
            os.eventfd_read(self._wake)
            self._answer()
        return self._channel.fileno() in ready

    def _wake_up(self) -> None:
        os.eventfd_write(self._wake, 1)


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
