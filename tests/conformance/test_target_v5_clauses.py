# SPDX-License-Identifier: BSD-3-Clause
"""What *v5* alone asks of a target, sentence by sentence, over TCP: the bytes of each completion.

What each command does is in ``tests/target/test_dialects``, what travels by key in
``tests/target/rdma``.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from tests.target.peer import IN, OK, OUT, Peer, connect_v5_bytes, header, name_field
from tests.target.speakers import V5, vq_bytes

Address = tuple[str, int]

DISK, PLACE = "conformance/disk", "süd/ø disk. " + "x" * 241

QUEUES = 3
SECTORS = 2048


def devices(folder: Path) -> str:
    with (folder / "disk.img").open("xb") as image:
        image.truncate(SECTORS * 512)
    return f"""
[disk]
tvqn = {DISK}
model = block
backend = driver=block-posix,path={folder}/disk.img,queues={QUEUES}

[place]
tvqn = {PLACE}
model = block
backend = driver=block-memory,size=1M
"""


# Control commands.


@pytest.mark.clause("v5 Commands 1", "target")
@pytest.mark.clause("v5 Commands 2", "target")
@pytest.mark.clause("v5 Commands 3", "target")
@pytest.mark.clause("v5 Keepalive 1", "target")
@pytest.mark.clause("v5 Get Feature 1", "target")
@pytest.mark.clause("v5 Set Feature 1", "target")
@pytest.mark.clause("v5 Set Feature 2", "target")
@pytest.mark.clause("v5 Get Vendor ID 1", "target")
@pytest.mark.clause("v5 Get Device ID 1", "target")
@pytest.mark.clause("v5 Reset Device 1", "target")
@pytest.mark.clause("v5 Get Status 1", "target")
@pytest.mark.clause("v5 Set Status 1", "target")
@pytest.mark.clause("v5 Set Status 2", "target")
@pytest.mark.clause("v5 Get Device Feature 1", "target")
@pytest.mark.clause("v5 Set Driver Feature 1", "target")
@pytest.mark.clause("v5 Set Driver Feature 2", "target")
@pytest.mark.clause("v5 Get Virtqueue Size 1", "target")
@pytest.mark.clause("v5 Get Virtqueue Size 2", "target")
@pytest.mark.clause("v5 Get Config 1", "target")
@pytest.mark.clause("v5 Get Config 2", "target")
@pytest.mark.clause("v5 Set Config 1", "target")
def test_the_bytes_of_control_commands(address: Address) -> None:
    """What is reserved in a command may hold anything, and is zero in a completion."""
    ee = "ee" * 4
    done = "00 00" + "00" * 12
    conversation = [
        ("02 00" + ee * 3, done),
        ("04 00  00 00 00 00" + ee * 2, "00 00" + "00" * 12),
        ("04 00  01 00 00 00" + ee * 2, "00 00" + "00" * 12),
        ("05 00  00 00 00 00  00 00 00 00 00 00 00 00", done),
        ("05 00  00 00 00 00  00 01 00 00 00 00 00 00", "00 20" + "00" * 12),
        ("00 10" + ee * 3, "00 00  31 46 4f 56" + "00" * 8),
        ("01 10" + ee * 3, "00 00  02 00 00 00" + "00" * 8),
        ("05 10  03 00 00 00" + ee * 2, done),
        ("05 10  00 01 00 00" + ee * 2, "10 20" + "00" * 12),
        ("04 10" + ee * 3, "00 00  03 00 00 00" + "00" * 8),
        ("03 10" + ee * 3, done),
        ("04 10" + ee * 3, "00 00" + "00" * 12),
        ("06 10  01 00 00 00" + ee * 2, "00 00" + "00" * 12),
        ("0d 10  20 00  01  ee  01 ee ee ee ee ee ee ee", done),
        ("09 10  00 00 00 00  00 00 00 00 01 00 00 00", done),
        ("09 10  01 00 00 00  01 00 00 00 00 00 00 00", "20 20" + "00" * 12),
        ("0a 10  03 00" + "ee" * 10, "20 10" + "00" * 12),
        ("0c 10  00 00  02  ee" + ee * 2, "00 00  00 00 00 00  00 08 00 00 00 00 00 00"),
        ("0c 10  01 00  01  ee" + ee * 2, "00 00  00 00 00 00  08 00 00 00 00 00 00 00"),
    ]
    with V5.attach(address, DISK, queues=0) as association:
        control = association.control
        for asked, told in conversation:
            command, answer = bytes.fromhex(asked), bytes.fromhex(told)
            control.send(command[:2] + b"\x34\x12" + command[2:])
            assert control.receive(16) == answer[:2] + b"\x34\x12" + answer[2:], asked
        control.send(V5.command("get_device_feature", 0, 1 << 63))
        raw = control.receive(16)
        assert raw[:8] == bytes.fromhex("0000 0100 0000 0000")
        assert raw[12] & 1  # VERSION_1
        control.send(V5.command("get_vq_size", 2 | 0xEEEE << 16))
        raw = control.receive(16)
        assert int.from_bytes(raw[4:6], "little") >= 128
        assert raw[6:] == bytes(10)


@pytest.mark.clause("v5 Get Feature 2", "target")
@pytest.mark.clause("v5 Get Feature 3", "target")
def test_transport_features_at_any_time(address: Address) -> None:
    """On a stream there are none to be had: the commands are disabled, and the queue goes on."""
    with V5.attach(address, DISK) as association:
        for _ in range(2):
            assert V5.control(association.control, "get_feature") == 0
            for bits in (1, 2, 3):
                assert V5.try_control(association.control, "set_feature", 0, bits) == (0x2000, 0)
            for name in ("get_keyed_num_descs", "get_keyed_eager_buf"):
                assert V5.try_control(association.control, name)[0] == 0x0001
            assert V5.request(association.queue, IN, room=512)[0] == OK


# Connect.


@pytest.mark.clause("v5 Connect 6", "target")
@pytest.mark.clause("v5 Qualified Name 1", "target")
@pytest.mark.clause("v5 Qualified Name 2", "target")
@pytest.mark.clause("v5 Status 2", "target")
def test_the_body_of_a_connect(address: Address) -> None:
    """A name ends with its NUL, or with its field (ours), and holds anything that is UTF-8."""
    head = bytes.fromhex("0000 3412 ffff 0000 00040000 0000 eeee")
    assert len(PLACE.encode()) == 255
    for tvqn, status in (
        (DISK.encode() + b"\0" + b"\xff" * (255 - len(DISK)), 0),
        (PLACE.encode() + b"\0", 0),
        (PLACE.encode()[:-1] + b"\0", 0x1001),
        (b"x" * 256, 0x1001),
        (b"", 0x1001),
    ):
        with Peer(address) as peer:
            peer.send(head + b"i" * 256 + name_field(tvqn) + b"\xee" * 512)
            answer = peer.receive(16)
            assert answer[:4] == struct.pack("<HH", status, 0x1234)
            assert answer[6:] == bytes(10)


@pytest.mark.clause("v5 Qualified Name 1", "target")
def test_a_name_that_is_not_utf_8(address: Address) -> None:
    with Peer(address) as peer:
        assert peer.send(connect_v5_bytes(tvqn=b"\xff" + DISK.encode())).is_closed()


@pytest.mark.clause("v5 Connect 7", "target")
@pytest.mark.clause("v5 Connect 8", "target")
def test_the_size_that_is_asked_for(address: Address) -> None:
    with V5.attach(address, DISK, queues=0) as association, Peer(address) as peer:
        most = V5.control(association.control, "get_vq_size")
        for queue_size, status in ((most + 1, 0x1022), (0xFFFF, 0x1022), (most, 0)):
            peer.send(connect_v5_bytes(association.target_id, tvqn=DISK, queue_size=queue_size))
            assert peer.receive(16)[:2] == status.to_bytes(2, "little")
        assert V5.request(peer, IN, room=512)[0] == OK
        # What it is asked for changes nothing of what there may be.
        assert V5.control(association.control, "get_vq_size") == most


# Events.


@pytest.mark.clause("v5 Command ID 3", "target")
@pytest.mark.clause("v5 Command ID 4", "target")
def test_the_bytes_of_a_config_change(address: Address, tmp_path: Path) -> None:
    """With the generation that is read next; none after it until then."""
    with V5.attach(address, DISK, queues=0) as association:
        control = association.control
        for generation, sectors in ((1, 4096), (2, 1024)):
            os.truncate(tmp_path / "disk.img", sectors * 512)
            head = bytes.fromhex("0000 feff") + generation.to_bytes(4, "little")
            assert control.receive(16) == head + bytes(8)
            # Commands other than get_config leave it outstanding.
            assert V5.control(control, "get_device_id") == 2
            control.send(V5.command("get_config", 0 | 8 << 16))
            assert control.receive(16) == struct.pack("<HHIQ", 0, 1, generation, sectors)


# The end.


@pytest.mark.clause("v5 Disconnect 3", "target")
@pytest.mark.clause("v5 Keepalive 3", "target")
@pytest.mark.parametrize("how", ["disconnect", "close"])
def test_the_end_of_a_device_instance(address: Address, how: str) -> None:
    """Its virtqueues end with it, and nobody else's."""
    with V5.attach(address, DISK, queues=2) as association, V5.attach(address, DISK) as other:
        if how == "disconnect":
            V5.control(association.control, "disconnect")
        else:
            association.control.close()
        assert all(queue.is_closed() for queue in association.queues)
        assert V5.request(other.queue, IN, room=512)[0] == OK
        with Peer(address) as peer:
            peer.send(connect_v5_bytes(association.target_id, 2, tvqn=DISK))
            assert peer.receive(16)[:2] == b"\x10\x10"


