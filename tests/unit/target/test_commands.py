# SPDX-License-Identifier: BSD-3-Clause
"""The control commands in every dialect, without any socket."""

from __future__ import annotations

import struct

import pytest

from tests.unit.target.disk import EIO
from tests.unit.target.place import Place, caller
from vof.errors import RemoteProtocolError
from vof.target import commands
from vof.target.association import ConnectedQueue, TransportOffer
from vof.wire.constants import REQUESTS, Command, Transport, TransportFeature
from vof.wire.dialect import DIALECTS, PROPOSAL, V2, V5
from vof.wire.structs import unpack


@pytest.fixture
def place() -> Place:
    return Place()


def execute(
    connected: ConnectedQueue, command: Command, select: int = 0, value: int = 0
) -> tuple[int, int]:
    """Execute a command; return its status and value. ``select`` is what stands at 4."""
    dialect = connected.association.dialect
    form = dialect.forms[command]
    head = struct.pack("<HHIQ", form.opcode, 7, select, value)
    answer = unpack(form.completion, commands.execute(connected.association, head))
    assert answer[1] == 7
    return answer[0], getattr(answer, "value", 0)


def set_status(connected: ConnectedQueue, status: int) -> int:
    """Set the device status and return what it then is."""
    assert execute(connected, Command.SET_STATUS, status) == (0, 0)
    return execute(connected, Command.GET_STATUS)[1]


def test_the_device_status(place: Place) -> None:
    me = place.control()
    assert execute(me, Command.GET_STATUS) == (0, 0)
    for status in (1, 3, 0xB, 0xF, 0x8F):
        assert set_status(me, status) == status
    assert set_status(me, 0) == 0


def test_features_that_were_not_offered_are_not_ok(place: Place) -> None:
    me = place.control()
    offer = execute(me, Command.GET_DEVICE_FEATURE)[1]
    assert set_status(me, 3) == 3
    assert execute(me, Command.SET_DRIVER_FEATURE, 0, offer | 1 << 28) == (0, 0)
    assert set_status(me, 0xB) == 3
    assert execute(me, Command.SET_DRIVER_FEATURE, 0, offer) == (0, 0)
    assert set_status(me, 0xB) == 0xB
    # Negotiation is over until the next reset.
    assert execute(me, Command.SET_DRIVER_FEATURE, 0, 0) == (22, 0)
    assert set_status(me, 0) == 0
    assert me.association.driver_features is None
    assert execute(me, Command.SET_DRIVER_FEATURE, 0, 0) == (0, 0)


def test_features_ok_without_features_is_none(place: Place) -> None:
    me = place.control()
    assert set_status(me, 0xB) == 0xB
    assert me.association.driver_features == 0


def test_an_older_driver_without_features_ok(place: Place) -> None:
    me = place.control()
    assert set_status(me, 3) == 3
    assert execute(me, Command.SET_DRIVER_FEATURE, 0, 1 << 9) == (0, 0)
    assert set_status(me, 7) == 7
    assert execute(me, Command.SET_DRIVER_FEATURE, 0, 0) == (22, 0)


def test_a_reset_keeps_the_queues_connected(place: Place) -> None:
    me = place.control()
    place.queue(0, 1)
    assert execute(me, Command.SET_QUEUE_SIZE, 0, 64) == (0, 0)
    assert set_status(me, 0) == 0
    assert execute(me, Command.GET_QUEUE_SIZE, 0) == (0, 256)
    assert me.association.queues == {1}
    assert place.aborted == []


@pytest.mark.parametrize("size", [1, 2, 128, 256])
def test_queue_sizes(place: Place, size: int) -> None:
    me = place.control()
    assert execute(me, Command.SET_QUEUE_SIZE, 2, size) == (0, 0)
    assert execute(me, Command.GET_QUEUE_SIZE, 2) == (0, size)
    assert execute(me, Command.GET_QUEUE_SIZE, 1) == (0, 256)


