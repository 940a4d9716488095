# SPDX-License-Identifier: BSD-3-Clause
"""What the earlier texts ask of an initiator, passage by passage, over TCP; what *v5* asks as well
is tried in it, too.

A target made by hand notes what it is told: see ``tests/support/scripted_target``.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Sequence

import pytest

from tests.conformance.scripted_ends import Open, leaves_nothing, open_ends, serve, words
from tests.support.loopback import Background
from tests.support.protocol_numbers import (
    CONNECT,
    DISCONNECT,
    GET_CONFIG,
    GET_DEVICE_FEATURE,
    GET_DEVICE_ID,
    GET_FEATURE,
    GET_GENERATION,
    GET_NUM_QUEUES,
    GET_QUEUE_SIZE,
    GET_STATUS,
    GET_VENDOR_ID,
    OPCODES,
    RESET_DEVICE,
    SET_CONFIG,
    SET_DRIVER_FEATURE,
    SET_QUEUE_SIZE,
    SET_STATUS,
    VENDOR_VTGT,
    VQ,
    VRING,
)
from tests.support.scripted_target import (
    Command,
    Device,
    Hold,
    completion,
    on,
    wait_until,
)
from tests.support.sessions import IVQN
from vof.errors import CompletionError, ConnectError, RemoteProtocolError, SessionLost
from vof.wire.constants import DeviceStatus

__all__ = ["leaves_nothing", "open_ends", "serve"]

ONES = 0xFFFF_FFFF_FFFF_FFFF

CONFIG_CHANGE, KEEPALIVE_EVENT = completion(0, 0xFFFE), completion(0, 0xFFFF)

each_dialect = pytest.mark.parametrize("dialect", ["proposal", "v2", "v5"])
both_later = pytest.mark.parametrize("dialect", ["v2", "v5"])
both_earlier = pytest.mark.parametrize("dialect", ["proposal", "v2"])


# Values, command ids and events.


@pytest.mark.clause("v2:33-41", "initiator")
@both_earlier
def test_a_value_is_as_wide_as_what_it_says(open_ends: Open, dialect: str) -> None:
    """Whatever stands in the other bytes of the eight."""
    ends = open_ends(dialect)
    control = ends.control

    def answer(command: Command) -> bool:
        command.reply(ONES)
        return True

    ends.target.hooks.append(answer)
    assert control.get_status() == 0xFF
    assert control.get_num_queues() == 0xFFFF
    assert control.get_device_id() == 0xFFFF_FFFF
    assert control.get_device_feature() == ONES
    for width in (1, 2, 4, 8):
        assert control.get_config(0, width) == (1 << 8 * width) - 1
    ends.target.hooks.clear()


@pytest.mark.clause("v5 Command ID 1", "initiator")
@pytest.mark.clause("v2:44-46", "initiator")
@pytest.mark.clause("v2:47-49", "initiator")
@pytest.mark.clause("v2:50", "initiator")
@each_dialect
def test_ids_in_flight(open_ends: Open, dialect: str) -> None:
    """They differ, and by them alone answers find their requests, in whatever order they come."""
    hold = Hold()
    ends = open_ends(dialect, hold)
    ends.target.device.disk[:] = b"".join(bytes([sector % 251]) * 512 for sector in range(2048))
    data = [bytearray(512) for _ in range(12)]
    requests = [
        ends.driver.start_read(sector * 512, memoryview(each)) for sector, each in enumerate(data)
    ]
    held = hold.take(12)
    assert len({each.command_id for each in held}) == 12
    for each in reversed(held):
        each.perform()
    for sector, request in enumerate(requests):
        assert request is not None
        ends.driver.finish(request)
        assert data[sector] == bytes([sector]) * 512


@pytest.mark.clause("v2:47-49", "initiator")
@pytest.mark.parametrize("ident", [1, 0x100, 0xFEFF])
@each_dialect
def test_an_answer_with_another_id(open_ends: Open, dialect: str, ident: int) -> None:
    ends = open_ends(dialect)
    ends.target.hooks.append(on(GET_STATUS, lambda command: command.reply(command_id=ident)))
    with pytest.raises(SessionLost):
        ends.control.get_status()
    assert isinstance(ends.session.error, RemoteProtocolError)


@pytest.mark.clause("v5 Command ID 2", "initiator")
@pytest.mark.clause("v2:51-53", "initiator")
@pytest.mark.clause("v2:64-65", "initiator")
@pytest.mark.parametrize("ident", [0xFF00, 0xFFFD])
@pytest.mark.parametrize("connection", [0, 1])
@each_dialect
def test_a_reserved_id_of_no_event(
    open_ends: Open, dialect: str, connection: int, ident: int
) -> None:
    ends = open_ends(dialect)
    ends.target.connections[connection].send(completion(0, ident))
    wait_until(ends.session.is_lost, "the end")
    assert isinstance(ends.session.error, RemoteProtocolError)


@pytest.mark.clause("v2:51-53", "initiator")
@pytest.mark.parametrize("event", [CONFIG_CHANGE, KEEPALIVE_EVENT])
@each_dialect
def test_an_event_on_a_virtqueue(open_ends: Open, dialect: str, event: bytes) -> None:
    """They are the control queue's, and the proposal has none at all."""
    ends = open_ends(dialect)
    ends.target.connections[0 if dialect == "proposal" else 1].send(event)
    wait_until(ends.session.is_lost, "the end")
    assert isinstance(ends.session.error, RemoteProtocolError)


