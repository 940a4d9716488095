# SPDX-License-Identifier: BSD-3-Clause
"""What the published texts ask of a target, passage by passage, over TCP in each dialect.

An initiator made by hand sends the bytes: see ``tests/target/peer``.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from tests.target.peer import (
    CONTROL,
    IN,
    OK,
    OUT,
    Peer,
    command_bytes,
    connect_bytes,
    header,
    name_field,
    vring_bytes,
)
from tests.target.speakers import (
    CONFIG_CHANGE,
    PROPOSAL,
    SPEAKERS,
    V2,
    V5,
    Speaker,
    vq_bytes,
    vq_completion,
)

Address = tuple[str, int]

DISK, OTHER = "conformance/disk", "conformance/other"

ONES = 0xFFFF_FFFF_FFFF_FFFF
EINVAL, ENODEV, EPROTO, ECHRNG = 22, 19, 71, 44

each_dialect = pytest.mark.parametrize("speaker", SPEAKERS, ids=lambda item: item.name)
both_later = pytest.mark.parametrize("speaker", [V2, V5], ids=lambda item: item.name)
both_of_segments = pytest.mark.parametrize("speaker", [PROPOSAL, V2], ids=lambda item: item.name)


def devices(folder: Path) -> str:
    with (folder / "disk.img").open("xb") as image:
        image.truncate(1 << 20)
    return f"""
[disk]
tvqn = {DISK}
model = block
backend = driver=block-posix,path={folder}/disk.img,queues=3

[other]
tvqn = {OTHER}
model = block
backend = driver=block-memory,size=1M
"""


# Values and command ids.


@pytest.mark.clause("000:33-41", "target")
@each_dialect
def test_a_value_begins_its_8_bytes(address: Address, speaker: Speaker) -> None:
    """Of each width there is: the status, the number of queues, the device's id, its features."""
    with speaker.attach(address, DISK, queues=0) as association:
        speaker.set_status(association.control, 3)
        for opcode, width in ((0x1003, 1), (0x1007, 2), (0x1001, 4), (0x1005, 8)):
            association.control.send(command_bytes(opcode, 9))
            answer = association.control.receive(16)
            assert answer[:8] == bytes.fromhex("0000 0900 0000 0000")
            assert any(answer[8 : 8 + width])
            assert not any(answer[8 + width :])


@pytest.mark.clause("000:44-46", "target")
@pytest.mark.clause("000:47-49", "target")
@pytest.mark.parametrize("ident", [0, 1, 0x0100, 0x1234, 0xFEFF])
@each_dialect
def test_a_completion_has_its_command_s_id(address: Address, speaker: Speaker, ident: int) -> None:
    with Peer(address) as control, Peer(address) as queue:
        target_id = control.connect(tvqn=DISK, oftype=speaker.oftype, command_id=ident)
        queue.connect(target_id, 1, tvqn=DISK, oftype=speaker.oftype, command_id=ident)
        for opcode in (2, 0x1000, 0x1004, 0x1007, 0x100A, 0x100C, speaker.get_feature):
            assert control.send(command_bytes(opcode, ident)).completion().command_id == ident
        queue.send(speaker.request_bytes(OUT, 0, bytes(512), command_id=ident))
        assert queue.receive(16)[2:4] == ident.to_bytes(2, "little")
        assert control.send(command_bytes(1, ident)).completion() == (0, ident, 0, 0)


@pytest.mark.clause("000:50", "target")
@pytest.mark.parametrize("place", ["control", "virtqueue"])
@each_dialect
def test_an_id_twice_in_flight(address: Address, speaker: Speaker, place: str) -> None:
    """A violation (ours); one after the other there is no limit."""
    with speaker.attach(address, DISK) as association:
        if place == "control":
            peer, command = association.control, command_bytes(0x1001, 7)
        else:
            peer, command = association.queue, speaker.request_bytes(OUT, 0, bytes(512), 0)
        size = 16 if place == "control" else 17 if speaker.has_vq else 41
        for _ in range(3):
            peer.send(command).receive(size)
        peer.send(command * 2)
        peer.drain()
        assert association.is_closed()


