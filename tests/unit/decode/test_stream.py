# SPDX-License-Identifier: BSD-3-Clause
"""Conversations over TCP are told as they were said; violations, and what is missing, as such."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.decode import said
from tests.unit.decode.said import (
    I2T,
    T2I,
    answered,
    attached,
    common,
    connect,
    done,
    header,
    unknown,
)
from vof.decode.association import Associations
from vof.decode.budget import MAX_DATA
from vof.decode.inlet import MAX_HOLE
from vof.decode.message import Direction, Kind, Message, Named, Where
from vof.decode.stream import StreamConnection
from vof.wire import blk
from vof.wire.constants import DeviceId
from vof.wire.dialect import DIALECTS, PROPOSAL, V2, V5, Dialect
from vof.wire.structs import COMMAND_SIZE, DESCRIPTOR_SIZE

Words = Sequence[tuple[str, bytes]]

ALL = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda item: item.name)
WITH_DESCRIPTORS = pytest.mark.parametrize("dialect", [PROPOSAL, V2], ids=lambda item: item.name)


class Listener:
    """One connection, and all that was told of it."""

    def __init__(self, associations: Associations | None = None, *, begins: bool = True) -> None:
        self.connection = StreamConnection(
            0, "target:1", associations or Associations(), begins=begins
        )
        self._number = 0

    def hear(self, words: Words) -> list[Message]:
        found = []
        for direction, data in words:
            self._number += 1
            found += self.connection.data(Direction(direction), data, Where(self._number))
        return found

    def lose(self, direction: str, count: int) -> list[Message]:
        self._number += 1
        return self.connection.lost(Direction(direction), count, Where(self._number))


def hear(words: Words) -> list[Message]:
    return Listener().hear(words)


def problems(messages: Sequence[Message]) -> list[str]:
    return [problem for message in messages for problem in message.problems]


def virtqueue(dialect: Dialect, device: DeviceId = DeviceId.BLOCK) -> Listener:
    """Return a connection that is virtqueue 0 of a device whose type is known."""
    associations = Associations()
    Listener(associations).hear(attached(dialect, device))
    queue = Listener(associations)
    assert not problems(queue.hear([(I2T, connect(dialect, 0)), (T2I, answered(dialect, 7, 3))]))
    return queue


@ALL
def test_attaching(dialect: Dialect) -> None:
    asked, connected, get, got = hear(attached(dialect))
    assert (asked.kind, asked.name, asked.queue, asked.command_id) == (
        Kind.COMMAND, "connect", "control", 7,
    )  # fmt: skip
    assert asked.decoded["ivqn"] == said.IVQN
    assert asked.decoded["tvqn"] == said.TVQN
    assert asked.decoded["dialect"] == dialect.name
    ident = "device_instance_id" if dialect is V5 else "target_id"
    assert asked.fields[ident] == 0xFFFF
    assert (connected.kind, connected.name, connected.answers) == (
        Kind.COMPLETION, "connect", asked.where,
    )  # fmt: skip
    assert connected.decoded == {"status": Named(0, "ok"), ident: 3}
    assert (get.name, got.decoded["device"]) == ("get_device_id", Named(2, "block"))
    assert not problems([asked, connected, get, got])


@ALL
def test_a_write_and_a_read(dialect: Dialect) -> None:
    queue = virtqueue(dialect)
    name = "vq" if dialect is V5 else "vring"
    data = bytes(range(256)) * 2
    out, out_done, read, read_done = queue.hear(
        [
            (I2T, said.request(dialect, 1, [header(blk.RequestType.OUT, 8), data], [1])),
            (T2I, said.answer(dialect, 1, 2, [1], [b"\0"])),
            (I2T, said.request(dialect, 2, [header(blk.RequestType.IN, 9)], [512, 1])),
            (T2I, said.answer(dialect, 2, 1, [512, 1], [data, b"\1"])),
        ]
    )
    assert not problems([out, out_done, read, read_done])
    assert {each.name for each in (out, out_done, read, read_done)} == {name}
    assert {each.queue for each in (out, out_done, read, read_done)} == {"0"}
    assert out.decoded["request"] == {
        "device": "block", "type": Named(1, "OUT"), "sector": 8, "bytes": 512,
    }  # fmt: skip
    assert (out.decoded["readable"], out.decoded["writable"]) == (528, 1)
    assert out.payload.data[16:] == data
    assert out_done.decoded["answer"] == {"status": Named(0, "OK")}
    assert read.decoded["request"] == {
        "device": "block", "type": Named(0, "IN"), "sector": 9, "bytes": 512,
    }  # fmt: skip
    assert read_done.decoded["written"] == 513
    assert read_done.decoded["answer"] == {"status": Named(1, "IOERR")}
    assert read_done.payload.data[:512] == data
    assert read_done.answers == read.where


@ALL
@given(data=st.data())
def test_any_fragmentation_tells_the_same(dialect: Dialect, data: st.DataObject) -> None:
    words = [
        (I2T, said.request(dialect, 1, [header(blk.RequestType.OUT), b"x" * 40], [1])),
        (T2I, said.answer(dialect, 1, 2, [1], [b"\0"])),
        (I2T, common(dialect, "get_status", 5)),
        (T2I, answered(dialect, 5, 15)),
    ]
    whole = virtqueue(dialect).hear(words)
    pieces = []
    for direction, content in words:
        cuts = sorted(data.draw(st.sets(st.integers(1, len(content) - 1), max_size=4)))
        edges = [0, *cuts, len(content)]
        pieces += [(direction, content[start:end]) for start, end in pairwise(edges)]
    parts = virtqueue(dialect).hear(pieces)
    assert len(whole) == len(parts) == 4
    for one, other in zip(whole, parts, strict=True):
        for attribute in ("kind", "name", "fields", "decoded", "head", "payload", "problems"):
            assert getattr(one, attribute) == getattr(other, attribute)


def test_completions_in_another_order() -> None:
    queue = virtqueue(V5)
    words = [
        (I2T, said.request(V5, ident, [header(blk.RequestType.IN)], [size, 1]))
        for ident, size in ((1, 512), (2, 1024))
    ]
    words += [
        (T2I, said.answer(V5, 2, 1, [1024, 1], [bytes(1024), b"\0"])),
        (T2I, said.answer(V5, 1, 1, [512, 1], [bytes(512), b"\0"])),
    ]
    one, two, second, first = queue.hear(words)
    assert (second.answers, first.answers) == (two.where, one.where)
    assert not problems([one, two, second, first])


def test_set_status_has_its_value_elsewhere() -> None:
    for dialect, command in (
        (PROPOSAL, struct.pack("<HHI8x", 0x1004, 0, 3)),
        (V2, struct.pack("<HH4xQ", 0x1005, 0, 3)),
        (V5, struct.pack("<HHI8x", 0x1005, 0, 3)),
    ):
        *_attached, found = hear([*attached(dialect), (I2T, command)])
        assert found.decoded["device_status"] == (3, ("ACKNOWLEDGE", "DRIVER"))


def test_an_opcode_is_another_command_in_each_dialect() -> None:
    for dialect, name in ((PROPOSAL, "set_feature"), (V2, "keepalive"), (V5, "get_feature")):
        *_attached, found = hear([*attached(dialect), (I2T, unknown(4))])
        assert found.name == name


@pytest.mark.parametrize("dialect", [V2, V5], ids=lambda item: item.name)
def test_an_event(dialect: Dialect) -> None:
    *_attached, keepalive, change = hear(
        [
            *attached(dialect),
            (T2I, answered(dialect, 0xFFFF)),
            (T2I, answered(dialect, 0xFFFE, 9)),
        ]
    )
    assert (keepalive.kind, keepalive.name) == (Kind.EVENT, "keepalive")
    assert (change.kind, change.name) == (Kind.EVENT, "config_change")
    assert change.decoded == ({"generation": 9} if dialect is V5 else {})
    assert not problems([keepalive, change])


def test_one_config_change_is_outstanding_at_most() -> None:
    change = (T2I, answered(V5, 0xFFFE, 1))
    get_config = (I2T, struct.pack("<HHHBxQ", 0x100C, 4, 0, 8, 0))
    got = (T2I, struct.pack("<HHIQ", 0, 4, 2, 2048))
    assert not problems(hear([*attached(V5), change, get_config, got, change]))
    assert problems(hear([*attached(V5), change, change])) == [
        "no get_config came since the event before"
    ]


def test_more_commands_than_a_control_queue_holds() -> None:
    words = [(I2T, common(V5, "keepalive", ident)) for ident in range(33)]
    found = hear([*attached(V5), *words])
    assert problems(found) == problems(found[-1:]) == ["more than 32 commands are in flight"]
    *_before, refused = Listener().hear(
        [*attached(V5), (I2T, b""), *words[:1], (T2I, done(0, 0, 2))]
    )
    assert refused.decoded["status"] == Named(2, "too many commands in flight")


@pytest.mark.parametrize(
    ("dialect", "words", "expected"),
    [
        (PROPOSAL, [(T2I, done(0xFFFE))], "dialect proposal has no events"),
        (V2, [(T2I, done(0xFF00))], "command id 0xff00 is reserved"),
        (V2, [(T2I, done(9))], "no command with this id is in flight"),
        (V2, [(I2T, common(V2, "get_status", 0xFF05))], "command id 0xff05 is reserved"),
        (V2, [(I2T, common(V2, "get_status", 5))] * 2, "command id 5 is in flight already"),
        (V2, [(I2T, connect(V2))], "the queue is connected already"),
        (PROPOSAL, [(I2T, unknown(0x0100))], "opcode 0x0100 is not one of dialect proposal"),
        (
            V5,
            [(I2T, common(V5, "get_keyed_num_descs"))],
            "the transport feature KEYED_NUM_DESCS is not in force",
        ),
        (V5, [(I2T, said.request(V5, 1, [b"x"], [1]))], "it is for virtqueues only"),
    ],
)
def test_violations_on_the_control_queue(dialect: Dialect, words: Words, expected: str) -> None:
    found = hear([*attached(dialect), *words])
    assert expected in problems(found)
    assert expected in found[-1].problems


def test_an_unknown_command_is_16_bytes_in_the_last_dialect() -> None:
    """And its refusal is told in words."""
    words = [
        (I2T, unknown(0x1002, 4) + common(V5, "get_status", 5)),
        (T2I, answered(V5, 4, 0, 1) + answered(V5, 5, 15)),
    ]
    *_attached, asked, get, refused, got = hear([*attached(V5), *words])
    assert (asked.name, asked.problems) == ("", ["opcode 0x1002 is not one of dialect v5"])
    assert refused.answers == asked.where
    assert refused.decoded == {"status": Named(1, "unknown or disabled command")}
    assert (get.name, got.decoded["device_status"][0]) == ("get_status", 15)  # type: ignore[index]
    assert not problems([get, refused, got])


def test_what_is_encrypted() -> None:
    found = hear([(I2T, b"\x16\x03\x01\x02" + bytes(60))])
    assert problems(found[:1]) == [
        "opcode 0x0316 is not one of dialect proposal or v2 or v5; "
        "TLS begins so, and what is in it cannot be read",
        "it comes before the Connect",
    ]


def test_a_command_before_the_connect() -> None:
    (found,) = hear([(I2T, common(V5, "get_status"))])
    assert problems([found]) == ["it comes before the Connect"]


def test_commands_behind_a_connect_that_is_not_answered_yet_are_none() -> None:
    assert not problems(hear([(I2T, connect(V2) + common(V2, "get_status"))]))


def test_an_oftype_that_nobody_has() -> None:
    asked, refused = hear([(I2T, connect(V2, oftype=9)), (T2I, done(0, status=71))])
    assert problems([asked]) == ["oftype 9 is not TCP in any dialect"]
    assert "dialect" not in asked.decoded
    assert refused.decoded["status"] == Named(71, "EPROTO (Protocol error)")
    assert refused.name == "connect"
    assert problems([refused]) == ["command id 0 is not in flight; taken for the completion of 7"]


def test_a_connect_of_no_dialect() -> None:
    """The next message is found where the next segment begins."""
    odd = struct.pack("<HHHHH6x", 0, 7, 0xFFFF, 0, 2) + bytes(30)
    asked, gap, get = hear([(I2T, odd), (I2T, common(V5, "get_vendor_id", 1))])
    assert (asked.name, get.name) == ("connect", "get_vendor_id")
    assert asked.problems == [
        "it has the form of no dialect: a Connect is followed by 2 bytes instead of 1024"
    ]
    assert gap.decoded == {"lost": 0, "skipped": 30}


@pytest.mark.parametrize(
    ("one", "other"), [(PROPOSAL, V2), (PROPOSAL, V5), (V5, V2)], ids=lambda item: item.name
)
def test_a_virtqueue_of_another_dialect(one: Dialect, other: Dialect) -> None:
    """It is read as its own Connect says."""
    associations = Associations()
    Listener(associations).hear(attached(one))
    queue = Listener(associations)
    found = queue.hear([(I2T, connect(other, 0)), (T2I, answered(other, 7, 3))])
    assert problems(found) == ["its dialect is not that of the control queue"]
    (request,) = queue.hear([(I2T, said.request(other, 1, [header(0, 8)], [512, 1]))])
    assert request.decoded["request"]["sector"] == 8  # type: ignore[index, call-overload]
    assert not problems([request])


def test_a_virtqueue_whose_connect_has_no_body() -> None:
    """The names are those of the control queue."""
    associations = Associations()
    Listener(associations).hear(attached(V5, said.BLOCK))
    queue = Listener(associations)
    words = [
        (I2T, said.connect_head(V5, 1, length=0)),
        (T2I, answered(V5, 7, 3)),
        (I2T, said.request(V5, 1, [header(0, 8)], [512, 1])),
    ]
    asked, _done, request = found = queue.hear(words)
    assert not problems(found)
    assert asked.decoded == {
        "dialect": "v5", "queue": 1, "device_instance_id": 3, "ivqn": said.IVQN, "tvqn": said.TVQN,
    }  # fmt: skip
    assert request.decoded["request"]["sector"] == 8  # type: ignore[index, call-overload]
    (control,) = hear([(I2T, said.connect_head(V5, length=0))])
    assert control.problems == ["the Connect of a control queue has no body"]


def with_ndesc(ndesc: int, descriptors: Sequence[tuple[int, int, int]]) -> bytes:
    """Return a vring command with these lengths, ids and flags."""
    table = b"".join(struct.pack("<QIHHI4x", 0, *each, 0) for each in descriptors)
    return struct.pack("<HHIH6x", 0x2000, 1, 0, ndesc) + table


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (with_ndesc(0, []), "it has no descriptors"),
        (with_ndesc(1, [(0, 0, 2)]), "a descriptor has length zero"),
        (with_ndesc(2, [(1, 5, 3), (1, 5, 2)]), "a descriptor id is used twice"),
        (with_ndesc(1, [(MAX_DATA + 1, 0, 0)]), f"{MAX_DATA + 1} bytes cannot follow it"),
    ],
)
def test_violations_of_a_vring_command(command: bytes, expected: str) -> None:
    assert expected in problems(virtqueue(PROPOSAL).hear([(I2T, command)]))


def test_what_is_keyed_has_no_place_on_a_stream() -> None:
    eager = struct.pack("<HHIII", 0x0FFE, 1, 0, 4, 1)
    found = virtqueue(V5).hear([(I2T, eager)])
    assert "there are no eager buffers on a stream" in problems(found)
    keyed = struct.pack("<HHIH6x", 0x0FFF, 1, 16, 2) + said.segment(16, 0, 0)
    keyed += said.segment(1, 1, 3) + header(0)
    queue = virtqueue(V2)
    found = queue.hear([(I2T, keyed + common(V2, "get_status", 2))])
    assert problems(found) == ["there are no keyed descriptors on a stream"]
    assert [each.name for each in found] == ["vring", "get_status"]


def returned(value: int, descriptors: Sequence[tuple[int, int]], ndesc: int | None = None) -> bytes:
    """Return a vring completion with descriptors of these lengths and ids, and their data."""
    count = len(descriptors) if ndesc is None else ndesc
    table = b"".join(struct.pack("<QIHHI4x", 0, *each, 2, 0) for each in descriptors)
    data = bytes(sum(length for length, _id in descriptors))
    return struct.pack("<HHH2xQ", 0, 1, count, value) + table + data


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        (returned(5, [(4, 1)]), ["its value says 5 bytes, the descriptors 4",
                                 "it returns 1 descriptors, where 2 are device-writable"]),
        (returned(6, [(5, 1), (1, 2)]),
         ["it returns 5 bytes for descriptor id 1 with room for 4"]),
        (returned(5, [(4, 1), (1, 1)]), ["descriptor id 1 is returned twice"]),
        (returned(5, [(4, 1), (1, 9)]), ["descriptor id 9 is none of the command's"]),
    ],
)  # fmt: skip
def test_violations_of_a_vring_completion(completion: bytes, expected: list[str]) -> None:
    queue = virtqueue(PROPOSAL)
    request = said.request(PROPOSAL, 1, [header(blk.RequestType.IN)], [4, 1])
    assert not problems(queue.hear([(I2T, request)]))
    found = queue.hear([(T2I, completion)])
    assert sorted(problems(found)) == sorted(expected)
    # It goes on behind it.
    assert not problems(queue.hear([(I2T, request), (T2I, returned(5, [(4, 1), (1, 2)]))]))


def test_violations_of_a_vq_completion() -> None:
    queue = virtqueue(V5)
    request = (I2T, said.request(V5, 1, [header(blk.RequestType.IN)], [4, 1]))
    completion = struct.pack("<HH4xII", 0, 1, 6, 5) + bytes(6)
    expected = ["it returns 6 bytes, where there is room for 5"]
    assert problems(queue.hear([request, (T2I, completion)])) == expected
    assert not problems(queue.hear([request, (T2I, said.answer(V5, 1, 1, [5], [b"12345"]))]))


def test_a_vq_completion_that_does_not_reach_the_status() -> None:
    """Its last byte is none, then; and what nobody defines of it may be anything."""
    queue = virtqueue(V5)
    request = (I2T, said.request(V5, 1, [header(blk.RequestType.IN)], [4, 1]))
    _asked, found = queue.hear(
        [request, (T2I, struct.pack("<HH4sII", 0, 1, b"else", 3, 9) + b"abc")]
    )
    assert found.decoded == {"status": Named(0, "ok"), "written": 3}
    assert (found.payload.data, found.problems) == (b"abc", [])


def test_completions_that_all_have_command_id_0() -> None:
    """As the reference target's crypto device makes them: by the descriptors it can be told."""
    queue = virtqueue(PROPOSAL, DeviceId.RNG)
    first = with_ndesc(1, [(4, 30, 2)])
    second = first[:2] + b"\5\0" + first[4:]  # another id
    second = second[:28] + struct.pack("<H", 31) + second[30:]
    words = [
        (I2T, first),
        (I2T, second),
        (T2I, b"\0\0\0\0" + returned(4, [(4, 31)])[4:]),
        (T2I, b"\0\0\0\0" + returned(4, [(4, 30)])[4:]),
    ]
    one, two, two_done, one_done = queue.hear(words)
    assert (two_done.answers, one_done.answers) == (two.where, one.where)
    assert problems([two_done]) == ["command id 0 is not in flight; taken for the completion of 5"]


