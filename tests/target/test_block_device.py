# SPDX-License-Identifier: BSD-3-Clause
"""The block device as an initiator sees it, over TCP."""

from __future__ import annotations

import struct

import pytest

from tests.target.conftest import Serve, address_of
from tests.target.peer import (
    BLOCK0,
    BLOCK1,
    BLOCK2,
    DISCARD,
    FLUSH,
    GET_ID,
    GET_LIFETIME,
    IN,
    IOERR,
    OK,
    OUT,
    SECURE_ERASE,
    UNSUPP,
    WRITE_ZEROES,
    Association,
    header,
    request_bytes,
    vring_bytes,
)

Address = tuple[str, int]

SECTORS = (4 << 20) // 512
VERSION_1 = 1 << 32
# FLUSH, MQ, DISCARD, WRITE_ZEROES, SECURE_ERASE, LIFETIME
EVERYTHING = VERSION_1 | 1 << 9 | 1 << 13 | 1 << 14 | 1 << 15 | 1 << 16

OUT_OF_RANGE = {
    "the first sector beyond": (SECTORS, 512),
    "across the end": (SECTORS - 1, 1024),
    "the last sector number": ((1 << 64) - 1, 512),
    "a byte offset that wraps 64 bits": (1 << 55, 512),
    "not a whole sector": (0, 511),
    "more than a sector": (0, 513),
}


@pytest.mark.parametrize(("sector", "size"), OUT_OF_RANGE.values(), ids=OUT_OF_RANGE)
def test_out_of_range(address: Address, sector: int, size: int) -> None:
    with Association(address, BLOCK1) as association:
        queue = association.queue
        assert queue.request(IN, sector, room=size) == (IOERR, bytes(size))
        assert queue.request(OUT, sector, b"\xee" * size) == (IOERR, b"")
        assert queue.request(IN, SECTORS - 1, room=512) == (OK, bytes(512))


def test_a_failed_read_returns_zeros_and_no_stale_memory(address: Address) -> None:
    with Association(address, BLOCK1) as association:
        queue = association.queue
        secret = b"secret!!" * 64
        assert queue.request(OUT, 1, secret) == (OK, b"")
        assert queue.request(IN, 1, room=512) == (OK, secret)
        assert queue.request(IN, SECTORS, room=512) == (IOERR, bytes(512))
        assert queue.request(99, 0, room=512) == (UNSUPP, bytes(512))
        assert queue.request(GET_ID, 0, room=512) == (OK, b"vof-000002".ljust(512, b"\0"))
        assert queue.request(OUT, 0, bytes(512), room=512) == (OK, bytes(512))


@pytest.mark.parametrize("kind", [2, 3, 5, 6, 7, 9, 12, 15, 0x80000000, 0xFFFFFFFF])
def test_an_unknown_request_type(address: Address, kind: int) -> None:
    with Association(address) as association:
        assert association.queue.request(kind, 0, room=8) == (UNSUPP, bytes(8))
        assert association.queue.request(IN, 0, room=512)[0] == OK


@pytest.mark.parametrize("cuts", [[1], [15], [8, 8], [1] * 16, [4, 4, 8], [3, 5, 7, 1]])
def test_a_header_split_over_descriptors(address: Address, cuts: list[int]) -> None:
    cuts = [*cuts, 16 - sum(cuts)] if sum(cuts) < 16 else cuts
    data = b"split!!!" * 64
    with Association(address) as association:
        queue = association.queue
        descriptors = [(size, ident, 0) for ident, size in enumerate([*cuts, 512])]
        status = (1, len(descriptors), 2)
        queue.send(vring_bytes([*descriptors, status], header(OUT, 8) + data))
        assert queue.vring_completion([status]) == b"\0"
        assert queue.request(IN, 8, room=512) == (OK, data)


def test_header_and_data_in_one_descriptor_and_data_and_status_in_another(address: Address) -> None:
    """virtio 1.2 §2.7.4.1: nothing may be assumed about the framing."""
    data = b"together" * 64
    with Association(address) as association:
        queue = association.queue
        queue.send(vring_bytes([(528, 7, 0), (1, 900, 2)], header(OUT, 8) + data))
        assert queue.vring_completion([(1, 900, 2)]) == b"\0"
        queue.send(vring_bytes([(16, 0, 1), (513, 1, 2)], header(IN, 8)))
        assert queue.vring_completion([(513, 1, 2)]) == data + b"\0"