@pytest.mark.clause("000:51-53", "target")
@pytest.mark.clause("000:64-65", "target")
@pytest.mark.parametrize("ident", [0xFF00, 0xFFFD, 0xFFFE, 0xFFFF])
@each_dialect
def test_a_reserved_id(address: Address, speaker: Speaker, ident: int) -> None:
    """On a control queue with events a command may not have it; the proposal has none."""
    with speaker.attach(address, DISK) as association:
        association.control.send(command_bytes(0x1001, ident))
        if speaker is PROPOSAL:
            assert association.control.completion() == (0, ident, 0, 2)
        else:
            assert association.is_closed()


@pytest.mark.clause("000:51-53", "target")
@pytest.mark.clause("000:62-63", "target")
@each_dialect
def test_an_event(address: Address, speaker: Speaker, tmp_path: Path) -> None:
    """Once the config has changed, on the control queue alone, and in no proposal."""
    with (
        V5.attach(address, DISK) as witness,
        speaker.attach(address, DISK) as association,
        speaker.attach(address, OTHER) as other,
    ):
        os.truncate(tmp_path / "disk.img", 2 << 20)
        assert witness.control.completion() == CONFIG_CHANGE
        if speaker is not PROPOSAL:
            assert association.control.completion() == CONFIG_CHANGE
        # What comes next is an answer, everywhere.
        for each in (association, other):
            assert each.control.control(0x1001) == 2
            assert speaker.request(each.queue, IN, room=512)[0] == OK
        assert association.control.control(0x1002) == 1
        assert association.control.config(0, 8) == (2 << 20) // 512


# Connect.


@pytest.mark.clause("000:69-72", "target")
@each_dialect
def test_the_control_queue_comes_first(address: Address, speaker: Speaker) -> None:
    with Peer(address) as queue, Peer(address) as control:
        queue.send(connect_bytes(0, 0, tvqn=DISK, oftype=speaker.oftype, command_id=5))
        assert queue.completion() == (ENODEV, 5, 0, 0)
        target_id = control.connect(tvqn=DISK, oftype=speaker.oftype)
        assert queue.connect(target_id, 0, tvqn=DISK, oftype=speaker.oftype) == target_id
        # The association is the control queue's, and ends with it.
        control.close()
        assert queue.is_closed()


@pytest.mark.clause("000:69-72", "target")
@pytest.mark.parametrize("opcode", [1, 2, 0x1001, 0x0FFF, 0x2000])
def test_nothing_comes_before_a_connect(address: Address, opcode: int) -> None:
    with Peer(address) as peer:
        assert peer.send(command_bytes(opcode)).is_closed()


@pytest.mark.clause("000:75-76", "target")
@pytest.mark.parametrize("queue", [0, 1, 0xFFFF])
@each_dialect
def test_the_target_id_of_a_control_queue(address: Address, speaker: Speaker, queue: int) -> None:
    """It alone says that a Connect is one; the queue's number means nothing there."""
    with Peer(address) as peer:
        peer.connect(CONTROL, queue, tvqn=DISK, oftype=speaker.oftype)
        assert peer.control(0x1007) == 3


@pytest.mark.clause("000:77-78", "target")
@each_dialect
def test_each_association_has_a_target_id(address: Address, speaker: Speaker) -> None:
    with (
        speaker.attach(address, DISK, queues=0) as one,
        speaker.attach(address, DISK, queues=0) as two,
        speaker.attach(address, OTHER, queues=0) as three,
    ):
        idents = [each.target_id for each in (one, two, three)]
        assert len(set(idents)) == 3
        assert CONTROL not in idents
        # The Connect of a virtqueue is told it as well.
        two.add_queue(0)
        assert two.target_id == idents[1]


