# SPDX-License-Identifier: BSD-3-Clause
"""Initiators that break the protocol: their association ends, with one log line, and nobody else's
does.
"""

from __future__ import annotations

import contextlib
import random
import struct
from pathlib import Path

import pytest

from tests.target.conftest import Innocent, Log, Serve, address_of
from tests.target.peer import (
    BLOCK1,
    CONTROL,
    IN,
    IVQN,
    OK,
    OUT,
    Association,
    Peer,
    command_bytes,
    connect_bytes,
    header,
    request_bytes,
    vring_bytes,
)
from vof.target.connecting import MAX_REFUSALS
from vof.target.devices.block import LIMITS

pytestmark = pytest.mark.usefixtures("innocent")

Address = tuple[str, int]

KNOWN_OPCODES = [
    *range(0x0001, 0x0005),
    *range(0x1000, 0x100D),
    0x2000,
]
UNKNOWN_OPCODES = [0x0005, 0x0100, 0x0FFF, 0x100D, 0x1FFF, 0x2001, 0x8000, 0xFFFF]

GARBAGE = [random.Random(seed).randbytes(64) for seed in range(12)] + [
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".ljust(64),
    b"\xff" * 64,
    b"NBDMAGIC".ljust(64),
]

HEADER_AND_STATUS = [(16, 0, 0), (1, 1, 2)]
MANY = [(1, ident, 0) for ident in range(65535)]

BAD_VRINGS = {
    "ndesc 65535": vring_bytes(MANY, bytes(65535)),
    "ndesc one too many": vring_bytes(MANY[: LIMITS.max_ndesc + 1]),
    "ndesc 0": vring_bytes([]),
    "a readable descriptor of 4 GiB": vring_bytes([(0xFFFFFFFF, 0, 0), (1, 1, 2)]),
    "a writable descriptor of 4 GiB": vring_bytes([(16, 0, 0), (0xFFFFFFFF, 1, 2), (1, 2, 2)]),
    "lengths whose sum wraps 32 bits": vring_bytes(
        [(16, 0, 0), (1 << 31, 1, 2), (1 << 31, 2, 2), (1, 3, 2)], header(IN)
    ),
    "sum one byte over the limit": vring_bytes(
        [(16, 0, 0), (LIMITS.max_transfer - 16, 1, 2), (1, 2, 2)]
    ),
    "a descriptor of length zero": vring_bytes([(16, 0, 0), (0, 1, 2), (1, 2, 2)], header(IN)),
    "a descriptor id twice": vring_bytes([(16, 0, 0), (512, 0, 2), (1, 2, 2)], header(IN)),
    "no room for the header": vring_bytes([(15, 0, 0), (1, 1, 2)], bytes(15)),
    "nothing readable at all": vring_bytes([(512, 0, 2), (1, 1, 2)]),
    "no status byte": vring_bytes([(16, 0, 0)], header(OUT)),
    "command id twice": vring_bytes(HEADER_AND_STATUS, header(OUT), command_id=9) * 2,
}


def offender(address: Address) -> Association:
    return Association(address, queues=2)


def check_ended(association: Association, log: Log) -> None:
    """The control queue and every virtqueue is closed, and one line says why."""
    for peer in (association.control, *association.queues):
        peer.drain()
        assert peer.is_closed()
    (line,) = log.lines("violation")
    assert "peer=127.0.0.1:" in line
    assert f"tvqn={association.tvqn}" in line
    assert 'reason="' in line


@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_before_connect(address: Address, log: Log, data: bytes) -> None:
    with Peer(address) as peer:
        assert peer.send(data).is_closed()
    (line,) = log.lines("violation")
    assert "before a Connect" in line


@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_on_the_control_queue(address: Address, log: Log, data: bytes) -> None:
    with offender(address) as association:
        association.control.send(data)
        check_ended(association, log)


@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_on_a_virtqueue(address: Address, log: Log, data: bytes) -> None:
    with offender(address) as association:
        association.queues[1].send(data)
        check_ended(association, log)