@pytest.mark.parametrize(("queue", "size"), [(0, 0), (0, 3), (0, 512), (3, 64), (0xFFFF, 64)])
def test_queue_sizes_that_cannot_be(place: Place, queue: int, size: int) -> None:
    me = place.control()
    assert execute(me, Command.SET_QUEUE_SIZE, queue, size) == (22, 0)
    assert execute(me, Command.GET_QUEUE_SIZE, 3) == (22, 0)


def test_a_connected_queue_keeps_its_size(place: Place) -> None:
    me = place.control()
    place.queue(0, 0)
    assert execute(me, Command.SET_QUEUE_SIZE, 0, 64) == (16, 0)


def test_config_changes_are_told_once(place: Place) -> None:
    me, other = place.control(), place.control()
    assert execute(me, Command.GET_CONFIG_CHANGED) == (0, 0)
    place.backend.size += 512
    assert place.device.refresh()
    assert execute(me, Command.GET_GENERATION) == (0, 1)
    assert execute(me, Command.GET_CONFIG_CHANGED) == (0, 1)
    assert execute(me, Command.GET_CONFIG_CHANGED) == (0, 0)
    assert execute(other, Command.GET_CONFIG_CHANGED) == (0, 1)


def test_set_config(place: Place) -> None:
    me = place.control()
    # The value's other bytes may hold anything.
    assert execute(me, Command.SET_CONFIG, 32 | 1 << 16, 0xFFFFFF00) == (0, 0)
    assert execute(me, Command.GET_CONFIG, 32 | 1 << 16) == (0, 0)
    assert execute(me, Command.SET_CONFIG, 0 | 8 << 16, 5) == (22, 0)
    assert execute(me, Command.SET_CONFIG, 32 | 3 << 16, 0) == (22, 0)
    place.backend.failing = EIO
    assert execute(me, Command.SET_CONFIG, 32 | 1 << 16, 0) == (5, 0)


def test_transport_features(place: Place) -> None:
    me = place.control()
    assert execute(me, Command.GET_FEATURE) == (0, 128)
    assert execute(me, Command.GET_FEATURE, 1) == (22, 0)
    assert execute(me, Command.SET_FEATURE, 0, 128) == (0, 0)
    for select, value in ((0, 0), (0, 129), (1, 5)):
        assert execute(me, Command.SET_FEATURE, select, value) == (22, 0)


def test_the_rest(place: Place) -> None:
    me = place.control()
    assert execute(me, Command.GET_VENDOR_ID) == (0, 0x564F4631)
    assert execute(me, Command.GET_DEVICE_ID) == (0, 2)
    assert execute(me, Command.GET_NUM_QUEUES) == (0, 3)
    assert execute(me, Command.KEEPALIVE) == (0, 0)
    assert execute(me, Command.DISCONNECT) == (0, 0)
    assert execute(me, Command.GET_DEVICE_FEATURE, 1) == (22, 0)
    assert execute(me, Command.SET_DRIVER_FEATURE, 1) == (22, 0)


def test_every_control_command_has_an_answer() -> None:
    for dialect in DIALECTS:
        control = set(dialect.forms) - REQUESTS - {Command.CONNECT}
        assert control <= set(commands._HANDLERS)


def test_what_is_no_control_command(place: Place) -> None:
    for dialect, opcode, words in (
        (PROPOSAL, 0x2000, "a vring command on the control queue"),
        (V2, 0x0FFF, "a vring command on the control queue"),
        (V5, 0, "a second Connect"),
        (PROPOSAL, 0x0FFF, "opcode 0x0fff is not one of dialect proposal"),
        (V2, 0x2000, "opcode 0x2000 is not one of dialect v2"),
    ):
        with pytest.raises(RemoteProtocolError, match=words):
            commands.execute(place.of(dialect).association, struct.pack("<HH12x", opcode, 7))


@pytest.mark.parametrize("opcode", [0x0FFF, 0x0FFE, 0x0003, 0x1002, 0x1007, 0xFFFF])
def test_v5_refuses_what_it_does_not_know(place: Place, opcode: int) -> None:
    head = struct.pack("<HH12x", opcode, 7)
    assert commands.execute(place.of(V5).association, head) == struct.pack("<HH12x", 1, 7)


