# SPDX-License-Identifier: BSD-3-Clause
"""How a virtqueue's buffers travel on a stream: the parsers and the encoder of each framing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vof.wire.dialect import Framing
from vof.wire.stream import CommandParser, CompletionParser, encode_vring
from vof.wire.vq import VqCommandParser, VqCompletionParser, encode_vq


def encode_request(
    framing: Framing, command_id: int, readable: Sequence[int], writable: Sequence[int]
) -> bytes:
    """Return a request's command; ``readable`` and ``writable`` are the lengths of its buffers, in
    bytes. The device-readable bytes follow it on the stream."""
    return _ENCODERS[framing](command_id, readable, writable)


def completion_parser(framing: Framing) -> type[CompletionParser]:
    """Return the parser of the completions."""
    return _COMPLETION_PARSERS[framing]


def command_parser(framing: Framing) -> type[CommandParser]:
    """Return the parser of the commands."""
    return _COMMAND_PARSERS[framing]


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