def test_a_request_of_all_descriptors_there_may_be(address: Address) -> None:
    data = bytes(range(256)) * 2 * 126
    with Association(address) as association:
        queue = association.queue
        count = association.control.control(3)
        assert count == 128
        readable = [(16, 0, 0)] + [(512, ident, 0) for ident in range(1, 127)]
        queue.send(vring_bytes([*readable, (1, 127, 2)], header(OUT, 0) + data))
        assert queue.vring_completion([(1, 127, 2)]) == b"\0"
        writable = [(512, ident, 2) for ident in range(1, 127)] + [(1, 127, 2)]
        queue.send(vring_bytes([(16, 0, 0), *writable], header(IN, 0)))
        assert queue.vring_completion(writable) == data + b"\0"


def test_the_largest_request_there_may_be(address: Address) -> None:
    """126 segments of SIZE_MAX bytes."""
    with Association(address, BLOCK2) as association:
        queue = association.queue
        size = association.control.config(8, 4)
        segments = association.control.config(12, 4)
        assert (size, segments) == (262144, 126)
        data = b"".join(bytes([index]) * size for index in range(segments))
        readable = [(16, 0, 0)] + [(size, ident, 0) for ident in range(1, segments + 1)]
        queue.send(vring_bytes([*readable, (1, 127, 2)], header(OUT, 0) + data))
        assert queue.vring_completion([(1, 127, 2)]) == b"\0"
        writable = [(size, ident, 2) for ident in range(1, segments + 1)] + [(1, 127, 2)]
        queue.send(vring_bytes([(16, 0, 0), *writable], header(IN, 0)))
        assert queue.vring_completion(writable) == data + b"\0"


@pytest.mark.parametrize("size", [1, 5, 20, 127])
def test_get_id_with_any_room(address: Address, size: int) -> None:
    with Association(address) as association:
        expected = b"vof-000001".ljust(size, b"\0")[:size]
        assert association.queue.request(GET_ID, 0, room=size) == (OK, expected)


def segment(sector: int, sectors: int, flags: int = 0) -> bytes:
    return struct.pack("<QII", sector, sectors, flags)


@pytest.mark.parametrize("kind", [DISCARD, WRITE_ZEROES, SECURE_ERASE])
def test_ranges_are_cleared(address: Address, kind: int) -> None:
    with Association(address, BLOCK1, features=EVERYTHING) as association:
        queue = association.queue
        assert queue.request(OUT, 0, b"\xaa" * 512 * 64) == (OK, b"")
        two = segment(8, 8) + segment(33, 1)
        assert queue.request(kind, 0, two) == (OK, b"")
        expected = bytearray(b"\xaa" * 512 * 64)
        for first, count in ((8, 8), (33, 1)):
            expected[first * 512 : (first + count) * 512] = bytes(count * 512)
        assert queue.request(IN, 0, room=512 * 64) == (OK, bytes(expected))


BAD_SEGMENTS = {
    "beyond the end": (segment(SECTORS - 1, 2), IOERR),
    "one good and one beyond the end": (segment(0, 1) + segment(SECTORS, 1), IOERR),
    "no segment": (b"", IOERR),
    "half a segment": (segment(0, 1)[:8], IOERR),
    "too many segments": (segment(0, 1) * 65, IOERR),
    "an unknown flag": (segment(0, 1, 2), UNSUPP),
    "the highest flag": (segment(0, 1, 1 << 31), UNSUPP),
}


@pytest.mark.parametrize("kind", [DISCARD, WRITE_ZEROES, SECURE_ERASE])
@pytest.mark.parametrize(("data", "status"), BAD_SEGMENTS.values(), ids=BAD_SEGMENTS)
def test_bad_segments_change_nothing(address: Address, kind: int, data: bytes, status: int) -> None:
    with Association(address, BLOCK1, features=EVERYTHING) as association:
        queue = association.queue
        assert queue.request(OUT, 0, b"\xaa" * 512) == (OK, b"")
        assert queue.request(kind, 0, data) == (status, b"")
        assert queue.request(IN, 0, room=512) == (OK, b"\xaa" * 512)


def test_the_unmap_flag_is_for_write_zeroes_only(address: Address) -> None:
    with Association(address, BLOCK1, features=EVERYTHING) as association:
        queue = association.queue
        assert queue.request(WRITE_ZEROES, 0, segment(0, 8, 1)) == (OK, b"")
        assert queue.request(DISCARD, 0, segment(0, 8, 1)) == (UNSUPP, b"")
        assert queue.request(SECURE_ERASE, 0, segment(0, 8, 1)) == (UNSUPP, b"")