@pytest.mark.clause("000:79-82", "target")
@each_dialect
def test_the_connect_of_a_virtqueue(address: Address, speaker: Speaker) -> None:
    """By target id and number; the number is that of the queue whose size is asked for."""
    with (
        speaker.attach(address, DISK, queues=0) as association,
        speaker.attach(address, OTHER, queues=0) as other,
    ):
        association.control.control(0x1009, select=2, value=16)
        for target_id, queue, status in (
            (association.target_id + 7, 2, ENODEV),
            (other.target_id, 0, EPROTO),
            (association.target_id, 3, ECHRNG),
            (association.target_id, 2, 0),
        ):
            with Peer(address) as peer:
                peer.send(connect_bytes(target_id, queue, tvqn=DISK, oftype=speaker.oftype))
                assert peer.completion().status == status
        association.add_queue(1)
        for number, status in ((0, 0), (1, 16)):
            found = association.control.try_control(0x1009, select=number, value=16)
            assert found == (status, 0)


@pytest.mark.clause("000:83-98", "target")
@each_dialect
def test_the_layout_of_a_connect(address: Address, speaker: Speaker) -> None:
    """Padding and the descriptor's address may hold anything."""
    with Peer(address) as peer:
        head = struct.pack("<HHHHHB", 0, 0x0102, 0xFFFF, 0, 1, speaker.oftype) + b"\xaa" * 5
        descriptor = struct.pack("<QIHHII", ONES, 1024, 0xBBBB, 0, 0xCCCCCCCC, 0xDDDDDDDD)
        body = name_field("me") + name_field(DISK) + b"\xee" * 512
        answer = peer.send(head + descriptor + body).receive(16)
        assert answer[:8] == bytes.fromhex("0000 0201 0000 0000")
        assert answer[10:] == bytes(6)
        assert peer.control(0x1007) == 3


@pytest.mark.clause("000:83-98", "target")
@pytest.mark.parametrize("oftype", [2, 3, 255])
def test_an_oftype_that_is_not_tcp(address: Address, oftype: int) -> None:
    with Peer(address) as peer:
        peer.send(connect_bytes(tvqn=DISK, oftype=oftype))
        assert peer.completion() == (EPROTO, 0, 0, 0)
        assert peer.connect(tvqn=DISK, oftype=1) == 0


@pytest.mark.clause("000:99-102", "target")
@pytest.mark.parametrize(
    "fields", [{"ndesc": 0}, {"ndesc": 2}, {"length": 1023}, {"length": 1025}, {"flags": 2}]
)
@each_dialect
def test_a_connect_with_anything_but_one_descriptor_of_its_body(
    address: Address, speaker: Speaker, fields: dict[str, int]
) -> None:
    with Peer(address) as peer:
        data = connect_bytes(tvqn=DISK, oftype=speaker.oftype, **fields)  # type: ignore[arg-type]
        assert peer.send(data).is_closed()


@pytest.mark.clause("000:103-110", "target")
def test_the_layout_of_a_connect_s_body(address: Address) -> None:
    """A name ends with the first NUL, or with its field."""
    tail = b"\0" + b"\xff" * (255 - len(DISK))
    with Peer(address) as peer:
        peer.connect(tvqn=DISK.encode() + tail, ivqn=b"i" * 256, oftype=1)
    for tvqn in (DISK[:-1], DISK + "x", "", "x" * 256):
        with Peer(address) as peer:
            peer.send(connect_bytes(tvqn=tvqn, oftype=1, command_id=3))
            assert peer.completion() == (ENODEV, 3, 0, 0)


# Commands of the control queue.


@pytest.mark.clause("000:111-114", "target")
@pytest.mark.clause("000:115-116", "target")
@pytest.mark.clause("000:117-120", "target")
@pytest.mark.clause("000:121-127", "target")
@each_dialect
def test_features(address: Address, speaker: Speaker) -> None:
    """Of the transport: what a vring command may have in the proposal, else bits; of the device."""
    with speaker.attach(address, DISK, queues=0) as association:
        control = association.control
        assert control.control(speaker.get_feature) == (128 if speaker is PROPOSAL else 0)
        assert control.try_control(speaker.set_feature, value=1 << 40) == (EINVAL, 0)
        for opcode in (speaker.get_feature, speaker.set_feature, 0x1005, 0x1006):
            assert control.try_control(opcode, select=1 << 16, value=1) == (EINVAL, 0)
        offered = control.control(0x1005)
        assert offered >> 32 & 1
        for value, agreed in ((offered | 1 << 63, 3), (1 << 32, 0xB)):
            speaker.set_status(control, 0)
            speaker.set_status(control, 3)
            assert control.control(0x1006, value=value) == 0
            speaker.set_status(control, 0xB)
            assert control.control(0x1003) == agreed


