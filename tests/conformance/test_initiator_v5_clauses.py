# SPDX-License-Identifier: BSD-3-Clause
"""What *v5* alone asks of an initiator, sentence by sentence, over TCP.

What travels by key is tried where there is a link for it, in ``tests/unit/fabric``.
"""

from __future__ import annotations

import errno
import struct

import pytest

from tests.conformance.scripted_ends import Open, leaves_nothing, open_ends, serve
from tests.support.loopback import Background
from tests.support.protocol_numbers import (
    CONNECT,
    DISCONNECT,
    GET_CONFIG,
    GET_DEVICE_FEATURE,
    GET_DEVICE_ID,
    GET_QUEUE_SIZE,
    GET_STATUS,
    GET_VENDOR_ID,
    KEEPALIVE,
    RESET_DEVICE,
    SET_STATUS,
    VQ,
)
from tests.support.scripted_target import (
    Command,
    Device,
    Hold,
    ScriptedTarget,
    on,
    wait_until,
)
from tests.support.sessions import IVQN, parameters_for
from vof.errors import CompletionError, ConnectError, RemoteProtocolError, SessionLost, VofError
from vof.initiator.session import Session
from vof.wire.constants import DeviceStatus

__all__ = ["leaves_nothing", "open_ends", "serve"]

EE = b"\xee"

DATA = bytes(range(256)) * 32


def config_of_segments(size_max: int) -> bytes:
    config = bytearray(Device().config)
    config[8:12] = size_max.to_bytes(4, "little")
    return bytes(config)


def with_capacity(config: bytes, sectors: int) -> bytes:
    return sectors.to_bytes(8, "little") + config[8:]


# Commands and completions.


@pytest.mark.clause("v5 Commands 1", "initiator")
@pytest.mark.clause("v5 Commands 3", "initiator")
@pytest.mark.clause("v5 Reset Device 1", "initiator")
@pytest.mark.clause("v5 Set Status 1", "initiator")
@pytest.mark.clause("v5 Set Driver Feature 1", "initiator")
@pytest.mark.clause("v5 Get Virtqueue Size 1", "initiator")
@pytest.mark.clause("v5 Set Config 1", "initiator")
def test_the_bytes_of_control_commands(open_ends: Open) -> None:
    ends = open_ends("v5", device=Device(features=1 << 32 | 1 << 9))
    ends.control.reset_device()
    ends.control.set_status(DeviceStatus(0x8F))
    ends.control.set_driver_feature(0x1122334455667788)
    ends.control.get_queue_size(3)
    ends.control.get_config(0x0102, 2)
    ends.control.set_config(40, 4, 0xA4A3A2A1)
    ends.control.keepalive()
    sent = [command.raw for command in ends.target.commands[-7:]]
    assert [raw[2:4] for raw in sent] == [sent[0][2:4]] * 7
    assert [(raw[:2] + raw[4:]).hex(" ") for raw in sent] == [
        "03 10 00 00 00 00 00 00 00 00 00 00 00 00",
        "05 10 8f 00 00 00 00 00 00 00 00 00 00 00",
        "09 10 00 00 00 00 88 77 66 55 44 33 22 11",
        "0a 10 03 00 00 00 00 00 00 00 00 00 00 00",
        "0c 10 02 01 02 00 00 00 00 00 00 00 00 00",
        "0d 10 28 00 04 00 a1 a2 a3 a4 00 00 00 00",
        "02 00 00 00 00 00 00 00 00 00 00 00 00 00",
    ]


@pytest.mark.clause("v5 Commands 2", "initiator")
def test_reserved_bytes_are_sent_as_zeros(open_ends: Open) -> None:
    ends = open_ends("v5")
    ends.read()
    ends.driver.close()
    plain = (GET_VENDOR_ID, GET_DEVICE_ID, RESET_DEVICE, GET_STATUS, DISCONNECT)
    reserved = {
        CONNECT: [(14, 16), (16 + 512, 16 + 1024)],
        SET_STATUS: [(8, 16)],
        GET_DEVICE_FEATURE: [(8, 16)],
        GET_QUEUE_SIZE: [(6, 16)],
        GET_CONFIG: [(7, 16)],
        VQ: [(4, 8)],
        **{opcode: [(4, 16)] for opcode in plain},
    }
    seen = set()
    for command in ends.target.commands:
        for begin, end in reserved.get(command.opcode, []):
            seen.add(command.opcode)
            assert not any(command.raw[begin:end])
    assert seen == set(reserved)