def test_a_connect_cut_off_at_every_byte(address: Address, log: Log) -> None:
    whole = connect_bytes()
    for size in range(len(whole)):
        with Peer(address) as peer:
            peer.send(whole[:size]).half_close()
            assert peer.is_closed(), size
    # Nothing was begun by any of them: the innocent have 0 and 1.
    with Peer(address) as peer:
        assert peer.connect() == 2
    assert not log.lines("violation")


def test_a_connect_in_single_bytes(address: Address) -> None:
    with Peer(address) as peer:
        for byte in connect_bytes():
            peer.send(bytes([byte]))
        assert peer.completion().status == 0


def test_a_write_cut_off_at_every_byte(address: Address, log: Log) -> None:
    whole = request_bytes(OUT, 7, b"\xee" * 512)
    with Association(address, queues=0) as association:
        for size in range(len(whole)):
            with Peer(address) as peer:
                peer.connect(association.target_id, 3)
                peer.send(whole[:size]).half_close()
                assert peer.is_closed(), size
        # Only the queue was lost each time, and could be connected again; no byte was written.
        queue = association.add_queue(3)
        assert queue.request(IN, 7, room=512) == (OK, bytes(512))
        assert association.control.control(0x1001) == 2
    assert not log.lines("violation")


def test_every_cut_of_two_commands_is_put_together(address: Address) -> None:
    """The same bytes in any two pieces are the same commands."""
    data = bytes(range(256)) * 2
    both = request_bytes(OUT, 3, data, command_id=1) + request_bytes(IN, 3, room=512, command_id=2)
    with Association(address) as association:
        for size in range(1, len(both), 7):
            association.queue.send(both[:size]).send(both[size:])
            assert association.queue.vring_completion([(1, 2, 2)]) == b"\0"
            answer = association.queue.vring_completion([(512, 1, 2), (1, 2, 2)], 2)
            assert answer == data + b"\0", size


@pytest.mark.parametrize("opcode", KNOWN_OPCODES + UNKNOWN_OPCODES)
def test_any_opcode_before_connect(address: Address, log: Log, opcode: int) -> None:
    with Peer(address) as peer:
        # Two bytes are enough to know.
        assert peer.send(opcode.to_bytes(2, "little") + b"\0\0").is_closed()
    (line,) = log.lines("violation")
    assert f"opcode {opcode:#06x} before a Connect" in line


@pytest.mark.parametrize("opcode", UNKNOWN_OPCODES)
@pytest.mark.parametrize("place", ["control", "virtqueue"])
def test_an_unknown_opcode(address: Address, log: Log, opcode: int, place: str) -> None:
    with offender(address) as association:
        peer = association.control if place == "control" else association.queue
        peer.send(command_bytes(opcode))
        check_ended(association, log)


@pytest.mark.parametrize("place", ["control", "virtqueue"])
def test_connect_twice(address: Address, log: Log, place: str) -> None:
    with offender(address) as association:
        peer = association.control if place == "control" else association.queue
        peer.send(connect_bytes(association.target_id, 2))
        check_ended(association, log)


def test_a_vring_on_the_control_queue(address: Address, log: Log) -> None:
    with offender(address) as association:
        association.control.send(request_bytes(IN, room=512))
        check_ended(association, log)


@pytest.mark.parametrize("data", BAD_VRINGS.values(), ids=BAD_VRINGS)
def test_a_bad_vring(address: Address, log: Log, data: bytes) -> None:
    with offender(address) as association:
        try:
            association.queues[1].send(data)
        except ConnectionError:
            pass  # closed by what was sent first
        check_ended(association, log)


def test_a_command_id_twice_among_workers(serve: Serve, innocent: Innocent, log: Log) -> None:
    """With threads the first of the two may be in progress for any time; the second is seen at
    once.
    """
    target = serve(threads=2)
    innocent.check()
    with Association(address_of(target), "virtio-target/block/block2.service") as association:
        # The first keeps a thread busy: its answer does not fit into the socket buffers.
        large = request_bytes(IN, room=24 << 20, command_id=9)
        association.queue.send(large + request_bytes(IN, room=512, command_id=9))
        association.queue.drain()
        check_ended(association, log)


