# SPDX-License-Identifier: BSD-3-Clause
"""Messages as a target takes them: what an initiator encodes is read, and everything else is a
violation."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.protocol_numbers import OPCODES
from vof.errors import RemoteProtocolError
from vof.wire.constants import Command
from vof.wire.dialect import DIALECTS, PROPOSAL, V2, V5, Dialect
from vof.wire.keyed import (
    decode_completion,
    encode_eager,
    encode_get_keyed_eager_buf,
    encode_keyed_vq,
    encode_keyed_vring,
)
from vof.wire.keyed_commands import (
    KeyedCommand,
    KeyedLimits,
    decode_keyed,
    encode_keyed_completion,
)
from vof.wire.v5 import KeyedDescriptor, VqKeyedEagerBufCommand

LIMITS = KeyedLimits(max_ndesc=8, max_descs=4, max_transfer=1 << 20)

ONE = KeyedDescriptor(0x1000, 16, 1)

Buffers = Sequence[KeyedDescriptor]

each_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda item: item.name)


def buffers(most: int, longest: int = 1 << 17) -> st.SearchStrategy[list[KeyedDescriptor]]:
    return st.lists(
        st.builds(
            KeyedDescriptor,
            addr=st.integers(0, (1 << 64) - (1 << 17)),
            length=st.integers(1, longest),
            key=st.integers(0, (1 << 32) - 1),
        ),
        max_size=most,
    )


def request(dialect: Dialect, readable: Buffers, writable: Buffers, command_id: int = 0) -> bytes:
    if dialect is V5:
        out_length = sum(item.length for item in readable)
        return encode_keyed_vq(command_id, out_length, [*readable, *writable])
    return encode_keyed_vring(dialect.framing, command_id, readable, writable)


def keyed(*items: KeyedDescriptor) -> bytes:
    return b"".join(struct.pack("<QII", *item) for item in items)


def control(opcode: int) -> bytes:
    return struct.pack("<HH12x", opcode, 3)


@pytest.mark.clause("v2 Keyed Transmission 1", "target")
@pytest.mark.clause("v5 Keyed Transmission 1", "target")
@pytest.mark.clause("v5 Keyed Transmission 2", "target")
@pytest.mark.clause("v5 Keyed Transmission 5", "target")
@each_dialect
@given(data=st.data(), command_id=st.integers(0, 0xFFFF))
def test_a_request_comes_as_it_was_encoded(
    dialect: Dialect, data: st.DataObject, command_id: int
) -> None:
    most = 2 if dialect is V5 else 4
    readable, writable = data.draw(buffers(most)), data.draw(buffers(most))
    if not readable and not writable:
        readable = [ONE]
    message = request(dialect, readable, writable, command_id)
    assert len(message) <= LIMITS.message_size
    found = decode_keyed(message, dialect, LIMITS)
    assert found.command is (Command.VQ if dialect is V5 else Command.VRING)
    assert (found.command_id, found.readable, found.writable) == (command_id, readable, writable)
    assert found.head == message[:16]
    assert found.out_length == sum(item.length for item in readable)
    assert found.in_length == sum(item.length for item in writable)


@given(sent=buffers(4, longest=40), data=st.data())
def test_a_descriptor_may_have_both_kinds_of_bytes(
    sent: list[KeyedDescriptor], data: st.DataObject
) -> None:
    """(ours): the readable bytes are the first ones, wherever they end."""
    out_length = data.draw(st.integers(0, sum(item.length for item in sent)))
    found = decode_keyed(encode_keyed_vq(1, out_length, sent), V5, LIMITS)
    assert places(found.readable) == places(sent)[:out_length]
    assert places(found.writable) == places(sent)[out_length:]
    assert all(item.length for item in (*found.readable, *found.writable))


def places(items: Buffers) -> list[tuple[int, int]]:
    """Return key and address of each byte."""
    return [(item.key, item.addr + place) for item in items for place in range(item.length)]


@pytest.mark.clause("v5 VQ Keyed Eager Buffers 3", "target")
@given(
    writable=buffers(4),
    offset=st.integers(0, (1 << 32) - 1),
    length=st.integers(0, 1 << 19),
    command_id=st.integers(0, 0xFFFF),
)
def test_an_eager_request_comes_as_it_was_encoded(
    writable: list[KeyedDescriptor], offset: int, length: int, command_id: int
) -> None:
    found = decode_keyed(encode_eager(command_id, offset, length, writable), V5, LIMITS)
    head: VqKeyedEagerBufCommand = V5.decode(Command.VQ_KEYED_EAGER_BUF, found.head)
    assert (head.out_offset, head.out_length) == (offset, length)
    assert (found.command_id, found.readable, found.writable) == (command_id, (), writable)


def test_get_keyed_eager_buf() -> None:
    body = KeyedDescriptor(0x1000, 64, 7)
    found = decode_keyed(encode_get_keyed_eager_buf(2, 0, 4, body), V5, LIMITS)
    assert found.command is Command.GET_KEYED_EAGER_BUF
    assert (found.readable, found.writable) == ((), [body])


@each_dialect
def test_control_commands(dialect: Dialect) -> None:
    carrying = {"connect", "vring", "vq", "vq_keyed_eager_buf", "get_keyed_eager_buf"}
    for name, opcode in OPCODES[dialect.name].items():
        if name in carrying:
            continue
        head = control(opcode)
        found = decode_keyed(head, dialect, LIMITS)
        assert found == KeyedCommand(opcode, Command(name), 3, head)


@pytest.mark.parametrize("opcode", [0x0003, 0x0101, 0x1002, 0x2000, 0xFFFF])
@pytest.mark.parametrize("rest", [b"", bytes(1), bytes(999)])
def test_an_opcode_that_v5_does_not_have(opcode: int, rest: bytes) -> None:
    """There is a status for it, whatever follows the command."""
    found = decode_keyed(control(opcode) + rest, V5, LIMITS)
    assert (found.opcode, found.command, found.command_id) == (opcode, None, 3)
    assert (found.readable, found.writable) == ((), ())


def violates(message: bytes, text: str, dialect: Dialect = V5) -> None:
    with pytest.raises(RemoteProtocolError, match=text):
        decode_keyed(message, dialect, LIMITS)


@pytest.mark.parametrize(
    ("dialect", "opcode"),
    [(PROPOSAL, 5), (PROPOSAL, 0x0FFF), (V2, 5), (V2, 0x0100), (V2, 0x1009), (V2, 0x2000)],
)
def test_a_command_of_another_dialect(dialect: Dialect, opcode: int) -> None:
    said = f"opcode {opcode:#06x} is not one of dialect {dialect.name}"
    violates(control(opcode), said, dialect)


@each_dialect
def test_a_second_connect(dialect: Dialect) -> None:
    violates(bytes(16), "a second Connect on one connection", dialect)


@pytest.mark.parametrize("size", [0, 1, 15])
def test_shorter_than_any_command(size: int) -> None:
    violates(bytes(size), f"a command of {size} bytes")


@pytest.mark.parametrize("change", [-24, -1, 1, 16, 24])
def test_not_of_the_size_that_the_command_says(change: int) -> None:
    def changed(message: bytes) -> bytes:
        return message[:change] if change < 0 else message + bytes(change)

    for dialect in (PROPOSAL, V2):
        violates(changed(request(dialect, [ONE], [ONE])), "bytes instead of 64", dialect)
    if change != -24:
        message = encode_get_keyed_eager_buf(0, 0, 1, ONE)
        violates(changed(message), f"has {32 + change} bytes instead of 32")
    if change > 0:
        violates(changed(control(0x1004)), f"has {change} bytes too many")


@pytest.mark.parametrize("odd", [1, 8, 15])
def test_a_part_of_a_keyed_descriptor(odd: int) -> None:
    violates(request(V5, [ONE], [ONE]) + bytes(odd), f"vq command is followed by {32 + odd} bytes")
    violates(encode_eager(0, 0, 4, [ONE])[:-odd], f"buf command is followed by {16 - odd} bytes")


@pytest.mark.parametrize("ndesc", [0, 9, 0xFFFF])
@pytest.mark.parametrize("dialect", [PROPOSAL, V2], ids=lambda item: item.name)
def test_number_of_segment_descriptors(dialect: Dialect, ndesc: int) -> None:
    head = struct.pack("<HHIH6x", OPCODES[dialect.name]["vring"], 0, 0, ndesc)
    violates(head + bytes(24 * min(ndesc, 9)), f"has {ndesc} descriptors; 1 to 8", dialect)


@pytest.mark.clause("v5 Keyed Transmission 3", "target")
@pytest.mark.clause("v5 Keyed Transmission 4", "target")
def test_number_of_keyed_descriptors() -> None:
    """Those of both directions together."""
    violates(request(V5, [ONE] * 2, [ONE] * 3), "vq command is followed by 80 bytes; at most 4")
    violates(encode_eager(0, 0, 4, [ONE] * 5), "buf command is followed by 80 bytes; at most 4")
    violates(encode_get_keyed_eager_buf(0, 0, 1, ONE) + keyed(ONE), "has 48 bytes instead of 32")


@pytest.mark.parametrize(
    ("buffer", "text"),
    [
        (ONE._replace(length=0), "length zero"),
        (ONE._replace(addr=(1 << 64) - 8), "beyond the last address"),
        (ONE._replace(length=(1 << 20) + 1), "add up to 1048577 bytes; at most 1048576"),
    ],
)
def test_buffers(buffer: KeyedDescriptor, text: str) -> None:
    for dialect in DIALECTS:
        violates(request(dialect, [], [buffer]), text, dialect)
    violates(encode_eager(0, 0, 0, [buffer]), text)


def test_an_eager_request_s_bytes_count_too() -> None:
    violates(encode_eager(0, 0, (1 << 20) - 15, [ONE]), "add up to 1048577 bytes")


@pytest.mark.parametrize(
    ("out_length", "in_length", "said"),
    [(17, 0, 17), (0, 15, 15), (8, 9, 17), (0xFFFFFFFF, 17, 0x1_0000_0010), (0, 0, 0)],
)
def test_lengths_that_are_not_those_of_the_descriptors(
    out_length: int, in_length: int, said: int
) -> None:
    head = struct.pack("<HHIII", 0x0FFF, 0, 0, out_length, in_length)
    violates(head + keyed(ONE), f"vq command says {said} bytes; its descriptors have 16")


def test_an_eager_request_s_descriptors_are_of_what_is_written() -> None:
    head = struct.pack("<HHIII", 0x0FFE, 0, 0, 4, 12)
    violates(head + keyed(ONE), "buf command says 12 bytes; its descriptors have 16")


def segments(dialect: Dialect, *fields: tuple[int, int]) -> bytes:
    """Return a vring command with descriptors (id, flags)."""
    head = struct.pack("<HHIH6x", OPCODES[dialect.name]["vring"], 0, 0, len(fields))
    return head + b"".join(struct.pack("<QIHHI4x", 0x1000, 1, *each, 0) for each in fields)


def test_an_id_twice() -> None:
    for dialect in (PROPOSAL, V2):
        violates(segments(dialect, (3, 1), (3, 3)), "used twice", dialect)


@pytest.mark.clause("v2 Keyed Transmission 2", "target")
@pytest.mark.parametrize("flags", [(0, 3), (1, 2), (0, 0)])
def test_a_descriptor_of_v2_that_is_not_keyed(flags: tuple[int, int]) -> None:
    """Its bytes would be in the message; the target says a stream size of 0."""
    violates(segments(V2, (0, flags[0]), (1, flags[1])), "a descriptor is not keyed", V2)
    found = decode_keyed(segments(PROPOSAL, (0, flags[0]), (1, flags[1])), PROPOSAL, LIMITS)
    assert len(found.readable) + len(found.writable) == 2


HEADS = [
    struct.pack("<HH", opcode, 1) for opcodes in OPCODES.values() for opcode in opcodes.values()
]


@given(
    head=st.sampled_from(HEADS) | st.binary(min_size=4, max_size=4), rest=st.binary(max_size=200)
)
def test_anything(head: bytes, rest: bytes) -> None:
    for dialect in DIALECTS:
        try:
            found = decode_keyed(head + rest, dialect, LIMITS)
        except RemoteProtocolError:
            continue
        if found.command is not Command.GET_KEYED_EAGER_BUF:
            assert found.out_length + found.in_length <= LIMITS.max_transfer


# Completions.

WRITABLE = [ONE._replace(length=512), ONE._replace(length=1)]

ANSWERS = [
    # message, used, length, and the bytes of the answer without a status and with one
    (
        (PROPOSAL, request(PROPOSAL, [ONE], WRITABLE, 5)),
        "00 00  05 00  02 00  00 00  65 00 00 00 00 00 00 00",
        "16 00  05 00  00 00  00 00  00 00 00 00 00 00 00 00",
    ),
    (
        (V2, request(V2, [ONE], WRITABLE, 5)),
        "00 00  05 00  02 00  00 00  65 00 00 00 00 00 00 00",
        "16 00  05 00  00 00  00 00  00 00 00 00 00 00 00 00",
    ),
    (
        (V5, request(V5, [ONE], WRITABLE, 5)),
        "00 00  05 00  00 00 00 00  01 02 00 00  65 00 00 00",
        "16 00  05 00  00 00 00 00  00 00 00 00  01 02 00 00",
    ),
    (
        (V5, encode_eager(5, 64, 16, WRITABLE)),
        "00 00  05 00  01 02 00 00  00 00 00 00 00 00 00 00",
        "16 00  05 00  00 00 00 00  00 00 00 00 00 00 00 00",
    ),
]


@pytest.mark.clause("proposal:296-307", "target")
@pytest.mark.clause("v5 VQ Keyed Eager Buffers 4", "target")
@pytest.mark.parametrize(("asked", "done", "refused"), ANSWERS, ids=lambda item: str(item)[:30])
def test_a_completion(asked: tuple[Dialect, bytes], done: str, refused: str) -> None:
    """Virtio's used length in the earlier dialects; in v5 how far the area was filled, and beside
    it the used length, for which there is no place where the command was eager. A refused one says
    that nothing was written."""
    dialect, message = asked
    command = decode_keyed(message, dialect, LIMITS)
    answer = encode_keyed_completion(dialect, command, 0, 101, 513)
    assert answer == bytes.fromhex(done)
    eager = command.command is Command.VQ_KEYED_EAGER_BUF
    arrival = decode_completion(dialect.framing, answer, [512, 1], 1, eager=eager)
    assert list(arrival.lengths) == ([512, 1] if eager else [100, 1])
    assert encode_keyed_completion(dialect, command, 22, 101, 513) == bytes.fromhex(refused)
