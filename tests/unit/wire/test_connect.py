# SPDX-License-Identifier: BSD-3-Clause
"""The Connect of each revision, and how its first 16 bytes say which that is."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vof.errors import RemoteProtocolError
from vof.wire.connect import (
    Connect,
    ForeignConnect,
    Names,
    decode_body,
    decode_connect,
    decode_keyed_rest,
    decode_stream_rest,
    encode_body,
    encode_connect,
    encode_keyed_rest,
    encode_stream_rest,
    stream_rest,
)
from vof.wire.constants import Transport
from vof.wire.dialect import DIALECTS, PROPOSAL, V2, V5, Dialect
from vof.wire.v5 import KeyedDescriptor

TCP, RDMA = Transport.TCP, Transport.RDMA

CONTROL, QUEUE = (0xFFFF, 0), (0x0403, 0x0605)

NAMES = Names("the initiator", "a/device")
BODY = b"the initiator".ljust(256, b"\0") + b"a/device".ljust(256, b"\0") + bytes(512)
REMOTE = KeyedDescriptor(0x1122334455667788, 1024, 0x99AABBCC)

STREAM_SEGMENT = "00 00 00 00 00 00 00 00  00 04 00 00  00 00  00 00  00 00 00 00  00 00 00 00"
REMOTE_SEGMENT = "88 77 66 55 44 33 22 11  00 04 00 00  00 00  00 00  cc bb aa 99  00 00 00 00"
KEYED_SEGMENT = "88 77 66 55 44 33 22 11  00 04 00 00  00 00  01 00  cc bb aa 99  00 00 00 00"
REMOTE_KEYED = "88 77 66 55 44 33 22 11  00 04 00 00  cc bb aa 99"

GOLDEN = [
    # The 16 bytes, and what follows them.
    (TCP, Connect(PROPOSAL, 7, *CONTROL), "0000 0700 ffff 0000 0100 00 0000000000", STREAM_SEGMENT),
    (TCP, Connect(PROPOSAL, 7, *QUEUE), "0000 0700 0304 0506 0100 00 0000000000", STREAM_SEGMENT),
    (RDMA, Connect(PROPOSAL, 7, *QUEUE), "0000 0700 0304 0506 0100 01 0000000000", REMOTE_SEGMENT),
    (TCP, Connect(V2, 7, *QUEUE), "0000 0700 0304 0506 0100 01 0000000000", STREAM_SEGMENT),
    (RDMA, Connect(V2, 7, *QUEUE), "0000 0700 0304 0506 0100 02 0000000000", KEYED_SEGMENT),
    (TCP, Connect(V5, 7, *CONTROL, True, 0), "0000 0700 ffff 0000 00040000 0000 0000", ""),
    (TCP, Connect(V5, 7, *QUEUE, True, 9), "0000 0700 0304 0506 00040000 0900 0000", ""),
    (TCP, Connect(V5, 7, *QUEUE, False, 9), "0000 0700 0304 0506 00000000 0900 0000", ""),
    (
        RDMA,
        Connect(V5, 7, *CONTROL, True, 0),
        "0000 0700 ffff 0000 00040000 0000 0000",
        REMOTE_KEYED,
    ),
    (RDMA, Connect(V5, 7, *QUEUE, False, 0), "0000 0700 0304 0506 00000000 0000 0000", ""),
]


@pytest.mark.parametrize(("transport", "connect", "head", "rest"), GOLDEN)
def test_bytes_of_a_connect(transport: Transport, connect: Connect, head: str, rest: str) -> None:
    assert encode_connect(connect, transport) == bytes.fromhex(head)
    assert decode_connect(bytes.fromhex(head), transport) == connect
    behind = bytes.fromhex(rest)
    if transport is RDMA:
        assert encode_keyed_rest(connect, REMOTE) == behind
        named = decode_keyed_rest(connect, behind)
        assert named == (REMOTE if connect.has_body else None)
        return
    behind += BODY if connect.has_body else b""
    assert encode_stream_rest(connect, BODY) == behind
    assert stream_rest(connect) == len(behind)
    assert decode_stream_rest(connect, behind) == (NAMES if connect.has_body else None)


def test_bytes_of_the_body() -> None:
    assert encode_body(NAMES) == BODY
    assert decode_body(BODY[:512] + b"\xee" * 512) == NAMES


@pytest.mark.parametrize("place", [0, 256])
def test_a_body_whose_name_is_not_utf8(place: int) -> None:
    with pytest.raises(RemoteProtocolError, match="UTF-8"):
        decode_body(BODY[:place] + b"\xff" + BODY[place + 1 :])


# Which revision it is of.


def head(at_8: int, oftype: int = 0, tail: bytes = bytes(5)) -> bytes:
    return struct.pack("<HHHHHB", 0, 1, 2, 3, at_8, oftype) + tail


@pytest.mark.parametrize(
    ("transport", "oftype", "dialect"),
    [(TCP, 0, PROPOSAL), (TCP, 1, V2), (RDMA, 1, PROPOSAL), (RDMA, 2, V2)],
)
@given(tail=st.binary(min_size=5, max_size=5))
def test_one_descriptor_and_an_oftype(
    transport: Transport, oftype: int, dialect: Dialect, tail: bytes
) -> None:
    """Padding may hold anything."""
    assert decode_connect(head(1, oftype, tail), transport) == Connect(dialect, 1, 2, 3)


@pytest.mark.parametrize("length", [0, 1024])
@given(queue_size=st.integers(0, 0xFFFF), tail=st.binary(min_size=2, max_size=2))
def test_a_length(length: int, queue_size: int, tail: bytes) -> None:
    found = struct.pack("<HHHHIH", 0, 1, 2, 3, length, queue_size) + tail
    for transport in Transport:
        assert decode_connect(found, transport) == Connect(V5, 1, 2, 3, length > 0, queue_size)


@pytest.mark.parametrize(("transport", "known"), [(TCP, {0, 1}), (RDMA, {1, 2})])
@given(oftype=st.integers(0, 255))
def test_an_oftype_of_no_revision(transport: Transport, known: set[int], oftype: int) -> None:
    if oftype in known:
        return
    with pytest.raises(ForeignConnect, match=f"oftype {oftype} is not {transport.name}"):
        decode_connect(head(1, oftype), transport)


@pytest.mark.parametrize(
    ("at_8", "oftype", "said"),
    [
        (2, 0, 2),  # two descriptors
        (0, 1, 0x10000),  # none, over TCP in v2
        (0xFFFF, 0xFF, 0xFFFFFF),
        (1023, 0, 1023),
        (1025, 0, 1025),
        (1024, 1, 0x10400),
    ],
)
def test_a_form_of_no_revision(at_8: int, oftype: int, said: int) -> None:
    for transport in Transport:
        with pytest.raises(RemoteProtocolError, match=f"by {said} bytes instead of 1024"):
            decode_connect(head(at_8, oftype), transport)


@given(data=st.binary(min_size=16, max_size=16), transport=st.sampled_from(Transport))
def test_garbage_is_a_connect_or_refused(data: bytes, transport: Transport) -> None:
    """What is taken says the same when it is written again."""
    try:
        found = decode_connect(data, transport)
    except (ForeignConnect, RemoteProtocolError):
        return
    again = encode_connect(found, transport)
    assert again[2:8] == data[2:8]
    assert decode_connect(again, transport) == found


@given(
    dialect=st.sampled_from(DIALECTS),
    transport=st.sampled_from(Transport),
    ids=st.tuples(*[st.integers(0, 0xFFFF)] * 3),
    has_body=st.booleans(),
    queue_size=st.integers(0, 0xFFFF),
)
def test_what_is_sent_is_told_apart(
    dialect: Dialect,
    transport: Transport,
    ids: tuple[int, int, int],
    has_body: bool,
    queue_size: int,
) -> None:
    connect = Connect(dialect, *ids)
    if dialect is V5:
        connect = connect._replace(has_body=has_body, queue_size=queue_size)
    assert decode_connect(encode_connect(connect, transport), transport) == connect


# What follows it.


@pytest.mark.parametrize(
    ("length", "flags"), [(0, 0), (1023, 0), (1025, 0), (0xFFFFFFFF, 0), (1024, 2), (1024, 3)]
)
@pytest.mark.parametrize("dialect", [PROPOSAL, V2], ids=lambda item: item.name)
def test_another_segment_descriptor(dialect: Dialect, length: int, flags: int) -> None:
    connect = Connect(dialect, 1, *CONTROL)
    segment = struct.pack("<QIHHI4x", 0x1000, length, 0, flags, 1)
    with pytest.raises(RemoteProtocolError, match="not 1024 device-readable bytes"):
        decode_stream_rest(connect, segment + BODY)
    with pytest.raises(RemoteProtocolError, match="not 1024 device-readable bytes"):
        decode_keyed_rest(connect, segment)


@pytest.mark.parametrize("flags", [0, 1, 0xFFFD])
def test_other_flags_of_a_segment_descriptor_mean_nothing(flags: int) -> None:
    for dialect in (PROPOSAL, V2):
        connect = Connect(dialect, 1, *CONTROL)
        segment = struct.pack("<QIHHII", 0x1000, 1024, 9, flags, 7, 0xDDDDDDDD)
        assert decode_stream_rest(connect, segment + BODY) == NAMES
        assert decode_keyed_rest(connect, segment) == (0x1000, 1024, 7)


@pytest.mark.parametrize("length", [0, 1023, 1025])
def test_another_keyed_descriptor(length: int) -> None:
    with pytest.raises(RemoteProtocolError, match="descriptor is not 1024 bytes"):
        decode_keyed_rest(Connect(V5, 1, *CONTROL), struct.pack("<QII", 0, length, 0))


@pytest.mark.parametrize(
    ("connect", "size"),
    [
        (Connect(PROPOSAL, 1, *CONTROL), 24),
        (Connect(V2, 1, *CONTROL), 24),
        (Connect(V5, 1, *CONTROL), 16),
        (Connect(V5, 1, *QUEUE, False), 0),
    ],
)
@pytest.mark.parametrize("change", [-24, -1, 1, 8, 16, 1024])
def test_a_message_of_another_size(connect: Connect, size: int, change: int) -> None:
    if size + change < 0:
        return
    said = f"has {16 + size + change} bytes instead of {16 + size}"
    with pytest.raises(RemoteProtocolError, match=said):
        decode_keyed_rest(connect, bytes(size + change))
