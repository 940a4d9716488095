# SPDX-License-Identifier: BSD-3-Clause
"""What the earlier texts ask of a target, passage by passage, over TCP; what *v5* asks as well is
tried in it, too.

An initiator made by hand sends the bytes: see ``tests/target/peer``.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from tests.support.protocol_numbers import OPCODES
from tests.target.peer import (
    CONTROL,
    IN,
    OK,
    OUT,
    Peer,
    command_bytes,
    connect_bytes,
    connect_v5_bytes,
    header,
    name_field,
    vring_bytes,
)
from tests.target.speakers import CONFIG_CHANGE, PROPOSAL, SPEAKERS, V2, V5, Speaker

Address = tuple[str, int]

DISK, OTHER = "conformance/disk", "conformance/other"

ONES = 0xFFFF_FFFF_FFFF_FFFF
EINVAL, ENODEV, EPROTO, ECHRNG, EBUSY = 22, 19, 71, 44, 16

each_dialect = pytest.mark.parametrize("speaker", SPEAKERS, ids=lambda item: item.name)
both_earlier = pytest.mark.parametrize("speaker", [PROPOSAL, V2], ids=lambda item: item.name)


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


def connect_of(speaker: Speaker, target_id: int, queue: int) -> bytes:
    how = {"tvqn": DISK, "command_id": 5}
    if speaker.is_v5:
        return connect_v5_bytes(target_id, queue, **how)  # type: ignore[arg-type]
    return connect_bytes(target_id, queue, oftype=speaker.oftype, **how)  # type: ignore[arg-type]


NO_INSTANCE = {"proposal": ENODEV, "v2": ENODEV, "v5": 0x1010}


# Values and command ids.


@pytest.mark.clause("v2:33-41", "target")
@both_earlier
def test_a_value_begins_its_8_bytes(address: Address, speaker: Speaker) -> None:
    """Of each width there is: the status, the number of queues, the device's id, its features."""
    widths = {"get_status": 1, "get_num_queues": 2, "get_device_id": 4, "get_device_feature": 8}
    with speaker.attach(address, DISK, queues=0) as association:
        speaker.set_status(association.control, 3)
        for name, width in widths.items():
            association.control.send(speaker.command(name, command_id=9))
            answer = association.control.receive(16)
            assert answer[:8] == bytes.fromhex("0000 0900 0000 0000")
            assert any(answer[8 : 8 + width])
            assert not any(answer[8 + width :])


@pytest.mark.clause("v2:44-46", "target")
@pytest.mark.clause("v2:47-49", "target")
@pytest.mark.clause("v5 Commands 1", "target")
@pytest.mark.parametrize("ident", [0, 1, 0x0100, 0x1234, 0xFEFF])
@each_dialect
def test_a_completion_has_its_command_s_id(address: Address, speaker: Speaker, ident: int) -> None:
    names = ("keepalive", "get_vendor_id", "get_status", "set_status", "get_config", "get_feature")
    with speaker.attach(address, DISK) as association:
        control, queue = association.control, association.queue
        for name in names:
            control.send(speaker.command(name, 1 << 16, command_id=ident))
            assert control.receive(16)[2:4] == ident.to_bytes(2, "little")
        queue.send(speaker.request_bytes(OUT, 0, bytes(512), command_id=ident))
        assert queue.receive(16)[2:4] == ident.to_bytes(2, "little")
        for peer in (association.add_queue(1), control):
            peer.send(speaker.command("disconnect", command_id=ident))
            assert peer.completion() == (0, ident, 0, 0)


@pytest.mark.clause("v2:50", "target")
@pytest.mark.clause("v5 Command ID 1", "target")
@pytest.mark.parametrize("place", ["control", "virtqueue"])
@each_dialect
def test_an_id_twice_in_flight(address: Address, speaker: Speaker, place: str) -> None:
    """A violation (ours); one after the other there is no limit."""
    with speaker.attach(address, DISK) as association:
        if place == "control":
            peer, command = association.control, speaker.command("get_device_id")
        else:
            peer, command = association.queue, speaker.request_bytes(OUT, 0, bytes(512), 0)
        size = 16 if place == "control" else 17 if speaker.is_v5 else 41
        for _ in range(3):
            peer.send(command).receive(size)
        peer.send(command * 2)
        peer.drain()
        assert association.is_closed()