@pytest.mark.clause("000:128-130", "target")
@pytest.mark.clause("000:144-150", "target")
@pytest.mark.clause("000:161-164", "target")
@pytest.mark.clause("000:196-202", "target")
@each_dialect
def test_the_value_of_a_get_means_nothing(address: Address, speaker: Speaker) -> None:
    """Of every get there is, features and their transport's, queues, config and common ones."""
    gets = {
        speaker.get_feature: 0,
        0x1000: 0,
        0x1001: 0,
        0x1002: 0,
        0x1003: 0,
        0x1005: 0,
        0x1007: 0,
        0x1008: 1,
        0x100A: 4 | 4 << 16,
        0x100C: 0,
    }
    with speaker.attach(address, DISK, queues=0) as association:
        speaker.set_status(association.control, 1)
        for opcode, select in gets.items():
            plain = association.control.try_control(opcode, select)
            assert plain[0] == 0
            for value in (1, 0x8000_0000_0000_0000, ONES):
                assert association.control.try_control(opcode, select, value) == plain
        assert association.control.control(0x1003) == 1


@pytest.mark.clause("000:131-136", "target")
@pytest.mark.clause("000:137-143", "target")
@each_dialect
def test_a_queue_has_its_size(address: Address, speaker: Speaker) -> None:
    """Each its own; the padding behind its number may hold anything."""
    with speaker.attach(address, DISK, queues=0) as association:
        control = association.control
        most = control.control(0x1008, select=0)
        assert control.control(0x1009, select=1 | 0xAAAA << 16, value=32 | ONES << 16 & ONES) == 0
        assert control.control(0x1008, select=1 | 0xBBBB << 16) == 32
        assert [control.control(0x1008, select=queue) for queue in range(3)] == [most, 32, most]
        assert control.try_control(0x1008, select=3) == (EINVAL, 0)


@pytest.mark.clause("000:151-153", "target")
@pytest.mark.clause("000:154-160", "target")
@pytest.mark.clause("000:165-173", "target")
@each_dialect
def test_the_config_space_is_read(address: Address, speaker: Speaker) -> None:
    with speaker.attach(address, DISK, queues=0) as association:
        control = association.control
        size = 72
        config = bytes(control.config(offset, 1) for offset in range(size))
        assert config[:8] == (2048).to_bytes(8, "little")
        for width in (1, 2, 4, 8):
            for offset in range(size - width + 1):
                expected = int.from_bytes(config[offset : offset + width], "little")
                # With anything in the byte of padding.
                assert control.control(0x100A, offset | width << 16 | 0xAA << 24) == expected
            assert control.try_control(0x100A, size - width + 1 | width << 16) == (EINVAL, 0)
        for width in (0, 3, 5, 7, 9, 16, 255):
            assert control.try_control(0x100A, width << 16) == (EINVAL, 0)


@pytest.mark.clause("000:151-153", "target")
@pytest.mark.clause("000:174-182", "target")
@each_dialect
def test_the_config_space_is_written(address: Address, speaker: Speaker) -> None:
    """No device has a field of more than a byte that may be: the others are refused."""
    with speaker.attach(address, DISK, queues=0) as association:
        control = association.control
        # As many bytes of the value as the width says, whatever the others hold.
        for value in (0, 1):
            assert control.control(0x100B, 32 | 1 << 16, ONES << 8 & ONES | value) == 0
            assert control.config(32, 1) == value
        for width in (2, 4, 8):
            assert control.try_control(0x100B, 32 | width << 16, 0) == (EINVAL, 0)
            assert control.try_control(0x100B, 0 | width << 16, 1) == (EINVAL, 0)
        for width in (0, 3, 255):
            assert control.try_control(0x100B, 32 | width << 16, 0) == (EINVAL, 0)
        assert control.config(32, 1) == 1
        assert control.config(0, 8) == 2048


