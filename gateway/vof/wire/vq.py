# SPDX-License-Identifier: BSD-3-Clause
"""The ``vq`` command of *v5* on a stream: two lengths in place of segment descriptors.

The revision names the command and its opcode; its form on a stream is ours, after the eager command
of the same revision. The device-readable bytes follow the command. The completion is followed by
``length`` bytes, which fill the device-writable buffers from their start, at most all of them.

A request whose last device-writable bytes are a status has them at the end of the area whatever
else was written, so its answer is the whole area, and ``length`` cannot tell how much of it the
device wrote. ``used`` does (ours): virtio's used length, or 0 for "as much as ``length`` says".

Everything else on such a stream is as ``stream`` has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from vof.errors import RemoteProtocolError
from vof.wire.constants import LaterOpcode, Opcode
from vof.wire.layout import laid_out
from vof.wire.stream import CommandParser, CompletionParser, ReceivedCommand, StreamLimits
from vof.wire.structs import (
    COMMAND_SIZE,
    COMPLETION_SIZE,
    HEAD,
    Buffer,
    Completion,
    pack,
    unpack,
)

if TYPE_CHECKING:
    from vof.wire.dialect import Dialect

_VQ = int(LaterOpcode.VQ)


@laid_out(
    "HHIIBB2s",
    COMMAND_SIZE,
    opcode=0,
    command_id=2,
    out_length=4,
    in_length=8,
    out_descs=12,
    in_descs=13,
    padding=14,
)
class VqCommand(NamedTuple):
    """The command (ours). The numbers of keyed descriptors are 0 on a stream."""

    opcode: int
    command_id: int
    out_length: int
    in_length: int
    out_descs: int = 0
    in_descs: int = 0
    reserved: bytes = bytes(2)


@laid_out("HHII4s", COMPLETION_SIZE, status=0, command_id=2, length=4, used=8, padding=12)
class VqCompletion(NamedTuple):
    """Its completion, and that of ``vq_keyed_eager_buf``; ``used`` is ours."""

    status: int
    command_id: int
    length: int
    used: int = 0
    reserved: bytes = bytes(4)


def encode_vq(command_id: int, readable: Sequence[int], writable: Sequence[int]) -> bytes:
    """Return a vq command; ``readable`` and ``writable`` are the lengths of its buffers."""
    return pack(VqCommand(_VQ, command_id, sum(readable), sum(writable)))


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


class VqCompletionParser(CompletionParser):
    """The initiator's end. What arrives says ``value`` for the length of its data."""

    def _begin(self, part: Buffer) -> int:
        if not self._buffers:  # a control command
            return super()._begin(part)
        status, command_id, length, used, _reserved = unpack(VqCompletion, part)
        sizes = [len(buffer) for buffer in self._buffers]
        room = sum(sizes)
        if length > room:
            raise RemoteProtocolError(
                f"completion of command id {command_id} returns {length} bytes where the command "
                f"has room for {room}"
            )
        if used > length:
            raise RemoteProtocolError(
                f"completion of command id {command_id} says that {used} bytes of {length} were "
                "written"
            )
        returned = len(sizes) if length or not status else 0
        self._completion = Completion(status, command_id, returned, value=used or length)
        tail = self._tail if length == room else 0
        self._lengths = written_lengths(used or length, sizes, tail)[:returned]
        self._fill = _first_bytes(self._buffers, length)
        return 0


class VqCommandParser(CommandParser):
    """The target's end: as ``CommandParser``, with the vq command in place of the vring command."""

    def __init__(self, dialect: Dialect, limits: StreamLimits) -> None:
        super().__init__(dialect, limits)
        self._writable = 0
        self._readable = 0

    def _head(self, part: Buffer) -> int:
        opcode, command_id = HEAD.unpack_from(part)
        self._writable = 0
        if opcode == Opcode.VRING:
            raise RemoteProtocolError(f"opcode {opcode:#06x} is not one of dialect {self._dialect}")
        if opcode == LaterOpcode.VQ_KEYED_EAGER_BUF:
            raise RemoteProtocolError("a vq_keyed_eager_buf command on a stream")
        if opcode != _VQ:
            return super()._head(part)
        command = unpack(VqCommand, part)
        if command.out_descs or command.in_descs:
            raise RemoteProtocolError("a vq command on a stream has keyed descriptors")
        total = command.out_length + command.in_length
        if total > self._limits.max_transfer:
            raise RemoteProtocolError(
                f"the lengths of a command add up to {total} bytes; at most "
                f"{self._limits.max_transfer} are allowed"
            )
        self._opcode, self._command_id = opcode, command_id
        self._head_bytes = bytes(part)
        self._writable = command.in_length
        self._payload = memoryview(bytearray(command.out_length))
        self._fill = [self._payload] if command.out_length else []
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
