# SPDX-License-Identifier: BSD-3-Clause
"""CompletionParser: what an initiator takes, and what it calls a violation."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.unit.wire.delivery import deliver
from tests.unit.wire.streams import NEXT, UNTOUCHED, WRITE, Request, Table, completion_parser
from vof.errors import RemoteProtocolError
from vof.wire.stream import Arrival, CompletionParser
from vof.wire.structs import Completion, SegmentDescriptor, pack

EINVAL = 22


def read_request(
    lengths: Sequence[int] = (512, 1),
    order: Sequence[int] = (0, 1),
    *,
    status: int = 0,
    ndesc: int = 2,
    command_id: int = 6,
) -> Request:
    """Return a read of 512 bytes in flight, whose device-writable descriptors are 1 and 2."""
    return Request(command_id, 1, [512, 1], status, list(lengths), list(order), ndesc, seed=3)


def completion(*descs: tuple[int, int], ndesc: int | None = None, status: int = 0) -> bytes:
    """Return a completion of command id 6 with descriptors (id, length), without their data."""
    head = Completion(status, 6, len(descs) if ndesc is None else ndesc)
    return pack(head) + b"".join(
        pack(SegmentDescriptor(0, length, ident, NEXT | WRITE)) for ident, length in descs
    )


def violates(request: Request, stream: bytes, reason: str, *, quirk: bool = False) -> None:
    """Check that ``stream`` is refused at its last byte, and nothing was written before."""
    parser = completion_parser(request, quirk=quirk)
    assert parser.feed(stream[:-1]) == []
    with pytest.raises(RemoteProtocolError, match=reason):
        parser.feed(stream[-1:])
    assert all(set(buffer) == {UNTOUCHED} for buffer in request.storage)


def check(request: Request, *, quirk: bool = False) -> None:
    """Check that a request's completion arrives, and its data where it belongs."""
    for direct in (False, True):
        request.__post_init__()
        parser = completion_parser(request, quirk=quirk)
        stream = request.to_bytes()
        fixed = 16 + 24 * len(request.lengths)
        arrivals = parser.feed(stream[:fixed])
        if any(request.lengths):
            assert arrivals == []
            sizes = [request.lengths[index] for index in request.order if request.lengths[index]]
            assert [len(buffer) for buffer in parser.destinations()] == sizes
            arrivals = deliver(parser, stream[fixed:], direct=direct)
        assert arrivals == [request.arrival]
        assert request.storage == request.stored


def test_data_goes_where_its_descriptor_says() -> None:
    check(read_request())


def test_descriptors_in_another_order() -> None:
    check(read_request(order=(1, 0)))


@pytest.mark.parametrize("lengths", [(511, 1), (1, 1), (0, 1), (512, 0), (0, 0)])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_short_lengths(lengths: tuple[int, int], order: tuple[int, int]) -> None:
    check(read_request(lengths, order))


def test_a_command_without_device_writable_buffers() -> None:
    check(Request(6, 0, [], 0, [], [], 0, value=0x1122334455667788))


def test_a_device_error_with_all_its_descriptors() -> None:
    check(read_request(status=5))


def test_reserved_and_value_are_kept() -> None:
    parser = completion_parser(read_request(), Request(7, 0, [], 0, [], [], 0))
    head = Completion(0, 7, 0, b"\xaa\xbb", 1 << 63)
    assert parser.feed(pack(head)) == [Arrival(head, [])]


def test_lengths_of_earlier_completions_do_not_come_back() -> None:
    first, second = read_request(), Request(7, 0, [], 0, [], [], 0)
    parser = completion_parser(first, second)
    arrivals = parser.feed(first.to_bytes() + second.to_bytes())
    assert [arrival.lengths for arrival in arrivals] == [[512, 1], []]


def test_expect_is_asked_once_and_as_soon_as_the_head_is_there() -> None:
    request = read_request()
    table = Table([request])
    parser = CompletionParser(table.expect)
    stream = request.to_bytes()
    parser.feed(stream[:15])
    assert table.asked == []
    parser.feed(stream[15:16])
    assert table.asked == [6]
    parser.feed(stream[16:])
    assert table.asked == [6]


def test_a_command_id_that_is_not_in_flight() -> None:
    request = read_request(command_id=9)
    violates(request, completion((1, 512), (2, 1))[:16], "command id 6 is not in flight")


