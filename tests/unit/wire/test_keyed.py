# SPDX-License-Identifier: BSD-3-Clause
"""The messages of keyed transmission that an initiator sends, and the completions that it gets."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vof.errors import RemoteProtocolError
from vof.wire.dialect import Framing
from vof.wire.keyed import (
    completion_id,
    decode_completion,
    decode_eager_buffers,
    encode_eager,
    encode_get_keyed_eager_buf,
    encode_keyed_vq,
    encode_keyed_vring,
)
from vof.wire.structs import Completion, pack
from vof.wire.v5 import KeyedDescriptor

HEADER = KeyedDescriptor(0xFFFF012345670000, 16, 0x1234)
DATA = [
    KeyedDescriptor(0xFFFF012345671000, 4096, 0x1236),
    KeyedDescriptor(0xFFFF012345673000, 4096, 0x1238),
]
STATUS = KeyedDescriptor(0xFFFF012345677000, 1, 0x1239)

KEYED_HEADER = "00 00 67 45 23 01 ff ff  10 00 00 00  34 12 00 00"
KEYED_DATA = "00 10 67 45 23 01 ff ff  00 10 00 00  36 12 00 00"
KEYED_STATUS = "00 70 67 45 23 01 ff ff  01 00 00 00  39 12 00 00"

WRITE_8K = """
    00 20  0a 00  00 00 00 00  04 00  00 00 00 00 00 00
    00 00 67 45 23 01 ff ff  10 00 00 00  00 00  01 00  34 12 00 00  00 00 00 00
    00 10 67 45 23 01 ff ff  00 10 00 00  01 00  01 00  36 12 00 00  00 00 00 00
    00 30 67 45 23 01 ff ff  00 10 00 00  02 00  01 00  38 12 00 00  00 00 00 00
    00 70 67 45 23 01 ff ff  01 00 00 00  03 00  02 00  39 12 00 00  00 00 00 00
"""
"""Example 2.1 of the proposal; our descriptor ids count from 0."""

V2_WRITE_8K = """
    ff 0f  0a 00  00 00 00 00  04 00  00 00 00 00 00 00
    00 00 67 45 23 01 ff ff  10 00 00 00  00 00  01 00  34 12 00 00  00 00 00 00
    00 10 67 45 23 01 ff ff  00 10 00 00  01 00  01 00  36 12 00 00  00 00 00 00
    00 30 67 45 23 01 ff ff  00 10 00 00  02 00  01 00  38 12 00 00  00 00 00 00
    00 70 67 45 23 01 ff ff  01 00 00 00  03 00  03 00  39 12 00 00  00 00 00 00
"""
"""v2: the first flag says that a descriptor is keyed, so the last has it as well."""


@pytest.mark.clause("proposal:232-244", "initiator")
@pytest.mark.clause("proposal:245-292", "initiator")
@pytest.mark.clause("v2 Keyed Transmission 1", "initiator")
@pytest.mark.clause("v2 Keyed Transmission 2", "initiator")
@pytest.mark.parametrize(
    ("framing", "golden"), [(Framing.CHAINS, WRITE_8K), (Framing.SEGMENTS, V2_WRITE_8K)]
)
def test_a_write_by_segment_descriptors(framing: Framing, golden: str) -> None:
    message = encode_keyed_vring(framing, 10, [HEADER, *DATA], [STATUS])
    assert message == bytes.fromhex(golden)


@pytest.mark.clause("proposal:308-312", "initiator")
@pytest.mark.parametrize(
    ("framing", "flags"), [(Framing.CHAINS, [1, 3, 3, 2]), (Framing.SEGMENTS, [1, 3, 3, 3])]
)
def test_flags_of_a_read(framing: Framing, flags: list[int]) -> None:
    """Example 2.2 of the proposal."""
    message = encode_keyed_vring(framing, 14, [HEADER], [*DATA, STATUS])
    found = [flag for _a, _l, _i, flag, _k in struct.iter_unpack("<QIHHI4x", message[16:])]
    assert found == flags


@pytest.mark.clause("v5 Keyed Transmission 1", "initiator")
@pytest.mark.clause("v5 Keyed Transmission 2", "initiator")
@pytest.mark.clause("v5 Keyed Transmission 5", "initiator")
def test_vq() -> None:
    """The readable bytes first; one descriptor may hold the end of them and the beginning of the
    others (ours)."""
    message = encode_keyed_vq(0x0201, 16, [HEADER, DATA[0], STATUS])
    head = "ff 0f  01 02  00 00 00 00  10 00 00 00  01 10 00 00"
    assert message == bytes.fromhex(head + KEYED_HEADER + KEYED_DATA + KEYED_STATUS)
    message = encode_keyed_vq(0x0201, 17, [DATA[0]])
    head = "ff 0f  01 02  00 00 00 00  11 00 00 00  ef 0f 00 00"
    assert message == bytes.fromhex(head + KEYED_DATA)


@pytest.mark.clause("v5 VQ Keyed Eager Buffers 3", "initiator")
def test_eager() -> None:
    message = encode_eager(3, 0x11223344, 4112, [DATA[0], STATUS])
    head = "fe 0f  03 00  44 33 22 11  10 10 00 00  01 10 00 00"
    assert message == bytes.fromhex(head + KEYED_DATA + KEYED_STATUS)


@pytest.mark.clause("v5 Keyed Transmission 3", "initiator")
@pytest.mark.clause("v5 Get Keyed Eager Buffers 3", "initiator")
@pytest.mark.clause("v5 Get Keyed Eager Buffers 4", "initiator")
@pytest.mark.clause("v5 Get Keyed Eager Buffers 5", "initiator")
def test_get_keyed_eager_buf() -> None:
    message = encode_get_keyed_eager_buf(2, 5, 8, HEADER)
    head = "02 01  02 00  05 00  08  00 00 00 00 00 00 00 00 00"
    assert message == bytes.fromhex(head + KEYED_HEADER)
    body = bytes.fromhex(KEYED_HEADER + KEYED_DATA + KEYED_STATUS) + bytes(5)
    assert decode_eager_buffers(body, 3) == [HEADER, DATA[0], STATUS]
    assert decode_eager_buffers(body, 0) == []


def test_a_completion_has_sixteen_bytes() -> None:
    assert completion_id(pack(Completion(0, 0xFEFF))) == 0xFEFF
    for size in (0, 15, 17, 40):
        with pytest.raises(RemoteProtocolError, match=f"a completion of {size} bytes instead of"):
            completion_id(bytes(size))


ROOM = 0x77777777
"""in_length of a vq completion, which repeats the command's and is not looked at."""