@pytest.mark.parametrize("later", [False, True])
def test_what_follows_a_refusal_that_says_it_has_nothing(later: bool) -> None:
    """The reference target's, which may come at once or not."""
    queue = virtqueue(PROPOSAL, DeviceId.RNG)
    refused = struct.pack("<HHH2xQ", 22, 1, 0, 0)
    stray = struct.pack("<QIHHI4x", 0, 4, 0, 2, 0) + b"data"
    request = said.request(PROPOSAL, 1, [], [4])
    answer = said.answer(PROPOSAL, 1, 0, [4], [b"good"])
    if later:
        words = [(T2I, refused), (T2I, stray), (I2T, request), (T2I, answer)]
    else:
        words = [(T2I, refused + stray), (I2T, request), (T2I, answer)]
    found = queue.hear([(I2T, request), *words])
    kinds = [message.kind for message in found]
    assert kinds == [Kind.COMMAND, Kind.COMPLETION, Kind.NOTE, Kind.COMMAND, Kind.COMPLETION]
    assert found[1].decoded["status"] == Named(22, "EINVAL (Invalid argument)")
    assert found[2].payload.data == b"data"
    assert found[2].problems == ["descriptors and data of a refused command, whose ndesc is 0"]
    assert not problems(found[3:])


# What is missing.


