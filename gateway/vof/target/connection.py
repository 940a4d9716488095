# SPDX-License-Identifier: BSD-3-Clause
"""A connection after its Connect: one thread that receives commands, executes them and sends
completions. A virtqueue whose device has a native data path is served by that; then this thread
only does what is returned to it.

Owns the socket, from the moment it is handed over to its close. Must not know device types or what
a control command means. A violation by the peer ends its whole association with one log line.

Memory: a command's device-readable bytes and its response together are at most
``limits.max_transfer``; a connection holds one command being received and as many being executed as
its queue has threads, a receive buffer, and one kept response buffer a thread. ``vof-target(8)``,
LIMITS, adds it up.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from itertools import accumulate
from struct import Struct
from typing import TYPE_CHECKING, assert_never

from vof.errors import RemoteProtocolError
from vof.target.association import Attachment
from vof.target.async_events import Mailbox
from vof.target.commands import execute
from vof.target.devices.device import DeviceFailure, Unanswered
from vof.target.logline import event
from vof.target.native_events import ControlCommand, DiskError, NativeEvent, Request
from vof.target.workers import Workers
from vof.wire.constants import AsyncEvent, DescriptorFlag, Opcode
from vof.wire.dialect import PROPOSAL
from vof.wire.stream import CommandParser, ReceivedCommand, encode_vring_completion
from vof.wire.structs import HEAD, pack

if TYPE_CHECKING:
    from vof.target import native

RECEIVE_SIZE = 1 << 16
"""Bytes of the receive buffer. Larger payloads are received straight to where they belong."""

KEPT_RESPONSE = (1 << 20) + (1 << 16)
"""Bytes of the largest response buffer that is kept for the next request."""

_STEP = 1 << 13
_WRITE = int(DescriptorFlag.WRITE)
_VRING = int(Opcode.VRING)
_TIMEVAL = Struct("@ll")


class Stalled(Exception):
    """The peer took nothing of what was sent to it for too long."""


class ResponseBuffer(threading.local):
    """One buffer a thread, grown as needed; what is larger than ``KEPT_RESPONSE`` is not kept."""

    def __init__(self) -> None:
        self._kept = memoryview(bytearray(_STEP))

    def take(self, size: int) -> memoryview:
        """Return ``size`` bytes, with whatever they hold."""
        if size > len(self._kept):
            if size > KEPT_RESPONSE:
                return memoryview(bytearray(size))
            self._kept = memoryview(bytearray(-(-size // _STEP) * _STEP))
        return self._kept[:size]


class Connection:
    """One connected queue: the control queue, or a virtqueue.

    ``run`` is the body of its thread. ``abort`` and ``finish`` end it from any other.
    """

    def __init__(
        self, sock: socket.socket, peer: str, *, threads: int, send_timeout: float
    ) -> None:
        """``threads`` may be 0 for what suits the queue."""
        self.peer = peer
        self._sock = sock
        self._sock_lock = (
            threading.Lock()
        )  # abort must not hit a descriptor that was closed and reused
        self._send_lock = threading.Lock()
        self._send_timeout = send_timeout
        self._threads = threads
        self._responses = ResponseBuffer()
        self._in_flight: set[int] = set()
        self._events = Mailbox()
        self._deadline: float | None = None
        self._attachment: Attachment
        self._workers: Workers[ReceivedCommand] | None = None
        self._native: native.Queue | None = None

    def attach(self, attachment: Attachment) -> None:
        """Take the place that the Connect was given. To be called before the thread starts."""
        self._attachment = attachment

    @property
    def is_control(self) -> bool:
        """True for the control queue's connection."""
        return self._attachment.queue is None

    @property
    def name(self) -> str:
        """Name of the thread, as debuggers show it."""
        queue = self._attachment.queue
        return f"vof-{self._attachment.association.target_id}-{'c' if queue is None else queue}"

    def abort(self) -> None:
        """End the connection at once. What is being executed goes on, but is not answered."""
        if self._native:
            self._native.stop()
        self._shutdown(socket.SHUT_RDWR)

    def notify(self, event: AsyncEvent) -> None:
        """Send an event, some time."""
        self._events.post(event)

    def finish(self, grace: float) -> None:
        """Serve what has arrived, for at most ``grace`` seconds of it, and close."""
        self._deadline = time.monotonic() + grace
        if self._native:
            self._native.finish(grace)
        self._shutdown(socket.SHUT_RD)
        self._attachment.association.seat.stop_waiting()

    def run(self, release: Callable[[Attachment], None]) -> None:
        """Serve until the connection ends; then ``release`` its place and close it."""
        attachment = self._attachment
        try:
            self._serve()
        except Exception as error:  # noqa: BLE001 - ends this association only
            self._fail(error)
        finally:
            if self._workers:
                self._workers.finish()
            if self._native:
                self._native.close()
            # Everything this queue had in progress is over: now it may be connected again, and a
            # peer that sees the connection closed can rely on that.
            release(attachment)
            with self._sock_lock:
                self._sock.close()

    def _serve(self) -> None:
        sock = self._sock
        sock.settimeout(None)
        sock.setsockopt(
            socket.SOL_SOCKET,
            socket.SO_SNDTIMEO,
            _TIMEVAL.pack(int(self._send_timeout), int(self._send_timeout % 1 * 1e6)),
        )
        association = self._attachment.association
        if not self.is_control:
            self._native = association.seat.open_native(sock.fileno(), self._threads)
            if self._native:
                self._serve_native(self._native)
                return
            if self._threads > 1:
                self._workers = Workers(self._threads, self.name, self._execute_in_worker)
        parser = CommandParser(PROPOSAL, association.device.limits)
        buffer = memoryview(bytearray(RECEIVE_SIZE))
        while not association.ended and not self._overdue():
            if destinations := parser.destinations():
                count = sock.recv_into(destinations[0])
                commands = parser.advance(count) if count else []
            else:
                count = sock.recv_into(buffer)
                commands = parser.feed(buffer[:count])
            if not count:
                break
            # Commands that came together were all sent before any of them was completed.
            if len(commands) > 1 and len({item.command_id for item in commands}) < len(commands):
                raise RemoteProtocolError("a command id is used again while it is in flight")
            for command in commands:
                if not self._accept(command):
                    return
            # The payloads are not to be held while waiting for the next command.
            commands = command = None  # type: ignore[assignment]

    def _serve_native(self, queue: native.Queue) -> None:
        """Do what the native data path leaves to Python, until it says that this is the end."""
        if self._deadline is not None:  # or `finish` will set it
            queue.finish(max(0.0, self._deadline - time.monotonic()))
        association = self._attachment.association
        while not association.ended:
            match self._next_native(queue):
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
                        self._handle_native(queue, payload, room)
                case DiskError() as error:
                    association.seat.report(error)
                case other:
                    assert_never(other)

    def _next_native(self, queue: native.Queue) -> NativeEvent | None:
        try:
            return queue.serve()
        except BlockingIOError:  # SO_SNDTIMEO
            raise Stalled from None

    def _handle_native(self, queue: native.Queue, payload: memoryview, room: int) -> None:
        index = self._attachment.queue
        assert index is not None
        writable = memoryview(bytearray(room))
        used = self._attachment.association.seat.handle(index, payload, writable)
        assert used == room
        queue.answer(writable)

    def _overdue(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline

    def _accept(self, command: ReceivedCommand) -> bool:
        """Execute a command, or hand it over; False where it was the last one."""
        if command.command_id in self._in_flight:
            raise RemoteProtocolError(
                f"command id {command.command_id} is used again while it is in flight"
            )
        if command.opcode == _VRING:
            if self.is_control:
                raise RemoteProtocolError("a vring command on the control queue")
            if self._workers:
                self._in_flight.add(command.command_id)
                self._workers.submit(command)
            else:
                self._execute(command)
            return True
        self._send([pack(execute(self._attachment.association, command.head))])
        # On the control queue the association ends with its connection.
        return command.opcode != Opcode.DISCONNECT

    def _execute(self, command: ReceivedCommand) -> None:
        """Execute a vring command and send its completion."""
        descriptors = [item for item in command.descriptors if item.flags & _WRITE]
        lengths = [item.length for item in descriptors]
        size = sum(lengths)
        queue = self._attachment.queue
        assert queue is not None
        writable = self._responses.take(size)
        seat = self._attachment.association.seat
        used = seat.handle(queue, command.payload, writable)
        parts = [writable]
        if used < size:
            lengths, parts = _split(lengths, used, seat.tail, writable)
        head = encode_vring_completion(
            0, command.command_id, list(zip(descriptors, lengths, strict=True))
        )
        # From here on the peer may use the id again.
        self._in_flight.discard(command.command_id)
        self._send([head, *parts])

    def _execute_in_worker(self, command: ReceivedCommand) -> None:
        try:
            self._execute(command)
        except Exception as error:  # noqa: BLE001 - as in run
            self._fail(error)

    def _send(self, parts: Sequence[bytes | memoryview]) -> None:
        """Send all of the parts. Raises Stalled where the peer takes nothing, OSError where it is
        gone.
        """
        with self._send_lock:
            try:
                sent = self._sock.sendmsg(parts)
                for part in parts:
                    if sent >= len(part):
                        sent -= len(part)
                        continue
                    rest = memoryview(part)[sent:]
                    sent = 0
                    while rest:
                        rest = rest[self._sock.send(rest) :]
            except BlockingIOError:  # SO_SNDTIMEO
                raise Stalled from None

    def _fail(self, error: Exception) -> None:
        """End the association, or only this queue where the peer closed its connection."""
        association = self._attachment.association
        if isinstance(error, RemoteProtocolError):
            what, reason, level = "violation", str(error), logging.WARNING
        elif isinstance(error, Stalled):
            reason = f"the initiator took no data for {self._send_timeout:g} s"
            what, level = "stalled", logging.WARNING
        elif isinstance(error, DeviceFailure):
            what, reason, level = "device-failed", str(error), logging.ERROR
        elif isinstance(error, Unanswered):
            event(logging.DEBUG, "unanswered", peer=self.peer, reason=str(error))
            self.abort()
            return
        elif isinstance(error, OSError):
            # A closed connection. The Linux initiator detaches in this way, requests in flight
            # included.
            event(logging.DEBUG, "closed", peer=self.peer, reason=error.strerror)
            self.abort()
            return
        else:
            what, reason, level = "internal-error", _describe(error), logging.ERROR
        association.end(what, reason, level=level, peer=self.peer)
        # Where the association had ended before, this connection is still to be ended.
        self.abort()

    def _shutdown(self, how: int) -> None:
        with self._sock_lock:
            try:
                self._sock.shutdown(how)
            except OSError:
                pass  # closed already, by either side


def _split(
    lengths: Sequence[int], used: int, tail: int, writable: memoryview
) -> tuple[list[int], list[memoryview]]:
    """Return how much of each descriptor was written, and those bytes, where ``used`` are.

    They are the first ones of the area and its last ``tail``. A descriptor that has a part of the
    tail has to come back up to there, and so whole.
    """
    written, parts = [], []
    for length, end in zip(lengths, accumulate(lengths), strict=True):
        start = end - length
        stop = end
        if end <= len(writable) - tail:
            stop = max(start, min(end, used - tail))
        written.append(stop - start)
        parts.append(writable[start:stop])
    return written, parts


def _describe(error: Exception) -> str:
    """Name an exception that nobody expected, and the place it came from, in one line."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {place.name}, line {place.lineno}: {error}"
