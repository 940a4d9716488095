# SPDX-License-Identifier: BSD-3-Clause
"""One virtqueue's connection: requests in, their results out.

A device may have a native data path; then that serves the connection, and Python does what is
returned to it. Else a loop here does all of it, with as many threads as the configuration says.
Both need to know how the requests are framed: while the association may be of two dialects,
control commands are executed one by one, and the first request says which it is.

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
from vof.target.channel import Channel
from vof.target.commands import execute
from vof.target.completions import ResponseBuffer, answer
from vof.target.ending import Stalled
from vof.target.native_events import ControlCommand, DiskError, Request
from vof.target.work import Work
from vof.target.workers import Workers
from vof.wire.constants import Opcode
from vof.wire.dialect import Dialect, Framing
from vof.wire.framing import command_parser
from vof.wire.stream import ReceivedCommand
from vof.wire.structs import COMMAND_SIZE, HEAD, pack

if TYPE_CHECKING:
    from vof.target import native

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
        self._framing: Framing
        self._responses = ResponseBuffer()
        self._in_flight: set[int] = set()
        self._workers: Workers[ReceivedCommand] | None = None
        self._native: native.Queue | None = None

    def serve(self) -> None:
        """Serve until the connection ends. Raises RemoteProtocolError, DeviceFailure, Unanswered,
        Stalled or OSError."""
        dialect = self._find_dialect()
        if dialect is None:
            return
        seat = self._association.seat
        self._native = seat.open_native(self._channel.fileno(), self._threads, dialect)
        self._work.native = self._native
        if self._native:
            try:
                self._serve_native(self._native)
            except BlockingIOError:  # SO_SNDTIMEO
                raise Stalled(self._channel.send_timeout) from None
            return
        if self._threads > 1:
            self._workers = Workers(self._threads, self._name, self._execute_in_worker)
        self._framing = dialect.framing
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

    def _find_dialect(self) -> Dialect | None:
        """Return the association's dialect, which the first request here or on another virtqueue
        decides; None where the connection ends before."""
        while not self._over:
            if dialect := self._association.dialect:
                return dialect
            head = self._channel.peek(HEAD.size)
            if len(head) < HEAD.size:
                return None
            opcode, _command_id = HEAD.unpack(head)
            dialect = self._association.admit(opcode)
            if opcode in dialect.request_opcodes:
                return dialect
            if not self._control(self._channel.receive(COMMAND_SIZE)):
                return None
        return None

    def _control(self, head: bytes) -> bool:
        """Execute a control command; False where it was the last one."""
        if len(head) < COMMAND_SIZE:
            return False
        self._channel.send([pack(execute(self._association, head))])
        opcode, _command_id = HEAD.unpack_from(head)
        return bool(opcode != Opcode.DISCONNECT)

    def _serve_native(self, queue: native.Queue) -> None:
        """Do what the native data path leaves to Python, until it says that this is the end."""
        self.finish()  # if the channel was told before there was this queue
        association = self._association
        while not association.ended:
            match queue.serve():
                case None:
                    return
                case ControlCommand(head):
                    queue.send(pack(execute(association, head)))
                    opcode, _command_id = HEAD.unpack_from(head)
                    if opcode == Opcode.DISCONNECT:
                        queue.flush()
                        return
                case Request(payload, room):
                    with payload:  # whoever kept it would find other bytes there
                        writable = memoryview(bytearray(room))
                        used = self._work.execute(association.seat, self._index, payload, writable)
                    assert used == room
                    queue.answer(writable)
                case DiskError() as error:
                    association.seat.report(error)
                case other:
                    assert_never(other)

    def _serve_stream(self, dialect: Dialect) -> None:
        parser = command_parser(dialect.framing)(dialect, self._association.device.limits)
        requests = dialect.request_opcodes
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
            for command in commands:
                if command.command_id in self._in_flight:
                    raise RemoteProtocolError(
                        f"command id {command.command_id} is used again while it is in flight"
                    )
                if command.opcode not in requests:
                    if not self._control(command.head):
                        return
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
        seat = self._association.seat
        used = self._work.execute(seat, self._index, command.payload, writable)
        parts = answer(self._framing, command, writable, used, seat.tail)
        # From here on the peer may use the id again.
        self._in_flight.discard(command.command_id)
        self._channel.send(parts)

    def _execute_in_worker(self, command: ReceivedCommand) -> None:
        try:
            self._execute(command)
        except Exception as error:  # noqa: BLE001 - ends the association, not the thread
            self._failed(error)