def test_bytes_missing_within_data_do_no_harm() -> None:
    queue = virtqueue(PROPOSAL)
    request = said.request(PROPOSAL, 1, [header(blk.RequestType.OUT, 4), b"x" * 100], [1])
    assert not queue.hear([(I2T, request[:-60])])
    assert not queue.lose(I2T, 50)
    (found,) = queue.hear([(I2T, request[-10:])])
    assert found.payload.lost == 50
    assert found.decoded["request"]["sector"] == 4  # type: ignore[index, call-overload]
    assert found.problems == ["of its 116 bytes of data 66 are there"]
    assert not problems(queue.hear([(T2I, said.answer(PROPOSAL, 1, 2, [1], [b"\0"]))]))


def test_a_missing_header_is_not_told() -> None:
    queue = virtqueue(PROPOSAL)
    request = said.request(PROPOSAL, 1, [header(blk.RequestType.OUT, 4), b"x" * 100], [1])
    head = COMMAND_SIZE + 3 * DESCRIPTOR_SIZE
    queue.hear([(I2T, request[:head])])
    queue.lose(I2T, 10)
    (found,) = queue.hear([(I2T, request[head + 10 :])])
    assert found.decoded["request"] == {"device": "block"}


@ALL
@pytest.mark.parametrize("lost", [8, 16, 500])
def test_the_next_message_is_found(dialect: Dialect, lost: int) -> None:
    queue = virtqueue(dialect)
    request = said.request(dialect, 1, [header(blk.RequestType.OUT, 4), b"x" * 100], [1])
    again = said.request(dialect, 2, [header(blk.RequestType.OUT, 5), b"x" * 100], [1])
    assert not queue.hear([(I2T, request[:10])])
    queue.lose(I2T, lost)
    assert not queue.hear([(I2T, b"in the midst of something that was lost")])
    gap, found = queue.hear([(I2T, again)])
    assert (gap.kind, gap.decoded) == (Kind.LOST, {"lost": lost, "skipped": 49})
    assert found.decoded["request"]["sector"] == 5  # type: ignore[index, call-overload]
    assert not found.problems


