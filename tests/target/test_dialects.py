# SPDX-License-Identifier: BSD-3-Clause
"""Each dialect over TCP on one port, and initiators that mix them up."""

from __future__ import annotations

import struct

import pytest

from tests.target.conftest import Log, Serve, address_of
from tests.target.peer import (
    BLOCK1,
    CONTROL,
    FLUSH,
    GET_ID,
    IN,
    IOERR,
    OK,
    OUT,
    Association,
    Peer,
    command_bytes,
    connect_bytes,
    connect_v5_bytes,
    header,
    request_bytes,
    vring_bytes,
)
from tests.target.speakers import (
    PROPOSAL,
    SPEAKERS,
    V2,
    V5,
    VQ,
    VQ_KEYED_EAGER_BUF,
    VRING,
    Speaker,
    vq_bytes,
    vq_completion,
)
from tests.target.test_hostile import GARBAGE, check_ended

pytestmark = pytest.mark.usefixtures("innocent")

Address = tuple[str, int]

each_dialect = pytest.mark.parametrize("speaker", SPEAKERS, ids=lambda item: item.name)
both_earlier = pytest.mark.parametrize("speaker", [PROPOSAL, V2], ids=lambda item: item.name)
both_later = pytest.mark.parametrize("speaker", [V2, V5], ids=lambda item: item.name)

DATA = bytes(range(256)) * 16
VOF1 = 0x564F4631


@each_dialect
@pytest.mark.parametrize("threads", [1, 3])
def test_requests(serve: Serve, speaker: Speaker, threads: int) -> None:
    with speaker.attach(address_of(serve(threads=threads)), queues=2) as association:
        for sector, queue in enumerate(association.queues):
            assert speaker.request(queue, OUT, 8 * sector, DATA) == (OK, b"")
            assert speaker.request(queue, FLUSH) == (OK, b"")
            assert speaker.request(queue, IN, 8 * sector, room=len(DATA)) == (OK, DATA)
            assert speaker.request(queue, IN, 1 << 40, room=512) == (IOERR, bytes(512))
            serial = b"vof-000001".ljust(20, b"\0")
            assert speaker.request(queue, GET_ID, room=20) == (OK, serial)


@each_dialect
def test_many_requests_at_once(address: Address, speaker: Speaker) -> None:
    with speaker.attach(address, BLOCK1) as association:
        writes = [
            speaker.request_bytes(OUT, ident, bytes([ident]) * 512, command_id=ident)
            for ident in range(64)
        ]
        association.queue.send(b"".join(writes))
        for _ in writes:
            association.queue.receive(16 if speaker.is_v5 else 40)
            assert association.queue.receive(1) == b"\0"
        for ident in range(64):
            expected = (OK, bytes([ident]) * 512)
            assert speaker.request(association.queue, IN, ident, room=512) == expected


@both_earlier
def test_every_control_command_of_the_earlier_ones(address: Address, speaker: Speaker) -> None:
    """On the control queue, and on a virtqueue before and after its first request."""
    with speaker.attach(address) as association:
        for peer in (association.control, association.queue):
            earlier_commands(peer, speaker)
        assert speaker.request(association.queue, IN, room=512)[0] == OK
        for peer in (association.queue, association.control):
            earlier_commands(peer, speaker)