BAD_CONNECTS = {
    "ndesc 2": connect_bytes(ndesc=2),
    "ndesc 65535": connect_bytes(ndesc=65535),
    "a body of 512 bytes": connect_bytes(length=512),
    "a body of 4 GiB": connect_bytes(length=0xFFFFFFFF),
    "a body that the target is to write": connect_bytes(flags=2),
    "an ivqn that is not UTF-8": connect_bytes(ivqn=b"\xff\xfe"),
    "a tvqn that is not UTF-8": connect_bytes(tvqn=b"\xc3"),
}


@pytest.mark.parametrize("data", BAD_CONNECTS.values(), ids=BAD_CONNECTS)
def test_a_bad_connect(address: Address, log: Log, data: bytes) -> None:
    with Peer(address) as peer:
        assert peer.send(data).is_closed()
    assert len(log.lines("violation")) == 1
    with Peer(address) as peer:
        assert peer.connect() == 2


REFUSED = {
    "unknown tvqn": ({"tvqn": "no/such/device"}, 19),
    "empty tvqn": ({"tvqn": ""}, 19),
    "a tvqn of 256 bytes": ({"tvqn": b"x" * 256}, 19),
    "unknown target id": ({"target_id": 77}, 19),
    "the largest target id": ({"target_id": 0xFFFE}, 19),
    "another initiator's name": ({"target_id": 2, "ivqn": "vqn.uuid:other", "queue": 3}, 71),
    "another device's name": ({"target_id": 2, "tvqn": BLOCK1, "queue": 3}, 71),
    "another association's id": ({"target_id": 1, "queue": 0}, 71),
    "queue index too large": ({"target_id": 2, "queue": 4}, 44),
    "queue index 65535": ({"target_id": 2, "queue": 0xFFFF}, 44),
    "a queue connected twice": ({"target_id": 2, "queue": 1}, 16),
}


@pytest.mark.parametrize(("fields", "status"), REFUSED.values(), ids=REFUSED)
def test_a_refused_connect(
    address: Address, log: Log, fields: dict[str, object], status: int
) -> None:
    with offender(address) as association, Peer(address) as peer:
        assert association.target_id == 2
        peer.send(connect_bytes(command_id=0x77, **fields))  # type: ignore[arg-type]
        assert peer.completion() == (status, 0x77, 0, 0)
        # The connection is still good for a Connect that is right, and the association undisturbed.
        assert peer.connect(2, 3) == 2
        assert peer.request(OUT, 9, bytes(512))[0] == OK
        assert association.queues[1].request(IN, 9, room=512)[0] == OK
    assert not log.lines("violation")


@pytest.mark.parametrize("oftype", [2, 255])
def test_a_foreign_oftype_is_answered_as_the_reference_does(address: Address, oftype: int) -> None:
    """The completion has command id 0: an initiator that probes for the dialect relies on it."""
    with Peer(address) as peer:
        peer.send(connect_bytes(command_id=0x77, oftype=oftype))
        assert peer.completion() == (71, 0, 0, 0)
        assert peer.connect() == 2


def test_an_ivqn_of_256_bytes_is_a_name(address: Address) -> None:
    name = b"i" * 256
    with Peer(address) as control, Peer(address) as queue:
        assert control.connect(ivqn=name) == 2
        assert queue.connect(2, 0, ivqn=name) == 2


def test_refused_connects_without_end(address: Address, log: Log) -> None:
    with Peer(address) as peer:
        for _ in range(MAX_REFUSALS - 1):
            peer.send(connect_bytes(tvqn="no/such/device"))
            assert peer.completion().status == 19
        assert not log.lines("violation")
        peer.send(connect_bytes(tvqn="no/such/device"))
        assert peer.completion().status == 19
        assert peer.is_closed()
    assert len(log.lines("violation")) == 1