@pytest.mark.clause("v5 Command ID 5", "initiator")
@pytest.mark.clause("v2:60-61", "initiator")
@both_later
def test_a_keepalive_event_is_ignored(open_ends: Open, dialect: str) -> None:
    """Alone, many at a time, and before an answer."""
    ends = open_ends(dialect)

    def answer(command: Command) -> bool:
        command.connection.send(KEEPALIVE_EVENT * 3)
        return False

    ends.target.hooks.append(answer)
    for _ in range(3):
        assert ends.control.get_device_id() == 2
    ends.target.hooks.clear()
    ends.target.connections[0].send(KEEPALIVE_EVENT * 100)
    assert ends.control.get_device_id() == 2
    commands = len(ends.target.commands)
    ends.read()
    assert len(ends.target.commands) == commands + 1
    assert ends.session.error is None


@pytest.mark.clause("v2:62-63", "initiator")
@both_later
def test_the_config_is_read_again_once_it_has_changed(open_ends: Open, dialect: str) -> None:
    ends = open_ends(dialect)
    device = ends.target.device
    for sectors in (4096, 1024):
        device.config = sectors.to_bytes(8, "little") + device.config[8:]
        device.generation += 1
        ends.target.connections[0].send(CONFIG_CHANGE)
        wait_until(lambda: ends.driver.size == sectors * 512, "the new size")  # noqa: B023


# Connect.


@pytest.mark.clause("v5 Overview 1", "initiator")
@pytest.mark.clause("v5 Connect 1", "initiator")
@pytest.mark.clause("v5 Connect 3", "initiator")
@pytest.mark.clause("v5 Connect 4", "initiator")
@pytest.mark.clause("v2:69-72", "initiator")
@pytest.mark.clause("v2:75-76", "initiator")
@pytest.mark.clause("v2:77-78", "initiator")
@pytest.mark.clause("v2:79-82", "initiator")
@pytest.mark.parametrize("target_id", [0, 7, 0xFFFE])
@each_dialect
def test_who_is_connected_as_what(open_ends: Open, dialect: str, target_id: int) -> None:
    """The control queue first; then each virtqueue, over a connection of its own."""
    ends = open_ends(dialect, device=Device(target_id=target_id), queues=3)
    connects = ends.of(CONNECT)
    assert [struct.unpack_from("<HH", each.raw, 4) for each in connects] == [
        (0xFFFF, 0),
        *((target_id, queue) for queue in range(3)),
    ]
    assert ends.target.opcodes()[0] == CONNECT
    assert [each.connection.number for each in connects] == [0, 1, 2, 3]