def test_what_was_not_negotiated_does_not_exist(address: Address) -> None:
    with Association(address, BLOCK1, features=VERSION_1) as association:
        queue = association.queue
        for kind in (FLUSH, DISCARD, WRITE_ZEROES, SECURE_ERASE, GET_LIFETIME):
            assert queue.request(kind, 0, segment(0, 1), room=6) == (UNSUPP, bytes(6)), kind
        assert queue.request(IN, 0, room=512) == (OK, bytes(512))


def test_everything_that_was_negotiated_exists(address: Address) -> None:
    with Association(address, BLOCK1, features=EVERYTHING) as association:
        queue = association.queue
        assert queue.request(FLUSH) == (OK, b"")
        assert queue.request(GET_LIFETIME, room=6) == (OK, bytes(6))
        assert queue.request(GET_LIFETIME, room=5) == (IOERR, bytes(5))


def test_a_flush_of_two_descriptors(address: Address) -> None:
    """The Linux initiator's FLUSH has a header and a status byte, nothing else."""
    with Association(address, features=VERSION_1 | 1 << 9) as association:
        association.queue.send(vring_bytes([(16, 0, 1), (1, 1, 2)], header(FLUSH), command_id=3))
        assert association.queue.vring_completion([(1, 1, 2)], 3) == b"\0"


def test_requests_sent_at_once_are_all_answered(address: Address) -> None:
    with Association(address) as association:
        queue = association.queue
        for ident in range(50):
            queue.send(request_bytes(OUT, ident, bytes([ident]) * 512, command_id=ident))
        for ident in range(50):
            assert queue.vring_completion([(1, 2, 2)], ident) == b"\0"
        assert queue.request(IN, 0, room=512 * 50)[1] == b"".join(
            bytes([ident]) * 512 for ident in range(50)
        )


def test_workers_answer_every_request_once(serve: Serve) -> None:
    """threads=4: in any order, each with its own data."""
    with Association(address_of(serve(threads=4)), BLOCK2) as association:
        queue = association.queue
        for ident in range(64):
            assert queue.request(OUT, ident, bytes([ident]) * 512) == (OK, b"")
        for ident in range(64):
            queue.send(request_bytes(IN, ident, room=512, command_id=ident))
        seen = set()
        for _ in range(64):
            answer = queue.completion()
            queue.receive(48)
            assert queue.receive(513) == bytes([answer.command_id]) * 512 + b"\0"
            seen.add(answer.command_id)
        assert seen == set(range(64))


def test_queues_are_served_beside_one_another(address: Address) -> None:
    """A queue whose initiator takes no answers does not hold up another one."""
    with Association(address, BLOCK2, queues=2) as association:
        stuck, free = association.queues
        stuck.send(request_bytes(IN, 0, room=24 << 20))
        for _ in range(5):
            assert free.request(IN, 0, room=4096) == (OK, bytes(4096))
        answer = stuck.vring_completion([(24 << 20, 1, 2), (1, 2, 2)])
        assert answer == bytes((24 << 20) + 1)


def test_config_space(address: Address) -> None:
    with Association(address, BLOCK0) as association:
        control = association.control
        whole = b"".join(
            control.config(offset, 8).to_bytes(8, "little") for offset in range(0, 72, 8)
        )
        assert int.from_bytes(whole[:8], "little") == SECTORS
        for width in (1, 2, 4, 8):
            for offset in range(72 - width + 1):
                value = control.config(offset, width)
                assert value == int.from_bytes(whole[offset : offset + width], "little")
            for offset in (72 - width + 1, 72, 200, 65535):
                assert control.try_control(0x100A, offset | width << 16) == (22, 0)
        for width in (0, 3, 5, 9, 16, 255):
            assert control.try_control(0x100A, width << 16) == (22, 0)


def test_the_offer(address: Address) -> None:
    with Association(address, BLOCK0) as association:
        offer = association.control.control(0x1005)
        wanted = (1 << 1, 1 << 2, 1 << 6, 1 << 9, 1 << 10, 1 << 11, 1 << 12, VERSION_1)
        assert all(offer & bit for bit in wanted)
        # INDIRECT_DESC, EVENT_IDX, ACCESS_PLATFORM: the Linux initiator fails with any of them.
        assert not offer & (1 << 28 | 1 << 29 | 1 << 33)
        assert association.control.try_control(0x1005, select=1) == (22, 0)