@pytest.mark.clause("v5 Commands 2", "initiator")
@pytest.mark.clause("v5 Get Vendor ID 1", "initiator")
@pytest.mark.clause("v5 Get Device ID 1", "initiator")
@pytest.mark.clause("v5 Get Status 1", "initiator")
@pytest.mark.clause("v5 Get Device Feature 1", "initiator")
@pytest.mark.clause("v5 Get Virtqueue Size 1", "initiator")
@pytest.mark.clause("v5 Get Config 1", "initiator")
def test_reserved_bytes_of_a_completion_are_not_looked_at(open_ends: Open) -> None:
    """Nor those of a config field beyond its width."""
    fields = {
        GET_VENDOR_ID: b"\x01\x02\x03\x04" + EE * 8,
        GET_DEVICE_ID: b"\x05\x06\x07\x08" + EE * 8,
        GET_STATUS: b"\x0f\0\0\0" + EE * 8,
        GET_DEVICE_FEATURE: EE * 4 + bytes(range(1, 9)),
        GET_QUEUE_SIZE: b"\x80\x01" + EE * 10,
        GET_CONFIG: EE * 4 + b"\x11\x22" + EE * 6,
    }

    def answer(command: Command) -> bool:
        known = fields.get(command.opcode)
        if known:
            command.connection.send(struct.pack("<HH", 0, command.command_id) + known)
        return bool(known)

    ends = open_ends("v5")
    ends.target.hooks.append(answer)
    assert ends.control.get_vendor_id() == 0x04030201
    assert ends.control.get_device_id() == 0x08070605
    assert ends.control.get_status() == 0x0F
    assert ends.control.get_device_feature() == 0x0807060504030201
    assert ends.control.get_queue_size(3) == 0x0180
    assert ends.control.get_config(0, 2) == 0x2211
    ends.target.hooks.clear()


# Connect and Disconnect.


@pytest.mark.clause("v5 Connect 2", "initiator")
@pytest.mark.clause("v5 Connect 5", "initiator")
@pytest.mark.clause("v5 Connect 6", "initiator")
@pytest.mark.clause("v5 Connect 7", "initiator")
@pytest.mark.clause("v5 Qualified Name 1", "initiator")
@pytest.mark.clause("v5 Qualified Name 2", "initiator")
@pytest.mark.parametrize("name", ["a", "süd/ø disk.\n0", "x" * 255, "é" * 127 + "x"])
def test_the_bytes_of_a_connect(open_ends: Open, name: str) -> None:
    """Any name there may be; on virtqueues the control queue's names stand."""
    ends = open_ends("v5", device=Device(tvqn=name, target_id=0x0102), queues=2, tvqn=name)
    control, *queues = ends.of(CONNECT)
    assert control.raw[4:16] == bytes.fromhex("ffff 0000 00040000 0000 0000")
    assert control.raw[16:] == b"".join(
        each.encode().ljust(256, b"\0") for each in (IVQN, name)
    ) + bytes(512)
    assert [each.raw[4:] for each in queues] == [
        bytes.fromhex("0201 0000 00000000 0000 0000"),
        bytes.fromhex("0201 0100 00000000 0000 0000"),
    ]


@pytest.mark.clause("v5 Connect 7", "initiator")
@pytest.mark.clause("v5 Connect 10", "initiator")
def test_a_queue_has_no_more_commands_than_it_was_asked_for(open_ends: Open) -> None:
    in_flight = most = 0

    def count(command: Command) -> bool:
        nonlocal in_flight, most
        in_flight += command.opcode == VQ
        most = max(most, in_flight)
        return False

    hold = Hold()
    ends = open_ends("v5", count, hold, queue_size=4)
    assert [each.raw[12:14] for each in ends.of(CONNECT)] == [b"\0\0", b"\4\0"]
    reads = [Background(ends.read, sector) for sector in range(12)]
    for _ in reads:
        [command] = hold.take(1)
        in_flight -= 1
        command.perform()
    for each in reads:
        assert each.result() == bytes(512)
    assert 0 < most <= 4