def earlier_commands(peer: Peer, speaker: Speaker) -> None:
    def get(name: str, select: int = 0, value: int = 0) -> int:
        return speaker.control(peer, name, select, value)

    def refused(name: str, select: int = 0, value: int = 0) -> int:
        status, found = speaker.try_control(peer, name, select, value)
        assert found == 0
        return status

    assert get("keepalive") == 0
    assert get("get_vendor_id", value=0xFFFF) == VOF1
    assert get("get_device_id", select=0xFFFFFFFF) == 2
    assert get("get_generation") == 0
    for status in (1, 3, 0):
        speaker.set_status(peer, status)
        assert get("get_status") == status
    assert get("get_device_feature", value=0xFFFF) & 1 << 32
    assert get("set_driver_feature", value=1 << 32) == 0
    assert refused("set_driver_feature", select=1) == 22
    assert get("get_num_queues") == 4
    assert refused("get_queue_size", select=4) == 22
    if speaker is PROPOSAL:
        assert get("set_queue_size", select=3, value=64) == 0
        assert get("get_queue_size", select=3) == 64
        assert refused("set_queue_size", select=0, value=64) == 16
        assert get("get_config_changed") == 0
    speaker.set_status(peer, 0)
    for width in (1, 2, 4, 8):
        assert speaker.config(peer, 0, width) == 8192 & (1 << 8 * width) - 1
        assert speaker.config(peer, 1, width) == 8192 >> 8 & (1 << 8 * width) - 1
        assert refused("get_config", 0xFFFF | width << 16) == 22
    assert get("set_config", 32 | 1 << 16, 1) == 0
    assert refused("set_config", 0 | 8 << 16, 1) == 22
    assert get("get_feature") == 128
    assert get("set_feature", value=64) == 0
    assert refused("set_feature", value=129) == 22
    if speaker is V2:
        assert get("get_feature", select=1) > 4 << 20
    assert refused("get_feature", select=2) == 22


def test_every_control_command_of_v5(address: Address) -> None:
    with V5.attach(address) as association:
        control = association.control

        def get(name: str, select: int = 0, value: int = 0) -> int:
            return V5.control(control, name, select, value)

        def refused(name: str, select: int = 0, value: int = 0) -> int:
            return V5.try_control(control, name, select, value)[0]

        assert get("keepalive") == 0
        assert get("get_vendor_id") == VOF1
        assert get("get_device_id") == 2
        for status in (1, 3):
            V5.set_status(control, status)
            assert get("get_status") == status
        assert refused("set_status", select=0x100) == 0x2010
        get("reset_device")
        assert get("get_status") == 0
        features = get("get_device_feature")
        assert features & 1 << 32
        assert get("get_device_feature", select=1) == 0
        assert get("set_driver_feature", value=1 << 32) == 0
        assert get("set_driver_feature", select=1) == 0
        assert refused("set_driver_feature", select=1, value=1) == 0x2020
        assert refused("set_driver_feature", value=features | 1 << 63) == 0x2020
        size = get("get_vq_size", select=3)
        assert size >= 128
        assert refused("get_vq_size", select=4) == 0x1020
        for width in (1, 2, 4, 8):
            assert V5.config(control, 0, width) == 8192 & (1 << 8 * width) - 1
            assert refused("get_config", 0xFFFF | width << 16) == 0x2030
        assert refused("get_config", 0 | 3 << 16) == 0x2031
        assert refused("set_config", 0 | 8 << 16, 1) == 0x2030
        assert refused("set_config", 0 | 5 << 16, 1) == 0x2031
        # A stream has none of the features there are, and nobody has others.
        assert get("get_feature") == get("get_feature", select=1) == 0
        assert get("set_feature") == 0
        for bits in (1, 2, 1 << 63):
            assert refused("set_feature", value=bits) == 0x2000
        assert refused("set_feature", select=1, value=1) == 0x2000
        for name in ("get_keyed_num_descs", "get_keyed_eager_buf", "vq", "vq_keyed_eager_buf"):
            assert refused(name) == 1


@pytest.mark.clause("v5 Status 1", "target")
@pytest.mark.parametrize("opcode", [0x0003, 0x1002, 0x1007, 0x1008, 0x100B, 0x2000, 0xFFFF])
def test_v5_has_a_status_for_a_command_that_nobody_knows(address: Address, opcode: int) -> None:
    """On any queue, with a request behind it, which is executed."""
    with V5.attach(address) as association:
        for peer in (association.control, association.queue):
            peer.send(command_bytes(opcode, 7, 0xAAAAAAAA, 0xAAAAAAAA))
            assert peer.receive(16) == struct.pack("<HH12x", 1, 7)
        assert V5.request(association.queue, IN, room=512)[0] == OK


@pytest.mark.clause("v5 Overview 2", "target")
def test_control_commands_of_v5_belong_on_the_control_queue(address: Address) -> None:
    with V5.attach(address) as association:
        for name in ("get_status", "get_config", "keepalive", "reset_device"):
            assert V5.try_control(association.queue, name, 0 | 1 << 16)[0] == 1


