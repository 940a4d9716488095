# SPDX-License-Identifier: BSD-3-Clause
"""Each dialect over TCP on one port, and initiators that mix them up."""

from __future__ import annotations

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
    request_bytes,
)
from tests.target.speakers import (
    GET_KEYED_EAGER_BUF,
    GET_KEYED_NUM_DESCS,
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
both_later = pytest.mark.parametrize("speaker", [V2, V5], ids=lambda item: item.name)

DATA = bytes(range(256)) * 16


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
            association.queue.receive(16 if speaker.has_vq else 40)
            assert association.queue.receive(1) == b"\0"
        for ident in range(64):
            expected = (OK, bytes([ident]) * 512)
            assert speaker.request(association.queue, IN, ident, room=512) == expected


@each_dialect
def test_every_control_command(address: Address, speaker: Speaker) -> None:
    """On the control queue, and on a virtqueue before and after its first request."""
    with speaker.attach(address) as association:
        for peer in (association.control, association.queue):
            control_commands(peer, speaker)
        assert speaker.request(association.queue, IN, room=512)[0] == OK
        for peer in (association.queue, association.control):
            control_commands(peer, speaker)


def control_commands(peer: Peer, speaker: Speaker) -> None:
    assert peer.control(2) == 0
    assert peer.control(0x1000, value=0xFFFF) == 0x564F4631
    assert peer.control(0x1001, select=0xFFFFFFFF) == 2
    assert peer.control(0x1002) == 0
    for status in (1, 3, 0):
        speaker.set_status(peer, status)
        assert peer.control(0x1003) == status
    assert peer.control(0x1005, value=0xFFFF) & 1 << 32
    assert peer.try_control(0x1006, value=1 << 32) == (0, 0)
    assert peer.try_control(0x1006, select=1) == (22, 0)
    assert peer.control(0x1007) == 4
    assert peer.try_control(0x1009, select=3, value=64) == (0, 0)
    assert peer.control(0x1008, select=3) == 64
    assert peer.try_control(0x1008, select=4) == (22, 0)
    assert peer.try_control(0x1009, select=0, value=64) == (16, 0)
    speaker.set_status(peer, 0)
    for width in (1, 2, 4, 8):
        assert peer.config(0, width) == 8192 & (1 << 8 * width) - 1
        assert peer.config(1, width) == 8192 >> 8 & (1 << 8 * width) - 1
        assert peer.try_control(0x100A, 0xFFFF | width << 16) == (22, 0)
    assert peer.try_control(0x100B, 32 | 1 << 16, 1) == (0, 0)
    assert peer.try_control(0x100B, 0 | 8 << 16, 1) == (22, 0)
    assert peer.control(0x100C) == 0
    if speaker is PROPOSAL:
        assert peer.control(3) == 128
        assert peer.try_control(4, value=64) == (0, 0)
        assert peer.try_control(4, value=129) == (22, 0)
    else:
        # A stream has none of the features there are, and nobody has others.
        assert peer.control(4, value=0xFFFF) == 0
        assert peer.try_control(4, select=1) == (22, 0)
        assert peer.try_control(5, value=0) == (0, 0)
        for bits in (1, 2, 3, 4, 1 << 63):
            assert peer.try_control(5, value=bits) == (22, 0)
        assert peer.control(4) == 0


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


@both_later
def test_the_first_request_decides_in_any_pieces(address: Address, speaker: Speaker) -> None:
    """Control commands come before it, one byte at a time or all in one."""
    stream = (
        command_bytes(0x1001, 1)
        + command_bytes(0x1007, 2)
        + speaker.request_bytes(OUT, 3, DATA[:512], command_id=3)
        + command_bytes(0x1001, 4)
    )
    for step in (1, 3, 16, 17, 40, len(stream)):
        with speaker.attach(address) as association:
            for place in range(0, len(stream), step):
                association.queue.send(stream[place : place + step])
            assert association.queue.completion() == (0, 1, 0, 2)
            assert association.queue.completion() == (0, 2, 0, 4)
            if speaker is V5:
                assert vq_completion(association.queue, 1, 3) == b"\0"
            else:
                assert association.queue.vring_completion([(1, 2, 2)], 3) == b"\0"
            assert association.queue.completion() == (0, 4, 0, 2)


@both_later
def test_queues_of_an_association_agree(address: Address, log: Log, speaker: Speaker) -> None:
    with speaker.attach(address, queues=3) as association:
        for queue in association.queues:
            assert speaker.request(queue, IN, room=512)[0] == OK
        # One that is connected when it is decided already.
        association.add_queue(3)
        assert speaker.request(association.queues[3], IN, room=512)[0] == OK
    assert not log.lines("violation")


def test_all_dialects_at_once_on_one_device(address: Address) -> None:
    attached = [(speaker, speaker.attach(address, BLOCK1)) for speaker in SPEAKERS]
    for sector, (speaker, association) in enumerate(attached):
        assert speaker.request(association.queue, OUT, sector, DATA[:512]) == (OK, b"")
    for speaker, association in attached:
        for sector in range(len(attached)):
            expected = (OK, DATA[:512])
            assert speaker.request(association.queue, IN, sector, room=512) == expected
        association.close()


# Initiators that mix them up.


def reason(log: Log) -> str:
    (line,) = log.lines("violation")
    return line.partition("reason=")[2].strip('"')


FOREIGN = {
    "vq on a proposal queue": (PROPOSAL, vq_bytes(bytes(16), 1), f"{VQ:#06x}", "proposal"),
    "vring on a v5 queue": (V5, request_bytes(IN, room=512), f"{VRING:#06x}", "v5"),
    "vq on a v2 queue": (V2, vq_bytes(bytes(16), 1), f"{VQ:#06x}", "v2"),
    "an eager command on a proposal queue": (
        PROPOSAL,
        command_bytes(VQ_KEYED_EAGER_BUF),
        f"{VQ_KEYED_EAGER_BUF:#06x}",
        "proposal",
    ),
    "an eager command on a v2 queue": (
        V2,
        command_bytes(VQ_KEYED_EAGER_BUF),
        f"{VQ_KEYED_EAGER_BUF:#06x}",
        "v2",
    ),
    "get_keyed_num_descs of the proposal": (
        PROPOSAL,
        command_bytes(GET_KEYED_NUM_DESCS),
        f"{GET_KEYED_NUM_DESCS:#06x}",
        "proposal",
    ),
    "get_keyed_eager_buf of v2": (
        V2,
        command_bytes(GET_KEYED_EAGER_BUF),
        f"{GET_KEYED_EAGER_BUF:#06x}",
        "v2",
    ),
    "set_feature of v2 on a proposal queue": (PROPOSAL, command_bytes(5), "0x0005", "proposal"),
    "get_feature of the proposal on a v5 queue": (V5, command_bytes(3), "0x0003", "v5"),
}


@pytest.mark.parametrize("place", ["the deciding queue", "another queue", "control"])
@pytest.mark.parametrize(("speaker", "data", "opcode", "name"), FOREIGN.values(), ids=FOREIGN)
def test_a_command_of_another_dialect(
    address: Address, log: Log, speaker: Speaker, data: bytes, opcode: str, name: str, place: str
) -> None:
    """Wherever it comes, and whoever reads it there, it is told in the same words."""
    with speaker.attach(address, queues=2) as association:
        first, second = association.queues
        assert speaker.request(first, IN, room=512)[0] == OK
        {"the deciding queue": first, "another queue": second, "control": association.control}[
            place
        ].send(data)
        check_ended(association, log)
    assert reason(log) == f"opcode {opcode} is not one of dialect {name}"


@pytest.mark.parametrize(("first", "second"), [(V2, V5), (V5, V2)])
def test_two_queues_that_decide_differently(
    address: Address, log: Log, first: Speaker, second: Speaker
) -> None:
    with first.attach(address, queues=2) as association:
        assert first.request(association.queues[0], OUT, 1, DATA[:512]) == (OK, b"")
        association.queues[1].send(second.request_bytes(OUT, 1, bytes(512)))
        check_ended(association, log)
    assert f"is not one of dialect {first.name}" in reason(log)
    with PROPOSAL.attach(address) as association:
        assert association.queue.request(IN, 1, room=512) == (OK, DATA[:512])


@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
@pytest.mark.parametrize("place", ["control", "virtqueue"])
def test_garbage_while_nothing_is_decided(
    address: Address, log: Log, data: bytes, place: str
) -> None:
    with V5.attach(address, queues=2) as association:
        peer = association.control if place == "control" else association.queue
        peer.send(data)
        check_ended(association, log)
    assert "is not one of dialect v2 or v5" in reason(log)


def test_a_first_command_that_is_cut_off(address: Address, log: Log) -> None:
    whole = command_bytes(0x1001) + V5.request_bytes(OUT, 7, b"\xee" * 512)
    with V5.attach(address, queues=0) as association:
        for size in range(len(whole)):
            with Peer(address) as peer:
                peer.connect(association.target_id, 3, oftype=1)
                peer.send(whole[:size]).half_close()
                if size >= 16:
                    assert peer.completion() == (0, 1, 0, 2)
                assert peer.is_closed(), size
        queue = association.add_queue(3)
        assert V5.request(queue, IN, 7, room=512) == (OK, bytes(512))
    assert not log.lines("violation")


KEYED = "a vq command on a stream has keyed descriptors"

BAD_VQS = {
    "an eager command": (command_bytes(VQ_KEYED_EAGER_BUF), "a vq_keyed_eager_buf command on a"),
    "keyed readable buffers": (vq_bytes(bytes(16), 1, keyed=(1, 0)), KEYED),
    "keyed writable buffers": (vq_bytes(bytes(16), 1, keyed=(0, 255)), KEYED),
    "too many bytes": (vq_bytes(b"", 0xFFFFFFFF, out_length=0xFFFFFFFF), "add up to 8589934590"),
    "no room for the header": (vq_bytes(bytes(15), 1), "too few for its header"),
    "nothing at all": (vq_bytes(b"", 0), "too few for its header"),
    "no status byte": (vq_bytes(bytes(16), 0), "no room for its status byte"),
    "command id twice": (V5.request_bytes(IN, room=512, command_id=9) * 2, "while it is in flight"),
    "a second Connect": (connect_bytes(oftype=1), "a second Connect"),
}


@pytest.mark.parametrize("decided", [False, True])
@pytest.mark.parametrize(("data", "words"), BAD_VQS.values(), ids=BAD_VQS)
def test_a_bad_vq(address: Address, log: Log, data: bytes, words: str, decided: bool) -> None:
    with V5.attach(address, queues=2) as association:
        if decided:
            assert V5.request(association.queues[0], IN, room=512)[0] == OK
        association.queues[1].send(data)
        check_ended(association, log)
    assert words in reason(log)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (request_bytes(IN, room=512), "a vring command on the control queue"),
        (vq_bytes(bytes(16), 1), "a vq command on the control queue"),
        (command_bytes(VQ_KEYED_EAGER_BUF), "a vq_keyed_eager_buf command on the control queue"),
    ],
)
def test_a_request_on_the_control_queue(
    address: Address, log: Log, data: bytes, words: str
) -> None:
    with V5.attach(address) as association:
        association.control.send(data)
        check_ended(association, log)
    assert reason(log) == words