def answer(form: str, status: int, written: int, upper: int = 0) -> bytes:
    """Return a completion of command 9 that says how much was written."""
    if form == "vq":
        return struct.pack("<HH4sII", status, 9, b"\xee" * 4, written, ROOM)
    if form == "eager":
        return struct.pack("<HHI8s", status, 9, written, b"\xee" * 8)
    return struct.pack("<HHHHQ", status, 9, 0xEEEE, 0xEEEE, written | upper)


FORMS = {
    "chains": Framing.CHAINS,
    "segments": Framing.SEGMENTS,
    "vq": Framing.LENGTHS,
    "eager": Framing.LENGTHS,
}

each_form = pytest.mark.parametrize("form", FORMS)


@pytest.mark.clause("proposal:296-307", "initiator")
@pytest.mark.clause("v5 VQ Keyed Eager Buffers 4", "initiator")
@each_form
@pytest.mark.parametrize(
    ("written", "sizes", "lengths"),
    [
        (4097, [4096, 1], [4096, 1]),
        (7, [64], [7]),
        (0, [64, 1], [0, 0]),
        (3, [2, 2, 2], [2, 1, 0]),
    ],
)
def test_what_was_written(form: str, written: int, sizes: list[int], lengths: list[int]) -> None:
    message = answer(form, 0, written)
    arrival = decode_completion(FORMS[form], message, sizes, 0, eager=form == "eager")
    assert arrival.lengths == lengths
    assert arrival.completion[:3] == (0, 9, len(sizes))
    assert arrival.completion.value == written


@pytest.mark.parametrize(
    ("written", "sizes", "tail", "counted", "filled"),
    [
        (1, [4096, 1], 1, [0, 1], [1, 0]),  # an error: nothing but the status
        (21, [127, 1], 1, [20, 1], [21, 0]),
        (5, [8], 1, [8], [5]),  # data and status in one buffer: it comes whole
        (3, [4, 2], 3, [4, 2], [3, 0]),
    ],
)
def test_an_end_that_every_answer_has(
    written: int, sizes: list[int], tail: int, counted: list[int], filled: list[int]
) -> None:
    """Matters where a count tells how much was written; in v5 it tells how far."""
    for form, framing in FORMS.items():
        message = answer(form, 0, written)
        arrival = decode_completion(framing, message, sizes, tail, eager=form == "eager")
        assert arrival.lengths == (counted if framing.has_descriptors else filled)


@each_form
def test_a_refusal_has_no_buffers(form: str) -> None:
    message = answer(form, 0x20F1, 0)
    arrival = decode_completion(FORMS[form], message, [4, 1], 1, eager=form == "eager")
    assert (arrival.completion, arrival.lengths) == (Completion(0x20F1, 9), ())


@each_form
@pytest.mark.parametrize("status", [0, 22])
def test_more_than_there_is_room_for(form: str, status: int) -> None:
    for written in (6, 0xFFFFFFFF):
        with pytest.raises(RemoteProtocolError, match=rf"returns {written} .* has room for 5"):
            decode_completion(
                FORMS[form], answer(form, status, written), [4, 1], 1, eager=form == "eager"
            )


def test_the_value_of_a_vring_is_a_le32() -> None:
    message = answer("chains", 0, 5, upper=0xEEEEEEEE << 32)
    assert decode_completion(Framing.CHAINS, message, [4, 1], 1).lengths == [4, 1]


@pytest.mark.parametrize("framing", Framing)
def test_a_control_command_s_completion(framing: Framing) -> None:
    arrival = decode_completion(framing, pack(Completion(0, 1, value=1 << 63)), (), 0)
    assert arrival.completion.value == 1 << 63


@given(
    form=st.sampled_from(sorted(FORMS)),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    tail=st.integers(0, 16),
    data=st.data(),
)
def test_written_bytes_are_accounted_for(
    form: str, sizes: list[int], tail: int, data: st.DataObject
) -> None:
    """Against a map of bytes: the first ones, and the last ones where they are counted."""
    framing = FORMS[form]
    room = sum(sizes)
    tail = min(tail, room) if framing.has_descriptors else 0
    written = data.draw(st.integers(tail, room))
    arrival = decode_completion(
        framing, answer(form, 0, written), sizes, tail, eager=form == "eager"
    )
    place = 0
    for size, length in zip(sizes, arrival.lengths, strict=True):
        first = max(0, min(size, written - tail - place))
        reaches_tail = place + size > room - tail
        assert length == (size if reaches_tail else first)
        place += size
