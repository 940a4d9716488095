# SPDX-License-Identifier: BSD-3-Clause
"""Framing of *v5* on a stream: the ``vq`` command, two lengths in place of segment descriptors.

The device-readable bytes follow the command. The completion is followed by ``length`` bytes, which
fill the device-writable buffers from their start, at most all of them (*v5* "Stream Transmission").

A request whose last device-writable byte is a status has that at the end of the area whatever else
was written, so its answer is the whole area (ours; the text says nothing of it). How much of it the
device wrote then says ``in_length`` of the completion (ours; the text leaves it open): the
command's, less the gap that lies before the status.

A command that nobody knows is its 16 bytes, and refused with a status of its own. Everything else
on such a stream is as ``stream`` has it.
"""

from __future__ import annotations

from collections.abc import Sequence

from vof.errors import RemoteProtocolError
from vof.wire.constants import Command
from vof.wire.dialect import V5, Dialect
from vof.wire.stream import CommandParser, CompletionParser, ReceivedCommand, StreamLimits
from vof.wire.structs import Buffer, Completion, unpack
from vof.wire.v5 import VqCommand, VqCompletion


def encode_vq(command_id: int, readable: Sequence[int], writable: Sequence[int]) -> bytes:
    """Return a vq command; ``readable`` and ``writable`` are the lengths of its buffers."""
    return V5.encode(Command.VQ, command_id, out_length=sum(readable), in_length=sum(writable))


def written_lengths(used: int, sizes: Sequence[int], tail: int) -> list[int]:
    """Return the bytes written into each device-writable buffer, where virtio's used length says
    ``used`` of them altogether.

    ``sizes`` are theirs. They are filled from the start, but for the last ``tail`` bytes, which
    every answer that has any has at the end.
    """
    tail = min(tail, used)
    left = used - tail
    body = sum(sizes) - tail
    lengths = []
    for size in sizes:
        room = min(size, body)  # of this buffer, before the tail
        part = min(left, room)
        left -= part
        body -= room
        # A buffer that has a part of the tail has come whole.
        lengths.append(part if room == size else size)
    return lengths


def used_length(length: int, in_length: int, room: int, tail: int) -> int:
    """Return how many bytes the device wrote, where a completion says ``length`` and ``in_length``
    of a command with ``room`` for answers that end with ``tail`` bytes.

    An area that came back whole may have a gap before its tail; then ``in_length`` is what was
    written.
    """
    gap = 0 < tail <= in_length < room == length
    return in_length if gap else length


class VqCompletionParser(CompletionParser):
    """The initiator's end. What arrives says ``value`` for how much the device wrote."""

    def _begin(self, part: Buffer) -> int:
        if not self._buffers:  # a control command: nothing follows
            return 0
        status, command_id, _reserved, length, in_length = unpack(VqCompletion, part)
        sizes = [len(buffer) for buffer in self._buffers]
        room = sum(sizes)
        if length > room:
            raise RemoteProtocolError(
                f"completion of command id {command_id} returns {length} bytes where the command "
                f"has room for {room}"
            )
        returned = len(sizes) if length or not status else 0
        used = used_length(length, in_length, room, self._tail)
        tail = self._tail if length == room else 0
        self._completion = Completion(status, command_id, returned, value=used)
        self._lengths = written_lengths(used, sizes, tail)[:returned]
        self._fill = _first_bytes(self._buffers, length)
        return 0


class VqCommandParser(CommandParser):
    """The target's end: as ``CommandParser``, with the vq command in place of the vring command."""

    def __init__(self, dialect: Dialect, limits: StreamLimits) -> None:
        super().__init__(dialect, limits)
        self._writable = 0

    def _unknown(self) -> int:
        self._writable = 0
        return 0

    def _body(self, command: Command, part: Buffer) -> int:
        self._writable = 0
        if command is not Command.VQ:
            return 0
        vq = unpack(VqCommand, part)
        total = vq.out_length + vq.in_length
        if total > self._limits.max_transfer:
            raise RemoteProtocolError(
                f"the lengths of a command add up to {total} bytes; at most "
                f"{self._limits.max_transfer} are allowed"
            )
        self._writable = vq.in_length
        self._payload = memoryview(bytearray(vq.out_length))
        self._fill = [self._payload] if vq.out_length else []
        return 0

    def _finish(self) -> ReceivedCommand:
        return super()._finish()._replace(in_length=self._writable)


def _first_bytes(buffers: Sequence[memoryview], count: int) -> list[memoryview]:
    """Return what the first ``count`` bytes of the buffers are."""
    parts = []
    for buffer in buffers:
        if not count:
            break
        parts.append(buffer[:count])
        count -= len(parts[-1])
    return parts