@pytest.mark.parametrize("opcode", [GET_KEYED_NUM_DESCS, GET_KEYED_EAGER_BUF])
def test_commands_of_keyed_transmission_on_a_stream(
    address: Address, log: Log, opcode: int
) -> None:
    with V5.attach(address) as association:
        for peer in (association.control, association.queue):
            assert peer.try_control(opcode) == (22, 0)
        # Whoever knows them speaks v5.
        association.queue.send(request_bytes(IN, room=512))
        check_ended(association, log)
    assert reason(log) == "opcode 0x2000 is not one of dialect v5"


@pytest.mark.parametrize(("mine", "other"), [(0, 1), (1, 0)])
def test_a_virtqueue_with_the_other_oftype(
    address: Address, log: Log, mine: int, other: int
) -> None:
    with Association(address, queues=1, oftype=mine) as association, Peer(address) as peer:
        peer.send(connect_bytes(association.target_id, 1, oftype=other, command_id=7))
        assert peer.completion() == (71, 7, 0, 0)
        assert peer.connect(association.target_id, 1, oftype=mine) == association.target_id
    assert not log.lines("violation")


def test_the_way_to_find_out_what_a_target_speaks(address: Address) -> None:
    """``auto`` connects with the latest numbers first; this target knows them."""
    with Peer(address) as peer:
        peer.send(connect_bytes(CONTROL, 0, oftype=1))
        answer = peer.completion()
        assert (answer.status, answer.command_id) == (0, 0x1234)


@both_later
def test_a_command_id_twice_among_workers(serve: Serve, log: Log, speaker: Speaker) -> None:
    with speaker.attach(
        address_of(serve(threads=2)), "virtio-target/block/block2.service"
    ) as association:
        large = speaker.request_bytes(IN, room=24 << 20, command_id=9)
        association.queue.send(large + speaker.request_bytes(IN, room=512, command_id=9))
        association.queue.drain()
        check_ended(association, log)