@pytest.mark.clause("v5 Connect 9", "initiator")
def test_the_control_queue_has_one_command_in_flight(open_ends: Open) -> None:
    """Of 32 that there may be."""
    ends = open_ends("v5")
    held: list[Command] = []
    ends.target.hooks.append(on(GET_STATUS, held.append))
    before = len(ends.target.commands)
    asked = [Background(ends.control.get_status) for _ in range(5)]
    for done in range(5):
        ends.target.wait_for(lambda done=done: len(held) > done)  # type: ignore[misc]
        assert len(ends.target.commands) == before + done + 1
        held[done].reply(7)
    assert [each.result() for each in asked] == [7] * 5
    ends.target.hooks.clear()


@pytest.mark.clause("v5 Disconnect 1", "initiator")
@pytest.mark.clause("v5 Disconnect 2", "initiator")
def test_the_order_of_the_end(open_ends: Open) -> None:
    """The control queue's comes once the virtqueues' are answered, and nothing is closed before."""
    answered: list[int] = []

    def answer(command: Command) -> None:
        number = command.connection.number
        if not number:
            assert sorted(answered) == [1, 2, 3]
        answered.append(number)
        command.reply()

    ends = open_ends("v5", on(DISCONNECT, answer), queues=3)
    ends.read()
    ends.driver.close()
    assert answered[-1] == 0
    assert len(answered) == 4


@pytest.mark.clause("v5 Disconnect 4", "initiator")
@pytest.mark.clause("v5 Keepalive 2", "initiator")
@pytest.mark.parametrize("number", [0, 1, 2])
def test_an_end_without_a_disconnect(open_ends: Open, number: int) -> None:
    """Whichever connection it is: every queue is dropped, and what was in flight has failed."""
    hold = Hold()
    ends = open_ends("v5", hold, queues=2)
    request = Background(ends.write, b"w" * 512)
    hold.take(1)
    ends.target.connections[number].close()
    # The end of an idle connection is noticed by whoever looks.
    wait_until(ends.session.is_lost, "the end")
    with pytest.raises(SessionLost):
        request.result()
    for connection in ends.target.connections:
        wait_until(lambda it=connection: it.socket.fileno() < 0, "its end")  # type: ignore[misc]


@pytest.mark.clause("v5 Keepalive 1", "initiator")
def test_a_keepalive(open_ends: Open) -> None:
    ends = open_ends("v5")
    ends.control.keepalive()
    [command] = ends.of(KEEPALIVE)
    assert command.connection.number == 0
    ends.target.hooks.append(on(KEEPALIVE, lambda it: it.reply(status=0x1010)))
    with pytest.raises(CompletionError) as caught:
        ends.control.keepalive()
    assert caught.value.errno == errno.ENODEV
    ends.target.hooks.clear()


# Virtqueues, the config space and what is told of it.


@pytest.mark.clause("v5 Get Virtqueue Size 2", "initiator")
def test_how_many_virtqueues_there_are(open_ends: Open) -> None:
    ends = open_ends("v5", device=Device(num_queues=3))
    assert ends.session.queue_sizes.count() == 3
    assert [ends.session.queue_sizes.has(index) for index in range(5)] == [True] * 3 + [False] * 2
    with pytest.raises(CompletionError) as caught:
        ends.control.get_queue_size(3)
    assert (caught.value.status, caught.value.errno) == (0x1020, errno.ECHRNG)
    with pytest.raises(ConnectError, match="no virtqueue 3"):
        ends.session.open_virtqueues(0, 3)


@pytest.mark.clause("v5 Get Config 2", "initiator")
def test_a_config_that_changes_while_it_is_read(open_ends: Open) -> None:
    """The generation in each completion tells, and it is read again."""

    def change(command: Command) -> bool:
        device = command.connection.target.device
        if command.opcode == GET_CONFIG and device.generation == 0 and command.raw[4]:
            device.config = with_capacity(device.config, 4096)
            device.generation += 1
        return False

    ends = open_ends("v5", change)
    assert ends.driver.size == 4096 * 512
    firsts = [each for each in ends.of(GET_CONFIG) if not each.raw[4]]
    assert len(firsts) >= 2


@pytest.mark.clause("v5 Command ID 3", "initiator")
@pytest.mark.clause("v5 Command ID 4", "initiator")
def test_the_config_is_read_after_each_change(open_ends: Open) -> None:
    """Until then the target would tell of no other; so it is read, even where nothing of it is of
    interest to us."""
    ends = open_ends("v5")
    device = ends.target.device
    for generation, sectors in enumerate((4096, 4096, 1024), 1):
        device.config = with_capacity(device.config, sectors)
        device.generation = generation
        before = len(ends.of(GET_CONFIG))
        event = struct.pack("<HHI", 0, 0xFFFE, generation) + EE * 8
        ends.target.connections[0].send(event)
        ends.target.wait_for(lambda before=before: len(ends.of(GET_CONFIG)) > before)  # type: ignore[misc]
        wait_until(lambda sectors=sectors: ends.driver.size == sectors * 512, "its size")  # type: ignore[misc]