@pytest.mark.clause("v2:51-53", "target")
@pytest.mark.clause("v2:64-65", "target")
@pytest.mark.clause("v5 Command ID 2", "target")
@pytest.mark.parametrize("ident", [0xFF00, 0xFFFD, 0xFFFE, 0xFFFF])
@each_dialect
def test_a_reserved_id(address: Address, speaker: Speaker, ident: int) -> None:
    """On a control queue with events a command may not have it; the proposal has none."""
    with speaker.attach(address, DISK) as association:
        association.control.send(speaker.command("get_device_id", command_id=ident))
        if speaker is PROPOSAL:
            assert association.control.completion() == (0, ident, 0, 2)
        else:
            assert association.is_closed()


@pytest.mark.clause("v2:51-53", "target")
@pytest.mark.clause("v2:62-63", "target")
@each_dialect
def test_an_event(address: Address, speaker: Speaker, tmp_path: Path) -> None:
    """Once the config has changed, on the control queue alone, and in no proposal."""
    with (
        V5.attach(address, DISK) as witness,
        speaker.attach(address, DISK) as association,
        speaker.attach(address, OTHER) as other,
    ):
        os.truncate(tmp_path / "disk.img", 2 << 20)
        assert witness.control.completion()[:2] == CONFIG_CHANGE
        if speaker is not PROPOSAL:
            assert association.control.completion()[:2] == CONFIG_CHANGE
        # What comes next is an answer, everywhere.
        for each in (association, other):
            assert speaker.control(each.control, "get_device_id") == 2
            assert speaker.request(each.queue, IN, room=512)[0] == OK
        if speaker is not V5:
            assert speaker.control(association.control, "get_generation") == 1
        assert speaker.config(association.control, 0, 8) == (2 << 20) // 512


# Connect.


@pytest.mark.clause("v2:69-72", "target")
@pytest.mark.clause("v5 Connect 1", "target")
@each_dialect
def test_the_control_queue_comes_first(address: Address, speaker: Speaker) -> None:
    with Peer(address) as queue, speaker.attach(address, DISK, queues=0) as association:
        foreign = association.target_id + 7
        queue.send(connect_of(speaker, foreign, 0))
        assert queue.receive(16)[:4] == struct.pack("<HH", NO_INSTANCE[speaker.name], 5)
        queue.send(connect_of(speaker, association.target_id, 0))
        assert queue.receive(16)[:4] == struct.pack("<HH", 0, 5)
        # The association is the control queue's, and ends with it.
        association.control.close()
        assert queue.is_closed()


@pytest.mark.clause("v2:69-72", "target")
@pytest.mark.clause("v5 Connect 1", "target")
@pytest.mark.parametrize("opcode", [1, 2, 0x1001, 0x0FFF, 0x2000])
def test_nothing_comes_before_a_connect(address: Address, opcode: int) -> None:
    with Peer(address) as peer:
        assert peer.send(command_bytes(opcode)).is_closed()


@pytest.mark.clause("v2:73-74", "target")
@pytest.mark.clause("v2:75-76", "target")
@pytest.mark.clause("v5 Connect 2", "target")
@pytest.mark.parametrize("queue", [0, 1, 0xFFFF])
@each_dialect
def test_the_target_id_of_a_control_queue(address: Address, speaker: Speaker, queue: int) -> None:
    """It alone says that a Connect is one; the queue's number means nothing there."""
    with Peer(address) as peer:
        peer.send(connect_of(speaker, CONTROL, queue))
        assert peer.receive(16)[:4] == struct.pack("<HH", 0, 5)
        assert speaker.control(peer, "get_device_id") == 2


@pytest.mark.clause("v2:77-78", "target")
@pytest.mark.clause("v5 Connect 3", "target")
@pytest.mark.clause("v5 Overview 2", "target")
@pytest.mark.clause("v5 Overview 3", "target")
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


