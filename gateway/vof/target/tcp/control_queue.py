# SPDX-License-Identifier: BSD-3-Clause
"""The control queue's connection: commands of 16 bytes in, completions and events out.

Owns their order: one thread sends on this connection, so an event never falls into a completion.
Must not know what a command means, nor what an event tells.
"""

from __future__ import annotations

import select

from vof.errors import RemoteProtocolError
from vof.target.association import Association
from vof.target.async_events import Mailbox
from vof.target.commands import execute, refuse
from vof.target.tcp.channel import Channel
from vof.wire.constants import Command
from vof.wire.status import Reason
from vof.wire.structs import COMMAND_SIZE, HEAD

_RECEIVE_SIZE = 256 * COMMAND_SIZE


class ControlQueue:
    """Serves one association's control queue. ``serve`` is called once."""

    def __init__(self, channel: Channel, association: Association, events: Mailbox) -> None:
        self._channel = channel
        self._association = association
        self._events = events
        self._buffer = bytearray(_RECEIVE_SIZE)
        self._filled = 0

    def serve(self) -> None:
        """Serve until the connection ends. Raises RemoteProtocolError, Stalled or OSError."""
        try:
            self._events.open()
        except OSError as error:
            self._association.end("no-descriptor", error.strerror)
            return
        poll = select.poll()
        for fd in (self._channel.fileno(), self._events.fileno()):
            poll.register(fd, select.POLLIN)
        while not self._association.ended and not self._channel.overdue:
            ready = {fd for fd, _what in poll.poll()}
            if self._events.fileno() in ready:
                self._channel.send([self._events.take()])
            if self._channel.fileno() in ready and not self._receive():
                return

    def stop(self) -> None:
        """Nothing to do: ``serve`` ends with its connection."""

    def finish(self) -> None:
        """Nothing to do either."""

    def close(self) -> None:
        """No event is sent any more."""
        self._events.close()

    def _receive(self) -> bool:
        """Execute what has arrived; False where that is the end."""
        count = self._channel.receive_into(memoryview(self._buffer)[self._filled :])
        if not count:
            return False
        end = self._filled + count
        whole = end - end % COMMAND_SIZE
        heads = [
            bytes(self._buffer[place : place + COMMAND_SIZE])
            for place in range(0, whole, COMMAND_SIZE)
        ]
        self._filled = end - whole
        self._buffer[: self._filled] = self._buffer[whole:end]
        # Commands that came together were all sent before any of them was completed.
        seen: set[int] = set()
        for head in heads:
            opcode, command_id = HEAD.unpack_from(head)
            if command_id in seen:
                raise RemoteProtocolError(
                    f"command id {command_id} is used again while it is in flight"
                )
            seen.add(command_id)
            self._channel.send([self._answer(head, len(seen))])
            if self._association.dialect.commands.get(opcode) is Command.DISCONNECT:
                return False
        return True

    def _answer(self, head: bytes, in_flight: int) -> bytes:
        depth = self._association.depth(None)
        if depth is not None and in_flight > depth:
            return refuse(self._association, head, Reason.TOO_MANY_COMMANDS)
        return execute(self._association, head)
