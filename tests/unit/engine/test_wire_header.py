# SPDX-License-Identifier: BSD-3-Clause
"""The numbers of gateway/native/wire.h are those of vof.wire."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vof.wire import blk, constants, structs
from vof.wire.constants import Command
from vof.wire.dialect import PROPOSAL, V2, V5
from vof.wire.status import Reason

HEADER = Path(__file__).resolve().parents[3] / "gateway/native/wire.h"

EXPECTED = {
    "VOF_COMMAND_SIZE": structs.COMMAND_SIZE,
    "VOF_COMPLETION_SIZE": structs.COMPLETION_SIZE,
    "VOF_DESCRIPTOR_SIZE": structs.DESCRIPTOR_SIZE,
    "VOF_BLK_HEADER_SIZE": blk.REQUEST_HEADER.size,
    "VOF_BLK_SEGMENT_SIZE": blk.DISCARD_SEGMENT.size,
    "VOF_CONNECT_BODY_SIZE": structs.CONNECT_BODY_SIZE,
    "VOF_SECTOR_SHIFT": blk.SECTOR_SHIFT,
    "VOF_OP_CONNECT": V5.forms[Command.CONNECT].opcode,
    "VOF_OP_VQ": V5.forms[Command.VQ].opcode,
    "VOF_OP_VRING_V2": V2.forms[Command.VRING].opcode,
    "VOF_OP_VRING": PROPOSAL.forms[Command.VRING].opcode,
    "VOF_STATUS_TOO_MANY": Reason.TOO_MANY_COMMANDS.number,
    "VOF_FIRST_RESERVED_COMMAND_ID": constants.FIRST_RESERVED_COMMAND_ID,
    **{f"VOF_EVENT_{event.name}": event for event in constants.AsyncEvent},
    "VOF_DESC_NEXT": constants.DescriptorFlag.NEXT,
    "VOF_DESC_KEYED": constants.DescriptorFlag.KEYED,
    "VOF_DESC_WRITE": constants.DescriptorFlag.WRITE,
    **{f"VOF_BLK_{kind.name}": kind for kind in blk.RequestType},
    **{f"VOF_BLK_S_{status.name}": status for status in blk.Status},
    "VOF_BLK_SEGMENT_UNMAP": blk.SEGMENT_FLAG_UNMAP,
    "VOF_BLK_ID_SIZE": blk.GET_ID_SIZE,
    "VOF_BLK_F_FLUSH": blk.Feature.FLUSH,
    "VOF_BLK_F_DISCARD": blk.Feature.DISCARD,
    "VOF_BLK_F_WRITE_ZEROES": blk.Feature.WRITE_ZEROES,
}


def numbers() -> dict[str, int]:
    """Return every number the header gives a name."""
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(encoding="utf-8"), flags=re.S)
    found = {}
    for name, value in re.findall(r"\b(VOF_\w+) = (0x[0-9a-f]+|\d+)\s*[,}]", text):
        found[name] = int(value, 0)
    for name, value in re.findall(r"#define (VOF_\w+) (0x[0-9a-f]+|\d+)\n", text):
        found[name] = int(value, 0)
    for name, bit in re.findall(r"#define (VOF_\w+) \(UINT64_C\(1\) << (\d+)\)", text):
        found[name] = 1 << int(bit)
    return found


@pytest.mark.parametrize("name", sorted(EXPECTED.keys() & numbers().keys()))
def test_number(name: str) -> None:
    assert numbers()[name] == EXPECTED[name]


def test_no_number_is_left_out() -> None:
    # A sum of others.
    assert numbers().keys() - {"VOF_SECTOR_SIZE"} <= EXPECTED.keys()
    assert len(numbers()) > 20