@pytest.mark.clause("v2:79-82", "target")
@pytest.mark.clause("v5 Overview 1", "target")
@pytest.mark.clause("v5 Connect 4", "target")
@pytest.mark.clause("v5 Status 2", "target")
@each_dialect
def test_the_connect_of_a_virtqueue(address: Address, speaker: Speaker) -> None:
    """By target id and number, once each; refused, the connection is still good for another."""
    with (
        speaker.attach(address, DISK) as association,
        speaker.attach(address, OTHER, queues=0) as other,
        Peer(address) as peer,
    ):
        mine = association.target_id
        refusals = {
            (mine + 7, 2): (ENODEV, 0x1010),
            (other.target_id, 0): (EPROTO, 0x1011),
            (mine, 3): (ECHRNG, 0x1020),
            (mine, 0): (EBUSY, 0x1021),
            (mine, 2): (0, 0),
        }
        for (target_id, queue), statuses in refusals.items():
            peer.send(connect_of(speaker, target_id, queue))
            status = statuses[speaker.is_v5]
            assert peer.receive(16)[:4] == struct.pack("<HH", status, 5)
        assert speaker.request(peer, IN, room=512)[0] == OK


@pytest.mark.clause("v2:83-98", "target")
@both_earlier
def test_the_layout_of_a_connect(address: Address, speaker: Speaker) -> None:
    """Padding and the descriptor's address may hold anything."""
    with Peer(address) as peer:
        head = struct.pack("<HHHHHB", 0, 0x0102, 0xFFFF, 0, 1, speaker.oftype) + b"\xaa" * 5
        descriptor = struct.pack("<QIHHII", ONES, 1024, 0xBBBB, 0, 0xCCCCCCCC, 0xDDDDDDDD)
        body = name_field("me") + name_field(DISK) + b"\xee" * 512
        answer = peer.send(head + descriptor + body).receive(16)
        assert answer[:8] == bytes.fromhex("0000 0201 0000 0000")
        assert answer[10:] == bytes(6)
        assert speaker.control(peer, "get_num_queues") == 3


@pytest.mark.clause("v2:83-98", "target")
@pytest.mark.parametrize("oftype", [2, 3, 255])
def test_an_oftype_that_is_not_tcp(address: Address, oftype: int) -> None:
    with Peer(address) as peer:
        peer.send(connect_bytes(tvqn=DISK, oftype=oftype))
        assert peer.completion() == (EPROTO, 0, 0, 0)
        assert peer.connect(tvqn=DISK, oftype=1) == 0


@pytest.mark.clause("v2:99-102", "target")
@pytest.mark.parametrize(
    "fields", [{"ndesc": 2}, {"ndesc": 0xFFFF}, {"length": 1023}, {"length": 1025}, {"flags": 2}]
)
@both_earlier
def test_a_connect_with_anything_but_one_descriptor_of_its_body(
    address: Address, speaker: Speaker, fields: dict[str, int]
) -> None:
    with Peer(address) as peer:
        data = connect_bytes(tvqn=DISK, oftype=speaker.oftype, **fields)  # type: ignore[arg-type]
        assert peer.send(data).is_closed()


@pytest.mark.clause("v2:103-110", "target")
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


@pytest.mark.clause("v2:111-114", "target")
@pytest.mark.clause("v2:115-116", "target")
@pytest.mark.clause("v2:117-120", "target")
@pytest.mark.clause("v2:121-127", "target")
@pytest.mark.clause("v2 Opcodes Definition 2", "target")
@pytest.mark.clause("v2 Opcodes Definition 3", "target")
@pytest.mark.clause("v2 Opcodes Definition 4", "target")
@both_earlier
def test_features(address: Address, speaker: Speaker) -> None:
    """Of the transport: how many descriptors a vring command may have, and in v2 how many bytes on
    the stream; of the device."""
    with speaker.attach(address, DISK, queues=0) as association:
        control = association.control
        assert speaker.control(control, "get_feature") == 128
        status, size = speaker.try_control(control, "get_feature", 1)
        assert (status == 0, size > 1 << 20) == ((speaker is V2,) * 2)
        for name in ("get_feature", "set_feature", "get_device_feature", "set_driver_feature"):
            assert speaker.try_control(control, name, 1 << 16, 1) == (EINVAL, 0)
        assert speaker.try_control(control, "set_feature", 0, 1 << 40) == (EINVAL, 0)
        offered = speaker.control(control, "get_device_feature")
        assert offered >> 32 & 1
        for value, agreed in ((offered | 1 << 63, 3), (1 << 32, 0xB)):
            speaker.set_status(control, 0)
            speaker.set_status(control, 3)
            assert speaker.control(control, "set_driver_feature", value=value) == 0
            speaker.set_status(control, 0xB)
            assert speaker.control(control, "get_status") == agreed