def test_the_table_of_associations_is_bounded(serve: Serve, innocent: Innocent, log: Log) -> None:
    innocent.check()
    where = address_of(serve(targets=3, threads=1))
    with contextlib.ExitStack() as stack:
        first = [stack.enter_context(Association(where, BLOCK1, queues=0)) for _number in range(3)]
        assert [item.target_id for item in first] == [0, 1, 2]
        peer = stack.enter_context(Peer(where))
        peer.send(connect_bytes(tvqn=BLOCK1))
        assert peer.completion() == (16, 0x1234, 0, 0)
        first[1].control.half_close()
        assert first[1].control.is_closed()
        # The lowest free id is given out again.
        assert peer.connect(tvqn=BLOCK1) == 1
    assert not log.lines("violation")


def test_a_broken_association_does_not_reach_others_of_the_same_initiator(
    address: Address, log: Log
) -> None:
    with offender(address) as bad, offender(address) as good:
        assert (bad.target_id, good.target_id) == (2, 3)
        bad.control.send(b"\xff" * 16)
        check_ended(bad, log)
        assert good.queue.request(OUT, 5, b"a" * 512) == (OK, b"")
        assert good.control.control(0x1001) == 2


def test_names_cannot_break_the_log(address: Address, log: Log) -> None:
    evil = 'x"\nvof-target: event=violation'
    with Peer(address) as peer:
        peer.connect(ivqn=evil)
        assert peer.send(b"\xff" * 16).is_closed()
    (line,) = log.lines("violation")
    assert "\n" not in line
    assert r"\n" in line


def test_a_control_connection_that_closes_takes_its_queues_along(
    address: Address, log: Log
) -> None:
    with offender(address) as association:
        association.control.close()
        assert all(queue.is_closed() for queue in association.queues)
    assert not log.lines("violation")


def test_random_commands_never_break_more_than_their_association(address: Address) -> None:
    """Well-formed heads with random fields: whatever the answer is, it is not the end of the
    process.
    """
    chance = random.Random(2)
    for _ in range(150):
        with Association(address, queues=1) as association:
            for _ in range(20):
                opcode = chance.choice([*KNOWN_OPCODES, 0x2000, 0x2000])
                fields = struct.pack("<HH", opcode, chance.randrange(65536))
                tail = chance.randbytes(12)
                if opcode == 0x2000:
                    count = chance.randrange(1, 6)
                    tail = struct.pack("<IHHI", 0, count, 0, 0) + b"".join(
                        struct.pack(
                            "<QIHHII",
                            0,
                            chance.choice([0, 1, 16, 512, 8192]),
                            chance.choice([ident, 0]),
                            chance.choice([0, 1, 2, 3]),
                            0,
                            0,
                        )
                        for ident in range(count)
                    )
                    tail += chance.randbytes(chance.randrange(64))
                try:
                    chance.choice([association.control, association.queue]).send(fields + tail)
                except ConnectionError:
                    break


def test_image_is_untouched_by_refused_writes(address: Address, tmp_path: Path, log: Log) -> None:
    image = tmp_path / "target0/block0.img"
    before = image.read_bytes()[: 1000 * 512]
    with offender(address) as association:
        association.queue.send(vring_bytes([(16, 0, 0), (512, 1, 0)], header(OUT) + b"\xee" * 512))
        check_ended(association, log)
    assert image.read_bytes()[: 1000 * 512] == before
    assert image.stat().st_size == 4 << 20


def test_same_initiator_name_on_two_associations(address: Address) -> None:
    with Association(address, queues=1) as one, Association(address, queues=1) as two:
        assert one.target_id != two.target_id
        one.queue.send(request_bytes(IN, room=512))
        assert two.queue.request(IN, room=512)[0] == OK
        one.queue.vring_completion([(512, 1, 2), (1, 2, 2)])


def test_constants_of_this_file() -> None:
    assert (CONTROL, len(IVQN), LIMITS.max_ndesc) == (0xFFFF, 45, 128)