@pytest.mark.clause("v5 Connect 9", "target")
@pytest.mark.clause("v5 Connect 10", "target")
def test_more_commands_than_a_queue_holds(serve: Serve) -> None:
    """32 on the control queue; on a virtqueue what its Connect has asked for."""
    address = address_of(serve())
    with V5.attach(address, queues=0) as association:
        many = [V5.command("get_device_id", command_id=ident) for ident in range(40)]
        association.control.send(b"".join(many))
        answers = [association.control.receive(16) for _ in many]
        assert [answer[2] for answer in answers] == list(range(40))
        refused = [answer for answer in answers if answer[0]]
        assert len(refused) <= 8
        assert all(answer[:2] == b"\x02\0" for answer in refused)
        queue = association.adopt(Peer(address))
        queue.connect_v5(association.target_id, 0, queue_size=2, body=False)
        reads = [V5.request_bytes(IN, ident, room=512, command_id=ident) for ident in range(8)]
        queue.send(b"".join(reads))
        statuses = []
        for _ in reads:
            status, _ident, length, in_length = struct.unpack("<HH4xII", queue.receive(16))
            assert (length, in_length) == ((0, 0) if status else (513, 513))
            queue.receive(length)
            statuses.append(status)
        assert set(statuses) <= {0, 2}
        assert statuses.count(0) >= 2
        assert V5.request(queue, IN, room=512)[0] == OK


@pytest.mark.parametrize("threads", [1, 2])
def test_all_at_once_in_one_segment(serve: Serve, threads: int) -> None:
    """What lies in one receive was sent before any of it was answered: the rest is refused."""
    address = address_of(serve(threads=threads))
    with V5.attach(address, BLOCK1, queues=0) as association:
        queue = association.adopt(Peer(address))
        connect = connect_v5_bytes(association.target_id, 0, queue_size=3, body=False)
        reads = [V5.request_bytes(IN, room=512, command_id=ident) for ident in range(5)]
        queue.send(connect + b"".join(reads))
        queue.receive(16)
        statuses = []
        for _ in reads:
            status, _ident, length, _in_length = struct.unpack("<HH4xII", queue.receive(16))
            queue.receive(length)
            statuses.append(status)
        assert sorted(statuses) == [0, 0, 0, 2, 2]


@each_dialect
@pytest.mark.parametrize("place", ["control", "virtqueue", "virtqueue after a request"])
def test_disconnect(address: Address, log: Log, speaker: Speaker, place: str) -> None:
    with speaker.attach(address, queues=2) as association:
        peer = association.control if place == "control" else association.queue
        if place.endswith("request"):
            assert speaker.request(peer, IN, room=512)[0] == OK
        # What comes behind it is not executed any more.
        peer.send(command_bytes(1, 5) + command_bytes(0x1001, 6))
        assert peer.completion() == (0, 5, 0, 0)
        assert peer.is_closed()
        if place == "control":
            assert association.is_closed()
        else:
            association.add_queue(0)
            assert speaker.request(association.queues[-1], IN, room=512)[0] == OK
    assert not log.lines("violation")


@pytest.mark.clause("v5 Disconnect 1", "target")
@each_dialect
@pytest.mark.parametrize("threads", [1, 3])
def test_a_disconnect_is_answered_last(serve: Serve, speaker: Speaker, threads: int) -> None:
    with speaker.attach(address_of(serve(threads=threads))) as association:
        reads = [
            speaker.request_bytes(IN, ident, room=1 << 20, command_id=ident)
            for ident in range(1, 9)
        ]
        association.queue.send(b"".join([*reads, speaker.command("disconnect", command_id=99)]))
        data = bytearray()
        while part := association.queue.sock.recv(1 << 20):
            data += part
        assert len(data) > 8 << 20
        assert data[-16:] == struct.pack("<HH12x", 0, 99)


def test_all_dialects_at_once_on_one_device(address: Address) -> None:
    attached = [(speaker, speaker.attach(address, BLOCK1)) for speaker in SPEAKERS]
    for sector, (speaker, association) in enumerate(attached):
        assert speaker.request(association.queue, OUT, sector, DATA[:512]) == (OK, b"")
    for speaker, association in attached:
        for sector in range(len(attached)):
            expected = (OK, DATA[:512])
            assert speaker.request(association.queue, IN, sector, room=512) == expected
        association.close()