# Requests.


@pytest.mark.clause("v5 Stream Transmission 1", "target")
@pytest.mark.clause("v5 Stream Transmission 2", "target")
@pytest.mark.clause("v5 Stream Transmission 3", "target")
@pytest.mark.clause("v5 VQ 2", "target")
@pytest.mark.clause("v5 VQ 3", "target")
def test_the_bytes_of_requests(address: Address) -> None:
    """in_length of the completion repeats the command's where all was written (ours)."""
    data = os.urandom(8192)
    write = bytes.fromhex("ff0f 0a00 eeeeeeee 10200000 01000000") + header(OUT, 8) + data
    read = bytes.fromhex("ff0f 0e00 eeeeeeee 10000000 01200000") + header(IN, 8)
    with V5.attach(address, DISK) as association:
        queue = association.queue
        answer = queue.send(write).receive(17)
        assert answer == bytes.fromhex("0000 0a00 00000000 01000000 01000000 00")
        answer = queue.send(read).receive(16 + 8193)
        assert answer[:16] == bytes.fromhex("0000 0e00 00000000 01200000 01200000")
        assert answer[16:] == data + b"\0"


@pytest.mark.clause("v5 VQ 1", "target")
@pytest.mark.clause("v5 VQ Keyed Eager Buffers 2", "target")
@pytest.mark.clause("v5 Status 1", "target")
def test_requests_where_they_do_not_belong(address: Address) -> None:
    """On the control queue; and an eager one on a stream, which has no such buffers. Both are
    refused by their 16 bytes, and the queue goes on."""
    with V5.attach(address, DISK) as association:
        control, queue = association.control, association.queue
        control.send(vq_bytes(b"", 513))
        assert control.receive(16) == bytes.fromhex("0100 0100") + bytes(12)
        assert V5.control(control, "get_device_id") == 2
        for peer in (control, queue):
            peer.send(bytes.fromhex("fe0f 0500 00000000 10000000 01020000"))
            assert peer.receive(16) == bytes.fromhex("0100 0500") + bytes(12)
        assert V5.request(queue, IN, room=512)[0] == OK
