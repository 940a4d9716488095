# SPDX-License-Identifier: BSD-3-Clause
"""How a virtqueue's buffers travel on a stream: the one thing in which the dialects' framing
differs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

from vof.wire.stream import CommandParser, CompletionParser, encode_vring
from vof.wire.vq import VqCommandParser, VqCompletionParser, encode_vq


class Framing(Enum):
    """What carries a virtqueue's request."""

    SEGMENTS = "segments"
    """*proposal* and *v2*: the vring command, with a descriptor for each segment."""
    LENGTHS = "lengths"
    """*v5*: the vq command, with a length for each direction."""

    def encode(self, command_id: int, readable: Sequence[int], writable: Sequence[int]) -> bytes:
        """Return a request's command; ``readable`` and ``writable`` are the lengths of its buffers,
        in bytes. The device-readable bytes follow it on the stream."""
        return _ENCODERS[self](command_id, readable, writable)

    def completion_parser(self) -> type[CompletionParser]:
        """Return the parser of the completions."""
        return _COMPLETION_PARSERS[self]

    def command_parser(self) -> type[CommandParser]:
        """Return the parser of the commands."""
        return _COMMAND_PARSERS[self]


_ENCODERS: dict[Framing, Callable[[int, Sequence[int], Sequence[int]], bytes]] = {
    Framing.SEGMENTS: encode_vring,
    Framing.LENGTHS: encode_vq,
}
_COMPLETION_PARSERS = {
    Framing.SEGMENTS: CompletionParser,
    Framing.LENGTHS: VqCompletionParser,
}
_COMMAND_PARSERS: dict[Framing, type[CommandParser]] = {
    Framing.SEGMENTS: CommandParser,
    Framing.LENGTHS: VqCommandParser,
}