class TestConnect:
    """A Connect of v5."""

    @pytest.mark.parametrize("step", [1, 7, 16, 17])
    def test_in_pieces(self, address: Address, step: int) -> None:
        whole = connect_v5_bytes()
        with Peer(address) as peer:
            for place in range(0, len(whole), step):
                peer.send(whole[place : place + step])
            assert struct.unpack("<HH", peer.receive(16)[:4]) == (0, 0x1234)

    @pytest.mark.clause("v5 Connect 5", "target")
    @pytest.mark.parametrize("body", [False, True])
    def test_of_a_virtqueue_with_and_without_its_body(self, address: Address, body: bool) -> None:
        with V5.attach(address, queues=0) as association, Peer(address) as peer:
            assert peer.connect_v5(association.target_id, 1, body=body) == association.target_id
            assert V5.request(peer, IN, room=512)[0] == OK

    @pytest.mark.parametrize(
        ("fields", "status"),
        [
            ({"tvqn": "none"}, 0x1001),
            ({"body": False}, 0x1011),
            ({"instance": 77}, 0x1010),
            ({"instance": None, "ivqn": "another"}, 0x1011),
            ({"instance": None, "tvqn": BLOCK1}, 0x1011),
            ({"instance": None, "index": 4}, 0x1020),
            ({"instance": None, "index": 0}, 0x1021),
            ({"instance": None, "index": 1, "queue_size": 0xFFFF}, 0x1022),
        ],
    )
    def test_refused(
        self, address: Address, log: Log, fields: dict[str, object], status: int
    ) -> None:
        with V5.attach(address) as association, Peer(address) as peer:
            if "instance" in fields and fields["instance"] is None:
                fields = {**fields, "instance": association.target_id}
            peer.send(connect_v5_bytes(command_id=5, **fields))  # type: ignore[arg-type]
            assert peer.receive(16) == struct.pack("<HH12x", status, 5)
            # The connection is still good for one that is right.
            peer.connect_v5()
        assert not log.lines("violation")

    @pytest.mark.parametrize("length", [2, 1023, 1025, 0x10000, 0x10400, 0xFFFFFFFF])
    def test_with_a_body_of_another_length(self, address: Address, log: Log, length: int) -> None:
        data = bytearray(connect_v5_bytes())
        data[8:12] = length.to_bytes(4, "little")
        with Peer(address) as peer:
            peer.send(bytes(data[:16]))
            assert peer.is_closed()
        assert f"followed by {length} bytes" in reason(log)


@pytest.mark.clause("v5 Status 2", "target")
def test_the_table_is_full(serve: Serve) -> None:
    address = address_of(serve(targets=1, threads=1))
    with V5.attach(address, queues=0), Peer(address) as peer:
        peer.send(connect_v5_bytes(command_id=5))
        assert peer.receive(16) == struct.pack("<HH12x", 0x1002, 5)


# Initiators that mix them up.


def reason(log: Log) -> str:
    (line,) = log.lines("violation")
    return line.partition("reason=")[2].strip('"')


FOREIGN = {
    "vq on a proposal queue": (PROPOSAL, vq_bytes(bytes(16), 1), VQ),
    "vring of the proposal on a v2 queue": (V2, request_bytes(IN, room=512), VRING),
    "an eager command on a v2 queue": (V2, command_bytes(VQ_KEYED_EAGER_BUF), VQ_KEYED_EAGER_BUF),
    "set_feature of v5 on a proposal queue": (PROPOSAL, command_bytes(5), 5),
    "set_queue_size of the proposal on a v2 queue": (V2, command_bytes(0x1009), 0x1009),
    "get_keyed_num_descs on a v2 queue": (V2, command_bytes(0x0100), 0x0100),
}


@pytest.mark.parametrize("place", ["virtqueue", "control"])
@pytest.mark.parametrize(("speaker", "data", "opcode"), FOREIGN.values(), ids=FOREIGN)
def test_a_command_of_another_dialect(
    address: Address, log: Log, speaker: Speaker, data: bytes, opcode: int, place: str
) -> None:
    """Wherever it comes, and whoever reads it there, it is told in the same words."""
    with speaker.attach(address, queues=2) as association:
        peer = association.control if place == "control" else association.queue
        peer.send(data)
        check_ended(association, log)
    assert reason(log) == f"opcode {opcode:#06x} is not one of dialect {speaker.name}"