@ALL
def test_completions_are_found_again(dialect: Dialect) -> None:
    queue = virtqueue(dialect)
    readable = [header(blk.RequestType.IN)]
    for ident in (1, 2, 3):
        queue.hear([(I2T, said.request(dialect, ident, readable, [64, 1]))])
    answers = [
        said.answer(dialect, ident, 1, [64, 1], [bytes([ident]) * 64, b"\0"]) for ident in (1, 2, 3)
    ]
    queue.hear([(T2I, answers[0][:50])])
    queue.lose(T2I, len(answers[0]) - 50 + 10)
    assert not queue.hear([(T2I, answers[1][10:])])
    gap, found = queue.hear([(T2I, answers[2])])
    assert gap.kind is Kind.LOST
    assert (found.command_id, found.name) == (3, "vq" if dialect is V5 else "vring")
    assert not found.problems


def test_a_message_that_is_cut_off_is_told_as_far_as_it_goes() -> None:
    queue = virtqueue(PROPOSAL)
    request = said.request(PROPOSAL, 1, [header(blk.RequestType.OUT, 4), b"x" * 100], [1])
    queue.hear([(I2T, request[:-60])])
    found, closed = queue.connection.closed(Direction.I2T, "fin", Where(9))
    assert found.decoded["request"]["sector"] == 4  # type: ignore[index, call-overload]
    assert found.problems == ["of its 116 bytes of data 56 are there"]
    assert (closed.kind, closed.decoded) == (Kind.CLOSED, {"how": "fin"})