GETS = {
    "get_feature": 0,
    "get_vendor_id": 0,
    "get_device_id": 0,
    "get_generation": 0,
    "get_status": 0,
    "get_device_feature": 0,
    "get_num_queues": 0,
    "get_queue_size": 1,
    "get_vq_size": 1,
    "get_config": 4 | 4 << 16,
    "get_config_changed": 0,
}


@pytest.mark.clause("v2:128-130", "target")
@pytest.mark.clause("v2:144-150", "target")
@pytest.mark.clause("v2:161-164", "target")
@pytest.mark.clause("v2:196-202", "target")
@pytest.mark.clause("v5 Commands 2", "target")
@each_dialect
def test_the_value_of_a_get_means_nothing(address: Address, speaker: Speaker) -> None:
    """Of every get there is, features and their transport's, queues, config and common ones."""
    with speaker.attach(address, DISK, queues=0) as association:
        speaker.set_status(association.control, 1)
        for name, select in GETS.items():
            if name not in speaker.opcodes:
                continue
            plain = speaker.try_control(association.control, name, select)
            assert plain[0] == 0
            for value in (1, 0x8000_0000_0000_0000, ONES):
                assert speaker.try_control(association.control, name, select, value) == plain
        assert speaker.control(association.control, "get_status") == 1


@pytest.mark.clause("v2:131-136", "target")
@pytest.mark.clause("v2:137-143", "target")
@both_earlier
def test_a_queue_has_its_size(address: Address, speaker: Speaker) -> None:
    """Each its own; the padding behind its number may hold anything. In v2 it is what it is."""
    with speaker.attach(address, DISK, queues=0) as association:

        def size_of(select: int) -> int:
            return speaker.control(association.control, "get_queue_size", select)

        most = size_of(0)
        if speaker is PROPOSAL:
            value = 32 | ONES << 16 & ONES
            speaker.control(association.control, "set_queue_size", 1 | 0xAAAA << 16, value)
        second = 32 if speaker is PROPOSAL else most
        assert size_of(1 | 0xBBBB << 16) == second
        assert [size_of(queue) for queue in range(3)] == [most, second, most]
        assert speaker.try_control(association.control, "get_queue_size", 3) == (EINVAL, 0)


@pytest.mark.clause("v2:151-153", "target")
@pytest.mark.clause("v2:154-160", "target")
@pytest.mark.clause("v2:165-173", "target")
@pytest.mark.clause("v5 Get Config 1", "target")
@pytest.mark.clause("v5 Get Config 3", "target")
@each_dialect
def test_the_config_space_is_read(address: Address, speaker: Speaker) -> None:
    extent, bad_width = (0x2030, 0x2031) if speaker.is_v5 else (EINVAL, EINVAL)
    with speaker.attach(address, DISK, queues=0) as association:
        control = association.control
        size = 72
        config = bytes(speaker.config(control, offset, 1) for offset in range(size))
        assert config[:8] == (2048).to_bytes(8, "little")
        for width in (1, 2, 4, 8):
            for offset in range(size - width + 1):
                expected = int.from_bytes(config[offset : offset + width], "little")
                # With anything in the byte of padding.
                select = offset | width << 16 | 0xAA << 24
                assert speaker.control(control, "get_config", select) == expected
            beyond = size - width + 1 | width << 16
            assert speaker.try_control(control, "get_config", beyond) == (extent, 0)
        for width in (0, 3, 5, 7, 9, 16, 255):
            assert speaker.try_control(control, "get_config", width << 16) == (bad_width, 0)


