# SPDX-License-Identifier: BSD-3-Clause
"""Each framing has its command and its parser."""

from __future__ import annotations

import struct

from vof.wire.dialect import Framing
from vof.wire.framing import command_parser, completion_parser, encode_request
from vof.wire.stream import CommandParser, CompletionParser, encode_vring
from vof.wire.vq import VqCommandParser, VqCompletionParser, encode_vq


def test_segments() -> None:
    assert encode_request(Framing.SEGMENTS, 3, [16, 512], [1]) == encode_vring(3, [16, 512], [1])
    assert completion_parser(Framing.SEGMENTS) is CompletionParser
    assert command_parser(Framing.SEGMENTS) is CommandParser


def test_lengths() -> None:
    assert encode_request(Framing.LENGTHS, 3, [16, 512], [1]) == encode_vq(3, [16, 512], [1])
    assert completion_parser(Framing.LENGTHS) is VqCompletionParser
    assert command_parser(Framing.LENGTHS) is VqCommandParser


def test_only_the_opcode_and_the_id_are_at_the_same_place() -> None:
    heads = {framing: encode_request(framing, 3, [16, 512], [1])[:16] for framing in Framing}
    assert [struct.unpack_from("<HH", head) for head in heads.values()] == [
        (0x2000, 3),
        (0x0FFF, 3),
    ]
    assert heads[Framing.SEGMENTS][4:] != heads[Framing.LENGTHS][4:]