@pytest.mark.clause("v2:83-98", "initiator")
@pytest.mark.clause("v2:99-102", "initiator")
@pytest.mark.clause("v2:103-110", "initiator")
@pytest.mark.clause("v2:203-208", "initiator")
@both_earlier
def test_the_layout_of_a_connect(open_ends: Open, dialect: str) -> None:
    """On both kinds of queue: one descriptor, and the body that it describes."""
    ends = open_ends(dialect)
    oftype = 0 if dialect == "proposal" else 1
    for connect in ends.of(CONNECT):
        assert connect.raw[8:16] == bytes([1, 0, oftype, 0, 0, 0, 0, 0])
        assert struct.unpack("<QIHHI4x", connect.raw[16:40]) == (0, 1024, 0, 0, 0)
        body = connect.raw[40:]
        assert body[:256] == IVQN.encode().ljust(256, b"\0")
        assert body[256:512] == ends.target.device.tvqn.encode().ljust(256, b"\0")
        assert body[512:] == bytes(512)


# Commands of the control queue.

CONTROL_COMMANDS = {
    GET_VENDOR_ID,
    GET_DEVICE_ID,
    SET_STATUS,
    GET_DEVICE_FEATURE,
    SET_DRIVER_FEATURE,
    GET_QUEUE_SIZE,
    GET_CONFIG,
    SET_CONFIG,
}

OF_A_DIALECT = {
    "proposal": {GET_GENERATION, GET_NUM_QUEUES, SET_QUEUE_SIZE},
    "v2": {GET_GENERATION, GET_NUM_QUEUES},
    "v5": {RESET_DEVICE},
}


@pytest.mark.clause("v2:111-114", "initiator")
@pytest.mark.clause("v2:131-136", "initiator")
@pytest.mark.clause("v2:151-153", "initiator")
@pytest.mark.clause("v2:183-187", "initiator")
@pytest.mark.clause("v2 Opcodes Definition 1", "initiator")
@pytest.mark.clause("v5 Overview 2", "initiator")
@pytest.mark.clause("v5 VQ 1", "initiator")
@each_dialect
def test_control_commands_are_sent_on_the_control_queue(open_ends: Open, dialect: str) -> None:
    """And requests on virtqueues; each by the number that the dialect has for it."""
    ends = open_ends(dialect, queue_size=64)
    ends.driver.set_writeback(False)
    ends.read()
    ends.driver.close()
    assert set(ends.target.opcodes()) >= CONTROL_COMMANDS | OF_A_DIALECT[dialect]
    numbers = set(OPCODES[dialect].values())
    for command in ends.target.commands:
        assert int.from_bytes(command.raw[:2], "little") in numbers
        if command.opcode not in (CONNECT, DISCONNECT):
            assert command.connection.number == int(command.opcode in (VRING, VQ))


@pytest.mark.clause("v2:115-116", "initiator")
@pytest.mark.clause("v2 Opcodes Definition 2", "initiator")
@both_earlier
def test_features_of_the_transport(open_ends: Open, dialect: str) -> None:
    """How many descriptors a request may have; nothing is asked of the reference target, which
    knows no such command."""
    ends = open_ends(dialect, device=Device(max_segs=10))
    assert [words(each) for each in ends.of(GET_FEATURE)] == [(0, 0)]
    assert ends.session.max_segs == 10
    ends.read(size=65536 * 4)
    assert all(len(each.descriptors) <= 10 for each in ends.target.requests())
    other = open_ends(dialect, device=Device(vendor_id=VENDOR_VTGT))
    assert not other.of(GET_FEATURE)


