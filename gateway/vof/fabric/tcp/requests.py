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
from vof.wire.connect import Connect, Names, encode_body, encode_connect, encode_stream_rest
from vof.wire.constants import Transport
from vof.wire.dialect import Framing
from vof.wire.framing import encode_request, room_of
from vof.wire.structs import Buffer


class StreamQueue(Queue, Protocol):
    """A queue over a stream."""

    @property
    def framing(self) -> Framing:
        """The framing in which a virtqueue's requests travel here."""


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
    room = room_of(queue.framing, len(readable) + len(writable))
    command_id = queue.take_id(room, wait=wait)
    if command_id is None:
        return None
    lengths = [len(buffer) for buffer in writable]
    command = encode_request(queue.framing, command_id, readable, lengths)
    pending = Pending(what, command_id, [command, *payload], len(readable), writable, tail)
    pending.data_bytes = data_bytes(readable, lengths, tail)
    return pending


def prepare_connect(what: str, connect: Connect, names: Names) -> Pending:
    """See ``interface.Queue.prepare_connect``."""
    head = encode_connect(connect, Transport.TCP)
    rest = encode_stream_rest(connect, encode_body(names))
    return Pending(what, connect.command_id, [head, rest])


def release(queue: StreamQueue, pending: Pending) -> None:
    """See ``interface.Queue.release``."""
    room = room_of(queue.framing, pending.first_id + len(pending.buffers))
    queue.give_back_id(pending.command_id, room)