def test_in_v5_a_control_command_on_a_virtqueue_is_unknown(place: Place) -> None:
    association = place.of(V5).association
    for command in set(V5.forms) - {Command.CONNECT, Command.DISCONNECT}:
        head = struct.pack("<HH12x", V5.forms[command].opcode, 7)
        answer = commands.execute(association, head, on_control_queue=False)
        assert answer == struct.pack("<HH12x", 1, 7)
    answer = commands.execute(association, V5.encode(Command.DISCONNECT, 7), on_control_queue=False)
    assert answer == struct.pack("<HH12x", 0, 7)


@pytest.mark.parametrize("ident", [0xFF00, 0xFFFD, 0xFFFE, 0xFFFF])
def test_an_id_that_is_an_event_s(place: Place, ident: int) -> None:
    """The proposal has no events."""
    for dialect in (V2, V5):
        head = dialect.encode(Command.KEEPALIVE, ident)
        with pytest.raises(RemoteProtocolError, match=f"command id {ident:#06x} is reserved"):
            commands.execute(place.of(dialect).association, head)
    head = PROPOSAL.encode(Command.KEEPALIVE, ident)
    assert commands.execute(place.control().association, head)[2:4] == ident.to_bytes(2, "little")


def test_the_largest_id_that_is_not(place: Place) -> None:
    for dialect in DIALECTS:
        head = dialect.encode(Command.KEEPALIVE, 0xFEFF)
        assert commands.execute(place.of(dialect).association, head)[2:4] == b"\xff\xfe"


def test_where_set_status_has_its_value(place: Place) -> None:
    me = place.of(V2)
    assert execute(me, Command.SET_STATUS, 0xFFFFFFFF, 3) == (0, 0)
    assert execute(me, Command.GET_STATUS) == (0, 3)
    for dialect in (PROPOSAL, V5):
        me = place.of(dialect)
        assert execute(me, Command.SET_STATUS, 3, 0xFFFFFFFF) == (0, 0)
        assert execute(me, Command.GET_STATUS) == (0, 3)


def test_a_device_status_that_v5_does_not_know(place: Place) -> None:
    me = place.of(V5)
    for status in (0x10, 0x100, 0x80000000):
        assert execute(me, Command.SET_STATUS, status) == (0x2010, 0)
    assert execute(me, Command.SET_STATUS, 3) == (0, 0)


@pytest.mark.parametrize("reset", ["reset_device", "set_status 0 (ours)"])
def test_a_reset_in_v5(place: Place, reset: str) -> None:
    me = place.of(V5)
    assert set_status(me, 3) == 3
    if reset == "reset_device":
        assert execute(me, Command.RESET_DEVICE) == (0, 0)
    else:
        assert execute(me, Command.SET_STATUS) == (0, 0)
    assert execute(me, Command.GET_STATUS) == (0, 0)


def test_device_features_of_v5(place: Place) -> None:
    me = place.of(V5)
    offer = execute(me, Command.GET_DEVICE_FEATURE)[1]
    assert offer == place.device.features
    assert execute(me, Command.GET_DEVICE_FEATURE, 1) == (0, 0)
    assert execute(me, Command.SET_DRIVER_FEATURE, 0, offer | 1 << 28) == (0x2020, 0)
    assert execute(me, Command.SET_DRIVER_FEATURE, 1, 1) == (0x2020, 0)
    assert execute(me, Command.SET_DRIVER_FEATURE, 1, 0) == (0, 0)
    assert execute(me, Command.SET_DRIVER_FEATURE, 0, offer) == (0, 0)
    assert set_status(me, 0xB) == 0xB


BOTH = TransportFeature.KEYED_NUM_DESCS | TransportFeature.KEYED_EAGER_BUF