@pytest.mark.clause("000:183-187", "target")
@pytest.mark.clause("000:188-195", "target")
@each_dialect
def test_common_commands(address: Address, speaker: Speaker) -> None:
    """Padding may hold anything; the proposal's set_status has its value there (the programs')."""
    with speaker.attach(address, DISK, queues=0) as association:
        control = association.control
        for opcode, value in ((0x1000, 0x564F4631), (0x1001, 2), (0x1002, 0), (0x1007, 3)):
            assert control.control(opcode, select=0xAAAAAAAA) == value
        speaker.set_status(control, 1)
        assert control.control(0x1003, select=0xBBBBBBBB) == 1


# Requests.


@pytest.mark.clause("000:203-208", "target")
@pytest.mark.clause("002:100-101", "target")
@pytest.mark.clause("002:129-131", "target")
@each_dialect
def test_a_request_on_the_control_queue(address: Address, speaker: Speaker) -> None:
    """The one buffer that a control queue carries is a Connect's, described as any other. Of a
    request there nothing is said, and it is a violation (ours)."""
    with speaker.attach(address, DISK) as association:
        assert speaker.request(association.queue, IN, room=512)[0] == OK
        association.control.send(speaker.request_bytes(IN, room=512))
        assert association.is_closed()


@pytest.mark.clause("002:100-101", "target")
@pytest.mark.parametrize("place", ["control", "virtqueue"])
def test_an_eager_command_over_tcp(address: Address, place: str) -> None:
    with V5.attach(address, DISK) as association:
        peer = association.control if place == "control" else association.queue
        peer.send(command_bytes(0x0FFE))
        assert association.is_closed()


@pytest.mark.clause("000:209-211", "target")
@pytest.mark.parametrize("length", [0, 15, 16, 528, 529, 0xFFFFFFFF])
@both_of_segments
def test_the_length_of_a_vring_command(address: Address, speaker: Speaker, length: int) -> None:
    """No two programs reckon it alike: it is not looked at (ours)."""
    with speaker.attach(address, DISK) as association:
        data = bytearray(speaker.request_bytes(OUT, 1, b"\x11" * 512))
        data[4:8] = length.to_bytes(4, "little")
        assert association.queue.send(bytes(data)).vring_completion([(1, 2, 2)]) == b"\0"
        assert association.queue.request(IN, 1, room=512) == (OK, b"\x11" * 512)


@pytest.mark.clause("000:212-219", "target")
@pytest.mark.parametrize("ndesc", [0, 129, 0xFFFF])
@both_of_segments
def test_numbers_of_descriptors_that_are_too_many_or_none(
    address: Address, speaker: Speaker, ndesc: int
) -> None:
    with speaker.attach(address, DISK) as association:
        association.queue.send(vring_bytes([(16, 0, 0), (1, 1, 2)], ndesc=ndesc))
        assert association.is_closed()


@pytest.mark.clause("000:220-226", "target")
@each_dialect
def test_a_refused_command_is_answered(address: Address, speaker: Speaker) -> None:
    with speaker.attach(address, DISK, queues=0) as association:
        for opcode in (0x100A, 0x1008):
            assert association.control.try_control(opcode, select=0xFFFF) == (EINVAL, 0)
        assert association.control.try_control(0x1001) == (0, 2)