@pytest.mark.clause("v2:117-120", "initiator")
@pytest.mark.clause("v2:121-127", "initiator")
@pytest.mark.clause("v2 Opcodes Definition 4", "initiator")
@pytest.mark.clause("v5 Get Device Feature 1", "initiator")
@pytest.mark.clause("v5 Set Driver Feature 1", "initiator")
@pytest.mark.clause("v5 Reset Device 1", "initiator")
@pytest.mark.clause("v5 Set Status 1", "initiator")
@each_dialect
def test_features_of_the_device(open_ends: Open, dialect: str) -> None:
    """None is taken that was not offered."""
    offered = 1 << 32 | 1 << 9 | 1 << 60
    ends = open_ends(dialect, device=Device(features=offered))
    [get], [set_] = ends.of(GET_DEVICE_FEATURE), ends.of(SET_DRIVER_FEATURE)
    assert words(get) == (0, 0)
    assert words(set_) == (0, 1 << 32 | 1 << 9)
    written = [each.raw[8 if dialect == "v2" else 4] for each in ends.of(SET_STATUS)]
    resets = [] if dialect == "v5" else [0]
    assert written == [*resets, 1, 3, 0xB, 0xF]
    assert len(ends.of(RESET_DEVICE)) == (dialect == "v5")
    assert len({words(each) for each in ends.of(SET_STATUS)}) == len(written)


@pytest.mark.clause("v2:137-143", "initiator")
@both_earlier
def test_the_layout_of_a_queue_command(open_ends: Open, dialect: str) -> None:
    ends = open_ends(dialect, queues=3, queue_size=16)
    assert [words(each) for each in ends.of(GET_QUEUE_SIZE)] == [(queue, 0) for queue in range(3)]
    told = [(queue, 16) for queue in range(3)] if dialect == "proposal" else []
    assert [words(each) for each in ends.of(SET_QUEUE_SIZE)] == told


@pytest.mark.clause("v2:154-160", "initiator")
@pytest.mark.clause("v2:165-173", "initiator")
@pytest.mark.clause("v5 Get Config 1", "initiator")
@each_dialect
def test_the_config_space_is_read(open_ends: Open, dialect: str) -> None:
    """Each field at its own width, little-endian; padding is 0."""
    ends = open_ends(dialect)
    ends.target.device.config = bytes(range(1, 73))
    before = len(ends.of(GET_CONFIG))
    for width, value in ((1, 0x04), (2, 0x0504), (4, 0x07060504), (8, 0x0B0A090807060504)):
        assert ends.control.get_config(3, width) == value
    sent = [words(each) for each in ends.of(GET_CONFIG)[before:]]
    assert sent == [(3 | width << 16, 0) for width in (1, 2, 4, 8)]
    assert {each.raw[6] for each in ends.of(GET_CONFIG)} == {1, 2, 4, 8}


@pytest.mark.clause("v2:174-182", "initiator")
@pytest.mark.clause("v5 Set Config 1", "initiator")
@each_dialect
def test_the_config_space_is_written(open_ends: Open, dialect: str) -> None:
    ends = open_ends(dialect)
    for width, value in ((1, 0xA1), (2, 0xA2A1), (4, 0xA4A3A2A1), (8, 0xA8A7A6A5A4A3A2A1)):
        ends.target.device.config = bytes(72)
        ends.control.set_config(40, width, value)
        assert ends.target.device.config[40:].rstrip(b"\0") == value.to_bytes(width, "little")
        assert words(ends.of(SET_CONFIG)[-1]) == (40 | width << 16, value)


@pytest.mark.clause("v2:188-195", "initiator")
@both_earlier
def test_the_layout_of_a_common_command(open_ends: Open, dialect: str) -> None:
    """The proposal's set_status has its value where the programs of its time have it."""
    ends = open_ends(dialect)
    ends.control.set_status(DeviceStatus(0x8F))
    place = (0x8F, 0) if dialect == "proposal" else (0, 0x8F)
    assert words(ends.of(SET_STATUS)[-1]) == place
    for opcode in (GET_VENDOR_ID, GET_DEVICE_ID, GET_NUM_QUEUES, GET_GENERATION):
        assert {words(each) for each in ends.of(opcode)} == {(0, 0)}


