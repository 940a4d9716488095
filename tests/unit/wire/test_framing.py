# SPDX-License-Identifier: BSD-3-Clause
"""Each framing has its command, its parsers and its way to count."""

from __future__ import annotations

import pytest

from vof.wire.dialect import Framing
from vof.wire.framing import command_parser, completion_parser, encode_request, room_of
from vof.wire.stream import CommandParser, CompletionParser
from vof.wire.vq import VqCommandParser, VqCompletionParser


@pytest.mark.parametrize(
    ("framing", "head", "size"),
    [
        (Framing.CHAINS, "00 20  03 00  10 02 00 00  03 00  00 00 00 00 00 00", 16 + 3 * 24),
        (Framing.SEGMENTS, "ff 0f  03 00  10 02 00 00  03 00  00 00 00 00 00 00", 16 + 3 * 24),
        (Framing.LENGTHS, "ff 0f  03 00  00 00 00 00  10 02 00 00  01 00 00 00", 16),
    ],
)
def test_a_request(framing: Framing, head: str, size: int) -> None:
    command = encode_request(framing, 3, [16, 512], [1])
    assert (command[:16], len(command)) == (bytes.fromhex(head), size)


def test_room() -> None:
    """v5's queue sizes count commands, the earlier ones' descriptors."""
    assert [room_of(framing, 7) for framing in Framing] == [7, 7, 1]


def test_parsers() -> None:
    segments, lengths = (CompletionParser, CommandParser), (VqCompletionParser, VqCommandParser)
    found = [(completion_parser(framing), command_parser(framing)) for framing in Framing]
    assert found == [segments, segments, lengths]