def test_a_capture_that_begins_in_the_middle() -> None:
    listener = Listener(begins=False)
    request = said.request(PROPOSAL, 9, [b"r" * 16], [512, 1])
    answer = said.answer(PROPOSAL, 9, 1, [512, 1], [bytes(512), b"\0"])
    found = listener.hear(
        [
            (T2I, b"the end of something"),
            (I2T, request),
            (T2I, answer),
            (I2T, common(PROPOSAL, "get_status", 3)),
            (T2I, done(3, 7)),
        ]
    )
    kinds = [message.kind for message in found]
    assert kinds == [
        Kind.COMMAND, Kind.LOST, Kind.COMPLETION, Kind.COMMAND, Kind.COMPLETION,
    ]  # fmt: skip
    assert found[1].decoded == {"lost": 0, "skipped": 20}
    assert found[2].answers == found[0].where
    assert "request" not in found[0].decoded  # the device type is not known
    assert not problems(found)


@WITH_DESCRIPTORS
def test_completions_of_commands_that_were_not_seen(dialect: Dialect) -> None:
    listener = Listener(begins=False)
    answer = said.answer(dialect, 9, 1, [512, 1], [bytes(512), b"\0"])
    first, second = listener.hear([(T2I, answer), (T2I, answer)])
    assert (first.name, first.answers, len(first.payload.data)) == ("", None, 513)
    assert [each["length"] for each in second.descriptors] == [512, 1]
    assert not problems([first, second])