@pytest.mark.clause("v2:151-153", "target")
@pytest.mark.clause("v2:174-182", "target")
@pytest.mark.clause("v5 Set Config 1", "target")
@pytest.mark.clause("v5 Set Config 2", "target")
@each_dialect
def test_the_config_space_is_written(address: Address, speaker: Speaker) -> None:
    """No device has a field of more than a byte that may be: the others are refused."""
    extent, bad_width = (0x2030, 0x2031) if speaker.is_v5 else (EINVAL, EINVAL)
    with speaker.attach(address, DISK, queues=0) as association:
        control = association.control

        def write(offset: int, width: int, value: int = 0) -> int:
            select = offset | width << 16
            return speaker.try_control(control, "set_config", select, value)[0]

        # As many bytes of the value as the width says, whatever the others hold.
        for value in (0, 1):
            assert write(32, 1, ONES << 8 & ONES | value) == 0
            assert speaker.config(control, 32, 1) == value
        for width in (2, 4, 8):
            assert write(32, width) == write(0, width, 1) == extent
        for width in (0, 3, 255):
            assert write(32, width) == bad_width
        assert speaker.config(control, 32, 1) == 1
        assert speaker.config(control, 0, 8) == 2048


@pytest.mark.clause("v2:183-187", "target")
@pytest.mark.clause("v2:188-195", "target")
@both_earlier
def test_common_commands(address: Address, speaker: Speaker) -> None:
    """Padding may hold anything; the proposal's set_status has its value there (the programs')."""
    values = {
        "get_vendor_id": 0x564F4631,
        "get_device_id": 2,
        "get_generation": 0,
        "get_num_queues": 3,
        "keepalive": 0,
    }
    with speaker.attach(address, DISK, queues=0) as association:
        control = association.control
        for name, value in values.items():
            assert speaker.control(control, name, 0xAAAAAAAA) == value
        speaker.set_status(control, 1)
        assert speaker.control(control, "get_status", 0xBBBBBBBB) == 1


# Requests.


@pytest.mark.clause("v2:203-208", "target")
@both_earlier
def test_a_request_on_the_control_queue(address: Address, speaker: Speaker) -> None:
    """The one buffer that a control queue carries is a Connect's, described as any other. Of a
    request there nothing is said, and it is a violation (ours)."""
    with speaker.attach(address, DISK) as association:
        assert speaker.request(association.queue, IN, room=512)[0] == OK
        association.control.send(speaker.request_bytes(IN, room=512))
        assert association.is_closed()


@pytest.mark.clause("v2:209-211", "target")
@pytest.mark.parametrize("length", [0, 15, 16, 528, 529, 0xFFFFFFFF])
@both_earlier
def test_the_length_of_a_vring_command(address: Address, speaker: Speaker, length: int) -> None:
    """No two programs reckon it alike: it is not looked at (ours)."""
    with speaker.attach(address, DISK) as association:
        data = bytearray(speaker.request_bytes(OUT, 1, b"\x11" * 512))
        data[4:8] = length.to_bytes(4, "little")
        assert association.queue.send(bytes(data)).vring_completion([(1, 2, 2)]) == b"\0"
        assert speaker.request(association.queue, IN, 1, room=512) == (OK, b"\x11" * 512)


@pytest.mark.clause("v2:212-219", "target")
@pytest.mark.parametrize("ndesc", [0, 129, 0xFFFF])
@both_earlier
def test_numbers_of_descriptors_that_are_too_many_or_none(
    address: Address, speaker: Speaker, ndesc: int
) -> None:
    with speaker.attach(address, DISK) as association:
        opcode = speaker.opcodes["vring"]
        association.queue.send(vring_bytes([(16, 0, 0), (1, 1, 2)], ndesc=ndesc, opcode=opcode))
        assert association.is_closed()


@pytest.mark.clause("v2:220-226", "target")
@pytest.mark.clause("v2 Status Definition 1", "target")
@each_dialect
def test_a_refused_command_is_answered(address: Address, speaker: Speaker) -> None:
    status = 0x2030 if speaker.is_v5 else EINVAL
    with speaker.attach(address, DISK, queues=0) as association:
        for width in (1, 8):
            select = 0xFFFF | width << 16
            assert speaker.try_control(association.control, "get_config", select) == (status, 0)
        assert speaker.control(association.control, "get_device_id") == 2


