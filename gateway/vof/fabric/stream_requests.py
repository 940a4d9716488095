# SPDX-License-Identifier: BSD-3-Clause
"""The form of requests on a stream, for every queue that has one.

A command and its device-readable bytes are sent as they lie in the caller's memory, and nothing is
taken up for them but a command id and its room.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from vof.fabric.interface import Queue
from vof.fabric.pending import Pending, data_bytes
from vof.wire.dialect import Framing
from vof.wire.framing import encode_request
from vof.wire.stream import encode_connect
from vof.wire.structs import Buffer, ConnectBody, ConnectCommand


class StreamQueue(Queue, Protocol):
    """A queue over a stream."""

    @property
    def framing(self) -> Framing:
        """How a virtqueue's requests travel here."""

    def take_id(self, descriptors: int, *, wait: bool) -> int | None:
        """Take room for ``descriptors``, at most the size; return the lowest free command id.

        Without room: waits, or returns None if ``wait`` is false.
        """

    def give_back_id(self, command_id: int, descriptors: int) -> None:
        """Give back what ``take_id`` gave, once the command is done."""


def prepare(
    queue: StreamQueue,
    what: str,
    readable: Sequence[int],
    payload: Sequence[Buffer],
    writable: Sequence[memoryview],
    tail: int,
    *,
    wait: bool,
) -> Pending | None:
    """See ``interface.Queue.prepare``."""
    command_id = queue.take_id(len(readable) + len(writable), wait=wait)
    if command_id is None:
        return None
    lengths = [len(buffer) for buffer in writable]
    command = encode_request(queue.framing, command_id, readable, lengths)
    pending = Pending(what, command_id, [command, *payload], len(readable), writable, tail)
    pending.data_bytes = data_bytes(readable, lengths, tail)
    return pending


def prepare_connect(what: str, command: ConnectCommand, body: ConnectBody) -> Pending:
    """See ``interface.Queue.prepare_connect``."""
    return Pending(what, command.command_id, [encode_connect(command, body)])


def release(queue: StreamQueue, pending: Pending) -> None:
    """See ``interface.Queue.release``."""
    queue.give_back_id(pending.command_id, pending.first_id + len(pending.buffers))