def test_the_same_with_lengths() -> None:
    listener = Listener(begins=False)
    listener.hear([(I2T, said.request(V5, 1, [b"r" * 16], [4]))])
    answer = said.answer(V5, 9, 1, [512], [bytes(512)])
    first, second = listener.hear([(T2I, answer), (T2I, answer)])
    assert first.fields["length"] == second.fields["length"] == 512
    assert not problems([first, second])


def test_ends() -> None:
    queue = virtqueue(V5)
    queue.hear([(I2T, said.request(V5, ident, [b"r" * 16], [4])) for ident in range(12)])
    (fin,) = queue.connection.closed(Direction.I2T, "fin", Where(8))
    assert fin.decoded == {"how": "fin"}
    assert not queue.connection.closed(Direction.I2T, "fin", Where(9))
    (rst,) = queue.connection.closed(Direction.T2I, "rst", Where(10))
    assert rst.decoded["in_flight"] == 12
    assert rst.decoded["commands"] == [f"vq {ident}" for ident in range(10)]
    assert not queue.connection.end()


def test_the_end_of_the_capture() -> None:
    queue = virtqueue(V5)
    queue.hear([(I2T, said.request(V5, 1, [b"r" * 16], [4]))])
    queue.hear([(T2I, b"part")])
    rest, note = queue.connection.end()
    assert (rest.kind, rest.decoded) == (Kind.LOST, {"lost": 0, "skipped": 4})
    assert note.decoded == {"in_flight": 1, "commands": ["vq 1"]}