@pytest.mark.clause("v2:220-226", "target")
@pytest.mark.clause("v2:227-234", "target")
@pytest.mark.clause("proposal:94-106", "target")
@pytest.mark.clause("proposal:107-120", "target")
@pytest.mark.clause("proposal:179-191", "target")
@pytest.mark.clause("proposal:192-229", "target")
@both_earlier
def test_a_completion_returns_the_writable_descriptors(address: Address, speaker: Speaker) -> None:
    """With their ids and flags, what they hold one behind the other: ``vring_completion`` looks."""
    chained = int(speaker is PROPOSAL)
    opcode = speaker.opcodes["vring"]
    with speaker.attach(address, DISK) as association:
        queue = association.queue
        data = os.urandom(8192)
        write = [(16, 10, chained), (4096, 11, chained), (4096, 12, chained), (1, 13, 2)]
        queue.send(vring_bytes(write, header(OUT, 8) + data, command_id=10, opcode=opcode))
        assert queue.vring_completion([(1, 13, 2)], 10) == b"\0"
        rooms = [(4096, 15, chained | 2), (4096, 16, chained | 2), (1, 17, 2)]
        readable = (16, 14, chained)
        queue.send(vring_bytes([readable, *rooms], header(IN, 8), command_id=14, opcode=opcode))
        assert queue.vring_completion(rooms, 14) == data + b"\0"


@pytest.mark.clause("proposal:33-44", "target")
@pytest.mark.clause("proposal:45-93", "target")
@pytest.mark.clause("proposal:121-134", "target")
@pytest.mark.clause("proposal:135-178", "target")
@pytest.mark.clause("v2 Segment Descriptor Definition 1", "target")
@pytest.mark.clause("v2 Segment Descriptor Definition 2", "target")
@pytest.mark.clause("v2 Segment Descriptor Definition 3", "target")
@both_earlier
def test_the_examples_of_the_proposal(address: Address, speaker: Speaker) -> None:
    """The bytes that examples 1.1 and 1.2 draw, with their addresses and lengths; in v2 without the
    first flag, and by another opcode."""
    opcode, chained = speaker.opcodes["vring"], int(speaker is PROPOSAL)

    def descriptor(addr: int, length: int, ident: int, flags: int) -> bytes:
        flags &= 2 | chained
        return struct.pack("<QIHHI4x", addr, length, ident, flags, 0)

    data = os.urandom(8192)
    write = struct.pack("<HHIH6x", opcode, 10, 8208, 4) + b"".join(
        (
            descriptor(0, 16, 10, 1),
            descriptor(16, 4096, 11, 1),
            descriptor(4112, 4096, 12, 1),
            descriptor(0, 1, 13, 2),
        )
    )
    read = struct.pack("<HHIH6x", opcode, 14, 16, 4) + b"".join(
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


@pytest.mark.clause("v2 Segment Descriptor Definition 2", "target")
@pytest.mark.clause("v2 Segment Descriptor Definition 4", "target")
def test_a_keyed_descriptor_on_a_stream(address: Address) -> None:
    """A key alone means nothing; the flag that says it is one is a violation (ours)."""
    with V2.attach(address, DISK) as association:
        data = bytearray(V2.request_bytes(IN, room=512))
        for place in range(3):
            data[16 + 24 * place + 16 : 16 + 24 * place + 20] = b"\xee" * 4
        association.queue.send(bytes(data))
        assert association.queue.vring_completion([(512, 1, 2), (1, 2, 2)]) == bytes(513)
        data[16 + 14] |= 1
        association.queue.send(bytes(data))
        assert association.is_closed()


CARRYING = {"connect", "disconnect", "vring"}


@pytest.mark.clause("v2 Opcodes Definition 1", "target")
@both_earlier
def test_the_numbers_of_the_opcodes(address: Address, speaker: Speaker) -> None:
    """Each is answered; one that there is not is a violation (ours)."""
    with speaker.attach(address, DISK, queues=0) as association:
        for name in OPCODES[speaker.name].keys() - CARRYING:
            assert speaker.try_control(association.control, name, 1 << 16)[0] in (0, EINVAL)
        association.control.send(command_bytes(0x1003 if speaker is V2 else 0x100D))
        assert association.is_closed()