def test_transport_feature_bits_over_a_stream(place: Place) -> None:
    """There are none, and so nothing is to be set but nothing."""
    me = place.of(V5)
    for select in (0, 1, 0xFFFFFFFF):
        assert execute(me, Command.GET_FEATURE, select) == (0, 0)
        assert execute(me, Command.SET_FEATURE, select, 0) == (0, 0)
    for select, value in ((0, 1), (0, 2), (0, 4), (0, 1 << 63), (1, 1)):
        assert execute(me, Command.SET_FEATURE, select, value) == (0x2000, 0)
    for command in (Command.GET_KEYED_NUM_DESCS, Command.GET_KEYED_EAGER_BUF):
        assert execute(me, command) == (1, 0)


def test_transport_feature_bits_where_there_are_some(place: Place) -> None:
    me = place.of(V5, TransportOffer(BOTH, 32))
    assert execute(me, Command.GET_FEATURE) == (0, 3)
    for select, value in ((0, 4), (0, 7), (1, 1)):
        assert execute(me, Command.SET_FEATURE, select, value) == (0x2000, 0)
        assert me.association.transport_features == 0
    assert execute(me, Command.GET_KEYED_NUM_DESCS) == (1, 0)
    assert execute(me, Command.SET_FEATURE, 0, TransportFeature.KEYED_NUM_DESCS) == (0, 0)
    assert execute(me, Command.GET_FEATURE) == (0, 3)
    assert execute(me, Command.GET_KEYED_NUM_DESCS) == (0, 32)
    assert execute(me, Command.GET_KEYED_EAGER_BUF) == (1, 0)
    # Where it is in force, and no transport has any: none, which is no error.
    assert execute(me, Command.SET_FEATURE, 0, BOTH) == (0, 0)
    assert execute(me, Command.GET_KEYED_EAGER_BUF, 2) == (0, 0)
    assert execute(me, Command.GET_KEYED_EAGER_BUF, 3) == (0x1020, 0)


def test_transport_features_of_v2(place: Place) -> None:
    """Numbers; over a stream all bytes may be on it, and where there are keys none."""
    me = place.of(V2)
    limits = place.device.limits
    assert execute(me, Command.GET_FEATURE) == (0, limits.max_ndesc)
    assert execute(me, Command.GET_FEATURE, 1) == (0, limits.max_transfer)
    assert execute(me, Command.GET_FEATURE, 2) == (22, 0)
    assert execute(me, Command.SET_FEATURE, 1, limits.max_transfer) == (0, 0)
    who = caller(dialect=V2, transport=Transport.RDMA)
    keyed = place.table.connect_control(who, place.link("control"))
    assert execute(keyed, Command.GET_FEATURE, 1) == (0, 0)


def test_the_generation_in_v5_comes_with_the_config(place: Place) -> None:
    me = place.of(V5)
    head = V5.encode(Command.GET_CONFIG, 7, offset=0, width=8)
    before = commands.execute(me.association, head)
    place.backend.size += 512
    assert place.device.refresh()
    after = commands.execute(me.association, head)
    assert [answer[4:8] for answer in (before, after)] == [bytes(4), b"\1\0\0\0"]
    assert before[8:] != after[8:]


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_the_config_space_in_every_width_at_any_offset(place: Place, width: int) -> None:
    config = place.control().association.instance.read_config()
    for me, beyond in ((place.control(), 22), (place.of(V2), 22), (place.of(V5), 0x2030)):
        for offset in range(len(config) + 2):
            expected = (beyond, 0)
            if offset + width <= len(config):
                expected = (0, int.from_bytes(config[offset : offset + width], "little"))
            assert execute(me, Command.GET_CONFIG, offset | width << 16) == expected
        assert execute(me, Command.GET_CONFIG, 0xFFFF | width << 16) == (beyond, 0)


@pytest.mark.parametrize("width", [0, 3, 5, 6, 7, 9, 255])
def test_the_config_space_has_no_other_widths(place: Place, width: int) -> None:
    for dialect, status in ((V2, 22), (V5, 0x2031)):
        me = place.of(dialect)
        assert execute(me, Command.GET_CONFIG, width << 16) == (status, 0)
        assert execute(me, Command.SET_CONFIG, 32 | width << 16, 1) == (status, 0)