@pytest.mark.clause("000:220-226", "target")
@pytest.mark.clause("000:227-234", "target")
@pytest.mark.clause("003:94-106", "target")
@pytest.mark.clause("003:107-120", "target")
@pytest.mark.clause("003:179-191", "target")
@pytest.mark.clause("003:192-229", "target")
@both_of_segments
def test_a_completion_returns_the_writable_descriptors(address: Address, speaker: Speaker) -> None:
    """With their ids and flags, what they hold one behind the other: ``vring_completion`` looks."""
    with speaker.attach(address, DISK) as association:
        queue = association.queue
        data = os.urandom(8192)
        write = [(16, 10, 1), (4096, 11, 1), (4096, 12, 1), (1, 13, 2)]
        queue.send(vring_bytes(write, header(OUT, 8) + data, command_id=10))
        assert queue.vring_completion([(1, 13, 2)], 10) == b"\0"
        rooms = [(4096, 15, 3), (4096, 16, 3), (1, 17, 2)]
        queue.send(vring_bytes([(16, 14, 1), *rooms], header(IN, 8), command_id=14))
        assert queue.vring_completion(rooms, 14) == data + b"\0"


@pytest.mark.clause("003:33-44", "target")
@pytest.mark.clause("003:45-93", "target")
@pytest.mark.clause("003:121-134", "target")
@pytest.mark.clause("003:135-178", "target")
@both_of_segments
def test_the_examples_of_the_proposal(address: Address, speaker: Speaker) -> None:
    """The bytes that examples 1.1 and 1.2 draw, with their addresses and lengths."""

    def descriptor(addr: int, length: int, ident: int, flags: int) -> bytes:
        return struct.pack("<QIHHI4x", addr, length, ident, flags, 0)

    data = os.urandom(8192)
    write = struct.pack("<HHIH6x", 0x2000, 10, 8208, 4) + b"".join(
        (
            descriptor(0, 16, 10, 1),
            descriptor(16, 4096, 11, 1),
            descriptor(4112, 4096, 12, 1),
            descriptor(0, 1, 13, 2),
        )
    )
    read = struct.pack("<HHIH6x", 0x2000, 14, 16, 4) + b"".join(
        (
            descriptor(0, 16, 14, 1),
            descriptor(16, 4096, 15, 3),
            descriptor(4112, 4096, 16, 3),
            descriptor(0, 1, 17, 2),
        )
    )
    with speaker.attach(address, DISK) as association:
        queue = association.queue
        queue.send(write + header(OUT) + data)
        assert queue.receive(41) == (
            struct.pack("<HHHHQ", 0, 10, 1, 0, 1) + descriptor(0, 1, 13, 2) + b"\0"
        )
        queue.send(read + header(IN))
        assert queue.receive(16 + 72 + 8193) == b"".join(
            (
                struct.pack("<HHHHQ", 0, 14, 3, 0, 8193),
                descriptor(0, 4096, 15, 3),
                descriptor(4096, 4096, 16, 3),
                descriptor(8192, 1, 17, 2),
                data,
                b"\0",
            )
        )


@pytest.mark.clause("002:30-40", "target")
def test_the_numbers_of_the_opcodes(address: Address) -> None:
    """Of those that a stream has; the keyed ones are refused there and known all the same."""
    with V5.attach(address, DISK) as association:
        control = association.control
        assert control.try_control(0x0004) == (0, 0)
        assert control.try_control(0x0005) == (0, 0)
        assert control.try_control(0x0100) == (EINVAL, 0)
        assert control.try_control(0x0102) == (EINVAL, 0)
        assert control.try_control(0x1000) == (0, 0x564F4631)
        assert control.try_control(0x1001) == (0, 2)
        association.queue.send(vq_bytes(header(IN), 513))
        assert vq_completion(association.queue, 513)[-1] == OK
        control.send(command_bytes(0x0101))
        assert association.is_closed()


@pytest.mark.clause("002:41-43", "target")
@pytest.mark.clause("002:44-45", "target")
@both_later
def test_keyed_features_over_tcp(address: Address, speaker: Speaker) -> None:
    """Not offered, not to be had, and neither are their commands."""
    with speaker.attach(address, DISK) as association:
        assert speaker.request(association.queue, IN, room=512)[0] == OK
        control = association.control
        assert control.control(speaker.get_feature) == 0
        for bits in (1, 2, 3):
            assert control.try_control(speaker.set_feature, value=bits) == (EINVAL, 0)
        if speaker is V5:
            assert control.try_control(0x0100) == (EINVAL, 0)
            assert control.try_control(0x0102) == (EINVAL, 0)