# Requests.


@pytest.mark.clause("v2:209-211", "initiator")
@pytest.mark.clause("v2:212-219", "initiator")
@pytest.mark.clause("proposal:33-44", "initiator")
@pytest.mark.clause("proposal:45-93", "initiator")
@pytest.mark.clause("v2 Segment Descriptor Definition 1", "initiator")
@pytest.mark.clause("v2 Segment Descriptor Definition 2", "initiator")
@pytest.mark.clause("v2 Segment Descriptor Definition 3", "initiator")
@pytest.mark.clause("v2 Segment Descriptor Definition 4", "initiator")
@both_earlier
def test_a_write(open_ends: Open, dialect: str) -> None:
    """As example 1.1 draws it: what is read comes behind the descriptors, and is what ``length``
    counts. In v2 the first flag would say that a descriptor is keyed."""
    ends = open_ends(dialect, device=Device(config=config_of_segments(4096)))
    data = bytes(range(256)) * 32
    ends.write(data, 8)
    [request] = ends.target.requests()
    _opcode, _ident, length, ndesc = struct.unpack_from("<HHIH", request.raw)
    assert (length, ndesc, request.raw[10:16]) == (8208, 4, bytes(6))
    chained = int(dialect == "proposal")
    assert [tuple(each) for each in request.descriptors] == [
        (0, 16, 0, chained, 0),
        (16, 4096, 1, chained, 0),
        (4112, 4096, 2, chained, 0),
        (0, 1, 3, 2, 0),
    ]
    assert request.raw[16 + 4 * 24 :] == struct.pack("<IIQ", 1, 0, 8) + data


@pytest.mark.clause("v2:209-211", "initiator")
@pytest.mark.clause("v2:212-219", "initiator")
@pytest.mark.clause("proposal:121-134", "initiator")
@pytest.mark.clause("proposal:135-178", "initiator")
@pytest.mark.clause("v2 Segment Descriptor Definition 1", "initiator")
@pytest.mark.clause("v2 Segment Descriptor Definition 2", "initiator")
@pytest.mark.clause("v2 Segment Descriptor Definition 3", "initiator")
@pytest.mark.clause("v2 Segment Descriptor Definition 4", "initiator")
@both_earlier
def test_a_read(open_ends: Open, dialect: str) -> None:
    """As example 1.2 draws it, but for the addresses of what is written, which nobody uses."""
    ends = open_ends(dialect, device=Device(config=config_of_segments(4096)))
    ends.target.device.disk[4096:12288] = data = bytes(range(256)) * 32
    assert ends.read(8, 8192) == data
    [request] = ends.target.requests()
    _opcode, _ident, length, ndesc = struct.unpack_from("<HHIH", request.raw)
    assert (length, ndesc) == (16, 4)
    chained = int(dialect == "proposal")
    assert [each[1:] for each in request.descriptors] == [
        (16, 0, chained, 0),
        (4096, 1, chained | 2, 0),
        (4096, 2, chained | 2, 0),
        (1, 3, 2, 0),
    ]
    assert request.raw[16 + 4 * 24 :] == struct.pack("<IIQ", 0, 0, 8)


def config_of_segments(size_max: int) -> bytes:
    config = bytearray(Device().config)
    config[8:12] = size_max.to_bytes(4, "little")
    return bytes(config)


def answer_by_hand(order: Sequence[int]) -> Callable[[Command], None]:
    """Return an answerer that returns the descriptors in this order."""

    def answer(command: Command) -> None:
        buffers = command.connection.target.execute(command)
        table, data = b"", b""
        for place in order:
            each = command.writable[place]
            size = len(buffers[place])
            table += struct.pack("<QIHHI4x", len(data), size, each.id, each.flags, 0)
            data += buffers[place]
        head = completion(0, command.command_id, len(order), len(data))
        command.connection.send(head + table + data)

    return answer


