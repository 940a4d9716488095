# SPDX-License-Identifier: BSD-3-Clause
"""The ``vq`` command of *v5* on a stream: two lengths in place of segment descriptors.

The revision names the command and its opcode; its form on a stream is ours, after the eager command
of the same revision. The device-readable bytes follow the command. The completion is followed by
``length`` bytes, which fill the device-writable buffers from their start, at most all of them.

Everything else on such a stream is as ``stream`` has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vof.errors import RemoteProtocolError
from vof.wire.layout import laid_out
from vof.wire.stream import CompletionParser
from vof.wire.structs import COMMAND_SIZE, COMPLETION_SIZE, Buffer, Completion, pack, unpack

OPCODE_VQ = 0x0FFF


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


@laid_out("HHI8s", COMPLETION_SIZE, status=0, command_id=2, length=4, padding=8)
class VqCompletion(NamedTuple):
    """Its completion (ours)."""

    status: int
    command_id: int
    length: int
    reserved: bytes = bytes(8)


def encode_vq(command_id: int, readable: Sequence[int], writable: Sequence[int]) -> bytes:
    """Return a vq command; ``readable`` and ``writable`` are the lengths of its buffers."""
    return pack(VqCommand(OPCODE_VQ, command_id, sum(readable), sum(writable)))


class VqCompletionParser(CompletionParser):
    """The initiator's end. What arrives says ``value`` for the length of its data."""

    def _begin(self, part: Buffer) -> int:
        if not self._buffers:  # a control command
            return super()._begin(part)
        status, command_id, length, _reserved = unpack(VqCompletion, part)
        left = length
        lengths = []
        for buffer in self._buffers:
            lengths.append(min(left, len(buffer)))
            left -= lengths[-1]
        if left:
            raise RemoteProtocolError(
                f"completion of command id {command_id} returns {length} bytes where the command "
                f"has room for {length - left}"
            )
        returned = len(lengths) if length or not status else 0
        self._completion = Completion(status, command_id, returned, value=length)
        self._lengths = lengths[:returned]
        self._fill = [
            buffer[:part] for buffer, part in zip(self._buffers, lengths, strict=True) if part
        ]
        return 0