@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
@pytest.mark.parametrize("place", ["control", "virtqueue"])
def test_garbage_in_v5(address: Address, data: bytes, place: str) -> None:
    """It is refused, 16 bytes by 16 bytes, or ends the association; nothing else happens of it."""
    with V5.attach(address, queues=2) as association:
        peer = association.control if place == "control" else association.queue
        peer.send(data).half_close()
        assert peer.drain() <= 64


BAD_VQS = {
    "too many bytes": (vq_bytes(b"", 0xFFFFFFFF, out_length=0xFFFFFFFF), "add up to 8589934590"),
    "no room for the header": (vq_bytes(bytes(15), 1), "too few for its header"),
    "nothing at all": (vq_bytes(b"", 0), "too few for its header"),
    "no status byte": (vq_bytes(bytes(16), 0), "no room for its status byte"),
    "command id twice": (V5.request_bytes(IN, room=512, command_id=9) * 2, "while it is in flight"),
    "a second Connect": (connect_v5_bytes(), "a second Connect"),
    "a second Connect of the proposal": (connect_bytes(), "a second Connect"),
}


@pytest.mark.parametrize(("data", "words"), BAD_VQS.values(), ids=BAD_VQS)
def test_a_bad_vq(address: Address, log: Log, data: bytes, words: str) -> None:
    with V5.attach(address, queues=2) as association:
        association.queues[1].send(data)
        check_ended(association, log)
    assert words in reason(log)


def test_a_keyed_descriptor_on_a_stream_of_v2(address: Address, log: Log) -> None:
    data = vring_bytes([(16, 0, 1), (1, 1, 2)], header(FLUSH), opcode=0x0FFF)
    with V2.attach(address) as association:
        association.queue.send(data)
        check_ended(association, log)
    assert reason(log) == "a keyed descriptor on a stream"


@both_earlier
def test_a_request_on_the_control_queue(address: Address, log: Log, speaker: Speaker) -> None:
    with speaker.attach(address) as association:
        association.control.send(speaker.request_bytes(IN, room=512))
        check_ended(association, log)
    assert reason(log) == "a vring command on the control queue"


@pytest.mark.parametrize("mine", SPEAKERS, ids=lambda item: item.name)
@pytest.mark.parametrize("other", SPEAKERS, ids=lambda item: item.name)
def test_a_virtqueue_of_another_dialect(
    address: Address, log: Log, mine: Speaker, other: Speaker
) -> None:
    with mine.attach(address) as association, Peer(address) as peer:
        if other.is_v5:
            peer.send(connect_v5_bytes(association.target_id, 1, command_id=7))
        else:
            peer.send(connect_bytes(association.target_id, 1, oftype=other.oftype, command_id=7))
        status, command_id = struct.unpack("<HH", peer.receive(16)[:4])
        expected = 0 if mine is other else 0x1010 if other.is_v5 else 71
        assert (status, command_id) == (expected, 7)
    assert not log.lines("violation")


def test_the_way_to_find_out_what_a_target_speaks(address: Address) -> None:
    """``auto`` is a proposal first; here it learns whose target this is, and comes again."""
    with Peer(address) as peer:
        peer.connect(CONTROL)
        assert peer.control(0x1000) == VOF1
        peer.send(command_bytes(1, 5))
        assert peer.completion() == (0, 5, 0, 0)
        assert peer.is_closed()
    with Association(address, v5=True) as association:
        assert vq_completion(association.queue.send(V5.request_bytes(IN, room=512)), 513) == bytes(
            513
        )


@both_later
def test_a_command_id_twice_among_workers(serve: Serve, log: Log, speaker: Speaker) -> None:
    with speaker.attach(
        address_of(serve(threads=2)), "virtio-target/block/block2.service"
    ) as association:
        large = speaker.request_bytes(IN, room=24 << 20, command_id=9)
        association.queue.send(large + speaker.request_bytes(IN, room=512, command_id=9))
        association.queue.drain()
        check_ended(association, log)