# Requests.


@pytest.mark.clause("v5 Stream Transmission 1", "initiator")
@pytest.mark.clause("v5 Stream Transmission 2", "initiator")
@pytest.mark.clause("v5 VQ 2", "initiator")
def test_the_bytes_of_a_write(open_ends: Open) -> None:
    """In order, however many pieces the device wants; nothing is keyed about it."""
    ends = open_ends("v5", device=Device(config=config_of_segments(4096)))
    ends.write(DATA, 8)
    [request] = ends.target.requests()
    assert request.raw[:2] + request.raw[4:16] == bytes.fromhex("ff0f 00000000 10200000 01000000")
    assert request.raw[16:] == struct.pack("<IIQ", 1, 0, 8) + DATA
    assert bytes(ends.target.device.disk[4096:12288]) == DATA


@pytest.mark.clause("v5 Stream Transmission 1", "initiator")
@pytest.mark.clause("v5 Stream Transmission 3", "initiator")
@pytest.mark.clause("v5 VQ 2", "initiator")
def test_the_bytes_of_a_read(open_ends: Open) -> None:
    """What comes back fills the buffers from the start; an in_length that cannot be is none."""

    def answer(command: Command) -> None:
        head = struct.pack("<HHIII", 0, command.command_id, 0xEEEEEEEE, 8193, 0xEEEEEEEE)
        command.connection.send(head + DATA + b"\0")

    device = Device(config=config_of_segments(4096))
    ends = open_ends("v5", on(VQ, answer), device=device)
    assert ends.read(8, 8192) == DATA
    [request] = ends.target.requests()
    assert request.raw[:2] + request.raw[4:16] == bytes.fromhex("ff0f 00000000 10000000 01200000")
    assert request.raw[16:] == struct.pack("<IIQ", 0, 0, 8)


@pytest.mark.clause("v5 VQ 3", "initiator")
def test_more_bytes_than_there_is_room_for(open_ends: Open) -> None:
    def answer(command: Command) -> None:
        command.connection.send(struct.pack("<HH4xII", 0, command.command_id, 514, 513))

    ends = open_ends("v5", on(VQ, answer))
    with pytest.raises(SessionLost):
        ends.read()
    assert isinstance(ends.session.error, RemoteProtocolError)


@pytest.mark.clause("v5 VQ 3", "initiator")
@pytest.mark.parametrize("length", [0, 1, 512])
def test_fewer_bytes_than_a_status_needs(open_ends: Open, length: int) -> None:
    """A status that nobody wrote is no success."""

    def answer(command: Command) -> None:
        head = struct.pack("<HH4xII", 0, command.command_id, length, 513)
        command.connection.send(head + bytes(length))

    ends = open_ends("v5", on(VQ, answer))
    with pytest.raises(VofError):
        ends.read()


@pytest.mark.clause("v5 Status 1", "initiator")
@pytest.mark.clause("v5 Status 3", "initiator")
def test_a_refused_command_ends_nothing(open_ends: Open) -> None:
    ends = open_ends("v5")
    ends.target.hooks.append(on(GET_STATUS, lambda it: it.reply(status=0x0001)))
    ends.target.hooks.append(on(VQ, lambda it: it.reply(status=0x0002)))
    with pytest.raises(CompletionError, match="unknown or disabled command") as caught:
        ends.control.get_status()
    assert caught.value.errno == errno.EOPNOTSUPP
    with pytest.raises(CompletionError, match="too many commands") as caught:
        ends.read()
    assert caught.value.errno == errno.EBUSY
    ends.target.hooks.clear()
    assert ends.control.get_status() == DeviceStatus(0xF)
    assert ends.read() == bytes(512)


@pytest.mark.clause("v5 Transport Binding 1", "initiator")
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_both_kinds_of_address(leaves_nothing: None, address: str) -> None:
    with ScriptedTarget(Device(dialect="v5"), address=address) as target:
        session = Session.open(parameters_for(target, dialect="v5", taddr=address))
        with session:
            assert session.dialect == "v5"
