# SPDX-License-Identifier: BSD-3-Clause
"""The parsers and the encoder of each framing: how a virtqueue's buffers travel on a stream."""

from __future__ import annotations

from collections.abc import Sequence

from vof.wire.dialect import Framing
from vof.wire.stream import CommandParser, CompletionParser, encode_vring
from vof.wire.vq import VqCommandParser, VqCompletionParser, encode_vq


def encode_request(
    framing: Framing, command_id: int, readable: Sequence[int], writable: Sequence[int]
) -> bytes:
    """Return a request's command; ``readable`` and ``writable`` are the lengths of its buffers, in
    bytes. The device-readable bytes follow it on the stream."""
    if framing.has_descriptors:
        return encode_vring(framing, command_id, readable, writable)
    return encode_vq(command_id, readable, writable)


def room_of(framing: Framing, descriptors: int) -> int:
    """Return how much of a virtqueue's size a request takes that has ``descriptors``: in *v5* the
    size counts commands."""
    return descriptors if framing.has_descriptors else 1


def completion_parser(framing: Framing) -> type[CompletionParser]:
    """Return the parser of the completions."""
    return CompletionParser if framing.has_descriptors else VqCompletionParser


def command_parser(framing: Framing) -> type[CommandParser]:
    """Return the parser of the commands."""
    return CommandParser if framing.has_descriptors else VqCommandParser