@pytest.mark.clause("v2:227-234", "initiator")
@pytest.mark.clause("proposal:94-106", "initiator")
@pytest.mark.clause("proposal:107-120", "initiator")
@pytest.mark.clause("proposal:179-191", "initiator")
@pytest.mark.clause("proposal:192-229", "initiator")
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
@both_earlier
def test_returned_descriptors(open_ends: Open, dialect: str, order: Sequence[int]) -> None:
    """Their ids say which they are; their bytes come in the order in which they do."""
    hook = on(VRING, answer_by_hand(order))
    ends = open_ends(dialect, hook, device=Device(config=config_of_segments(4096)))
    ends.target.device.disk[:8192] = data = bytes(range(256)) * 32
    assert ends.read(0, 8192) == data


@pytest.mark.clause("v2:227-234", "initiator")
@pytest.mark.parametrize("order", [(0,), (1,), (0, 1, 1), (0, 0)])
@both_earlier
def test_other_descriptors_than_were_sent(
    open_ends: Open, dialect: str, order: Sequence[int]
) -> None:
    ends = open_ends(dialect, on(VRING, answer_by_hand(order)))
    with pytest.raises(SessionLost):
        ends.read()
    assert isinstance(ends.session.error, RemoteProtocolError)


@pytest.mark.clause("v2:220-226", "initiator")
@pytest.mark.clause("v2 Status Definition 1", "initiator")
@pytest.mark.clause("v5 Status 3", "initiator")
@each_dialect
def test_a_status_is_the_error_of_its_command(open_ends: Open, dialect: str) -> None:
    """By what the dialect's number means, and of nothing else."""
    ends = open_ends(dialect)
    config, request = (0x2031, 0x20F0) if dialect == "v5" else (errno.EINVAL, errno.EFAULT)
    ends.target.hooks.append(on(GET_CONFIG, lambda command: command.reply(status=config)))
    for opcode in (VQ, VRING):
        ends.target.hooks.append(on(opcode, lambda command: command.reply(status=request)))
    with pytest.raises(CompletionError) as caught:
        ends.control.get_config(0, 1)
    assert (caught.value.status, caught.value.errno) == (config, errno.EINVAL)
    with pytest.raises(CompletionError) as caught:
        ends.read()
    assert (caught.value.status, caught.value.errno) == (request, errno.EFAULT)
    ends.target.hooks.clear()
    assert ends.control.get_config(0, 2) == 2048
    assert ends.read() == bytes(512)


@pytest.mark.clause("v2:235-237", "initiator")
@each_dialect
def test_whoever_waits_is_told(open_ends: Open, dialect: str) -> None:
    """Each by its own completion, and nobody by another's."""
    hold = Hold()
    ends = open_ends(dialect, hold)
    first, second = Background(ends.read, 0), Background(ends.read, 1)
    commands = sorted(hold.take(2), key=lambda command: command.request[1])
    commands[1].perform()
    assert second.result() == bytes(512)
    assert first.running
    commands[0].perform()
    assert first.result() == bytes(512)


@pytest.mark.clause("v2 Device Initialization 1", "initiator")
@pytest.mark.clause("v2 Device Initialization 2", "initiator")
@both_earlier
def test_the_order_of_things(open_ends: Open, dialect: str) -> None:
    ends = open_ends(dialect, queues=4)
    opcodes = [each.opcode for each in ends.target.commands]
    assert opcodes[0] == CONNECT
    last = len(opcodes) - opcodes[::-1].index(CONNECT)
    for opcode in (GET_VENDOR_ID, GET_DEVICE_ID, GET_NUM_QUEUES, SET_DRIVER_FEATURE):
        assert 0 < opcodes.index(opcode) < opcodes.index(CONNECT, 1) < last
    assert opcodes.count(CONNECT) == 5
    with pytest.raises(ConnectError, match="no virtqueue 4"):
        ends.session.open_virtqueues(0, 4)
    assert ends.target.opcodes().count(CONNECT) == 5