def test_a_command_is_completed_once() -> None:
    request = read_request()
    parser = completion_parser(request)
    stream = request.to_bytes()
    assert len(parser.feed(stream)) == 1
    with pytest.raises(RemoteProtocolError, match="not in flight"):
        parser.feed(stream)


@pytest.mark.parametrize("ndesc", [0, 1, 3, 0xFFFF])
@pytest.mark.parametrize("quirk", [False, True])
def test_another_number_of_descriptors(ndesc: int, quirk: bool) -> None:
    violates(read_request(), completion(ndesc=ndesc), "2 device-writable", quirk=quirk)


@pytest.mark.parametrize("ndesc", [1, 3])
def test_another_number_of_descriptors_with_a_status(ndesc: int) -> None:
    violates(read_request(), completion(ndesc=ndesc, status=EINVAL), "2 device-writable")


def test_descriptors_of_a_command_that_has_none() -> None:
    violates(Request(6, 0, [], 0, [], [], 0), completion(ndesc=1), "has 1 descriptors where .* 0")


@pytest.mark.parametrize("ident", [0, 3, 0xFFFF])
@pytest.mark.parametrize("place", [0, 1])
def test_a_descriptor_id_of_another_command(ident: int, place: int) -> None:
    descs = [(1, 512), (2, 1)]
    descs[place] = (ident, 1)
    violates(read_request(), completion(*descs), f"descriptor id {ident}, which is not an open")


@pytest.mark.parametrize("length", [0, 1])
def test_a_descriptor_id_twice(length: int) -> None:
    """A length of zero uses its descriptor up as well."""
    violates(read_request(), completion((2, length), (2, length)), "descriptor id 2, which is not")


@pytest.mark.parametrize(
    ("descs", "reason"),
    [
        ([(1, 513), (2, 1)], "513 bytes for descriptor id 1, which has room for 512"),
        ([(1, 512), (2, 2)], "2 bytes for descriptor id 2, which has room for 1"),
        ([(2, 512), (1, 1)], "512 bytes for descriptor id 2"),
        ([(1, 0xFFFFFFFF), (2, 1)], "4294967295 bytes"),
    ],
)
def test_more_bytes_than_there_is_room_for(descs: list[tuple[int, int]], reason: str) -> None:
    violates(read_request(), completion(*descs), reason)


# Refusals: a status with no descriptors, though the command has device-writable ones.


def test_a_refusal_returns_nothing() -> None:
    refused, answered = read_request((), (), status=EINVAL, ndesc=0), read_request(command_id=7)
    parser = completion_parser(refused, answered)
    arrivals = parser.feed(refused.to_bytes() + answered.to_bytes())
    assert arrivals == [Arrival(refused.completion, []), answered.arrival]
    assert refused.storage == refused.stored == [bytes([UNTOUCHED]) * size for size in (512, 1)]


def test_a_refusal_of_the_reference_target_carries_buffers() -> None:
    check(read_request((512, 1), status=EINVAL, ndesc=0), quirk=True)
    check(read_request((0, 0), status=EINVAL, ndesc=0), quirk=True)


def test_a_refused_command_without_buffers() -> None:
    """What refuses a Connect or a control command is not followed by anything."""
    for quirk in (False, True):
        check(Request(6, 0, [], EINVAL, [], [], 0), quirk=quirk)


def test_a_status_with_descriptors_is_no_refusal() -> None:
    check(read_request(status=EINVAL), quirk=True)


def test_the_quirk_can_be_turned_on_when_the_target_is_known() -> None:
    request = read_request(status=EINVAL, ndesc=0)
    parser = completion_parser(request)
    assert not parser.refusal_carries_buffers
    parser.refusal_carries_buffers = True
    assert parser.feed(request.to_bytes()) == [request.arrival]
    assert request.storage == request.stored


def test_violations_within_a_refusal_that_carries_buffers() -> None:
    request = read_request()
    stream = completion((1, 513), (2, 1), ndesc=0, status=EINVAL)
    violates(request, stream, "513 bytes", quirk=True)
    stream = completion((1, 512), (1, 1), ndesc=0, status=EINVAL)
    violates(request, stream, "descriptor id 1", quirk=True)