def test_a_large_hole_ends_a_message() -> None:
    """It is not held as zeros: the next message is looked for."""
    queue = virtqueue(V5)
    found = queue.hear([(I2T, struct.pack("<HH4xII", 0x0FFF, 1, 32 << 20, 1))])
    found += queue.lose(I2T, MAX_HOLE + 1)
    assert problems(found) == [f"of its {32 << 20} bytes of data 0 are there"]
    found = queue.hear([(I2T, said.request(V5, 2, [header(blk.RequestType.IN, 8)], [512, 1]))])
    assert [each.kind for each in found] == [Kind.LOST, Kind.COMMAND]
    assert found[0].decoded == {"lost": MAX_HOLE + 1, "skipped": 0}


noise = st.one_of(
    st.binary(max_size=60),
    st.builds(
        lambda opcode, command_id, rest: struct.pack("<HH", opcode, command_id) + rest,
        st.sampled_from(
            [0, 1, 3, 4, 5, 0x100, 0x102, 0xFFE, 0xFFF, 0x1004, 0x1009, 0x100A, 0x100C, 0x2000]
        ),
        st.integers(0, 3) | st.just(0xFFFE),
        st.binary(min_size=12, max_size=60),
    ),
    st.sampled_from(
        [
            connect(PROPOSAL),
            connect(V5, 0),
            done(0),
            done(1, 2, 22),
            said.connect_head(V5, 0, length=0),
            common(V5, "get_device_id", 1),
        ]
    ),
)


@given(
    words=st.lists(
        st.tuples(st.sampled_from([I2T, T2I]), noise | st.integers(1, 100)), max_size=12
    ),
    begins=st.booleans(),
)
@example(words=[(I2T, unknown(0x100, 1)), (T2I, done(0))], begins=False)
def test_whatever_is_said(words: list[tuple[str, bytes | int]], begins: bool) -> None:
    """Every byte is told of once at most, and nothing is raised."""
    listener = Listener(begins=begins)
    found: list[Message] = []
    heard = 0
    for direction, word in words:
        if isinstance(word, int):
            found += listener.lose(direction, word)
        else:
            found += listener.hear([(direction, word)])
            heard += len(word)
    for each in Direction:
        found += listener.connection.closed(each, "fin", Where(99))
    told = sum(len(each.head) + len(each.payload.data) - each.payload.lost for each in found)
    assert told <= heard


def test_a_command_that_is_not_a_request_has_no_data() -> None:
    *_attached, found = hear([*attached(V2), (I2T, common(V2, "keepalive", 2))])
    assert (found.name, found.payload.data, found.decoded) == ("keepalive", b"", {})
