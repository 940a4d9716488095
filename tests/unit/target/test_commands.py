# SPDX-License-Identifier: BSD-3-Clause
"""The control commands in every dialect, without any socket."""

from __future__ import annotations

import struct

import pytest

from tests.unit.target.disk import EIO
from tests.unit.target.place import Place
from vof.errors import RemoteProtocolError
from vof.target import commands
from vof.target.association import Attachment, TransportOffer
from vof.wire.constants import LaterOpcode, Opcode, TransportFeature
from vof.wire.dialect import DIALECTS, PROPOSAL, V5, Dialect


@pytest.fixture
def place() -> Place:
    return Place()


def execute(
    attachment: Attachment, opcode: int, select: int = 0, value: int = 0
) -> tuple[int, int]:
    head = struct.pack("<HHIQ", opcode, 7, select, value)
    completion = commands.execute(attachment.association, head)
    assert (completion.command_id, completion.ndesc) == (7, 0)
    return completion.status, completion.value


def set_status(attachment: Attachment, status: int) -> int:
    """Set the device status and return what it then is."""
    assert execute(attachment, Opcode.SET_STATUS, status) == (0, 0)
    return execute(attachment, Opcode.GET_STATUS)[1]


def test_the_device_status(place: Place) -> None:
    me = place.control()
    assert execute(me, Opcode.GET_STATUS) == (0, 0)
    for status in (1, 3, 0xB, 0xF, 0x8F):
        assert set_status(me, status) == status
    assert set_status(me, 0) == 0


def test_features_that_were_not_offered_are_not_ok(place: Place) -> None:
    me = place.control()
    offer = execute(me, Opcode.GET_DEVICE_FEATURE)[1]
    assert set_status(me, 3) == 3
    assert execute(me, Opcode.SET_DRIVER_FEATURE, 0, offer | 1 << 28) == (0, 0)
    assert set_status(me, 0xB) == 3
    assert execute(me, Opcode.SET_DRIVER_FEATURE, 0, offer) == (0, 0)
    assert set_status(me, 0xB) == 0xB
    # Negotiation is over until the next reset.
    assert execute(me, Opcode.SET_DRIVER_FEATURE, 0, 0) == (22, 0)
    assert set_status(me, 0) == 0
    assert me.association.driver_features is None
    assert execute(me, Opcode.SET_DRIVER_FEATURE, 0, 0) == (0, 0)


def test_features_ok_without_features_is_none(place: Place) -> None:
    me = place.control()
    assert set_status(me, 0xB) == 0xB
    assert me.association.driver_features == 0


def test_an_older_driver_without_features_ok(place: Place) -> None:
    me = place.control()
    assert set_status(me, 3) == 3
    assert execute(me, Opcode.SET_DRIVER_FEATURE, 0, 1 << 9) == (0, 0)
    assert set_status(me, 7) == 7
    assert execute(me, Opcode.SET_DRIVER_FEATURE, 0, 0) == (22, 0)


def test_a_reset_keeps_the_queues_connected(place: Place) -> None:
    me = place.control()
    place.queue(0, 1)
    assert execute(me, Opcode.SET_QUEUE_SIZE, 0, 64) == (0, 0)
    assert set_status(me, 0) == 0
    assert execute(me, Opcode.GET_QUEUE_SIZE, 0) == (0, 256)
    assert me.association.queues == {1}
    assert place.aborted == []


@pytest.mark.parametrize("size", [1, 2, 128, 256])
def test_queue_sizes(place: Place, size: int) -> None:
    me = place.control()
    assert execute(me, Opcode.SET_QUEUE_SIZE, 2, size) == (0, 0)
    assert execute(me, Opcode.GET_QUEUE_SIZE, 2) == (0, size)
    assert execute(me, Opcode.GET_QUEUE_SIZE, 1) == (0, 256)


@pytest.mark.parametrize(("queue", "size"), [(0, 0), (0, 3), (0, 512), (3, 64), (0xFFFF, 64)])
def test_queue_sizes_that_cannot_be(place: Place, queue: int, size: int) -> None:
    me = place.control()
    assert execute(me, Opcode.SET_QUEUE_SIZE, queue, size) == (22, 0)
    assert execute(me, Opcode.GET_QUEUE_SIZE, 3) == (22, 0)


def test_a_connected_queue_keeps_its_size(place: Place) -> None:
    me = place.control()
    place.queue(0, 0)
    assert execute(me, Opcode.SET_QUEUE_SIZE, 0, 64) == (16, 0)


def test_config_changes_are_told_once(place: Place) -> None:
    me, other = place.control(), place.control()
    assert execute(me, Opcode.GET_CONFIG_CHANGED) == (0, 0)
    place.backend.size += 512
    assert place.device.refresh()
    assert execute(me, Opcode.GET_GENERATION) == (0, 1)
    assert execute(me, Opcode.GET_CONFIG_CHANGED) == (0, 1)
    assert execute(me, Opcode.GET_CONFIG_CHANGED) == (0, 0)
    assert execute(other, Opcode.GET_CONFIG_CHANGED) == (0, 1)


def test_set_config(place: Place) -> None:
    me = place.control()
    # The value's other bytes may hold anything.
    assert execute(me, Opcode.SET_CONFIG, 32 | 1 << 16, 0xFFFFFF00) == (0, 0)
    assert execute(me, Opcode.GET_CONFIG, 32 | 1 << 16) == (0, 0)
    assert execute(me, Opcode.SET_CONFIG, 0 | 8 << 16, 5) == (22, 0)
    assert execute(me, Opcode.SET_CONFIG, 32 | 3 << 16, 0) == (22, 0)
    place.backend.failing = EIO
    assert execute(me, Opcode.SET_CONFIG, 32 | 1 << 16, 0) == (5, 0)


def test_transport_features(place: Place) -> None:
    me = place.control()
    assert execute(me, PROPOSAL.get_feature) == (0, 128)
    assert execute(me, PROPOSAL.get_feature, 1) == (22, 0)
    assert execute(me, PROPOSAL.set_feature, 0, 128) == (0, 0)
    for select, value in ((0, 0), (0, 129), (1, 5)):
        assert execute(me, PROPOSAL.set_feature, select, value) == (22, 0)


def test_the_rest(place: Place) -> None:
    me = place.control()
    assert execute(me, Opcode.GET_VENDOR_ID) == (0, 0x564F4631)
    assert execute(me, Opcode.GET_DEVICE_ID) == (0, 2)
    assert execute(me, Opcode.GET_NUM_QUEUES) == (0, 3)
    assert execute(me, Opcode.KEEPALIVE) == (0, 0)
    assert execute(me, Opcode.DISCONNECT) == (0, 0)
    assert execute(me, Opcode.GET_DEVICE_FEATURE, 1) == (22, 0)
    assert execute(me, Opcode.SET_DRIVER_FEATURE, 1) == (22, 0)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda item: item.name)
def test_every_control_command_has_an_answer(dialect: Dialect) -> None:
    assert set(commands._HANDLERS[dialect.name]) == dialect.plain_opcodes


def test_what_is_no_control_command(place: Place) -> None:
    for attachment, opcode, words in (
        (place.control(), Opcode.VRING, "a vring command on the control queue"),
        (place.later(), LaterOpcode.VQ, "a vq command on the control queue"),
        (
            place.later(),
            LaterOpcode.VQ_KEYED_EAGER_BUF,
            "a vq_keyed_eager_buf command on the control queue",
        ),
        (place.later(), Opcode.CONNECT, "a second Connect"),
        (place.control(), LaterOpcode.VQ, "opcode 0x0fff is not one of dialect proposal"),
    ):
        with pytest.raises(RemoteProtocolError, match=words):
            execute(attachment, opcode)


@pytest.mark.parametrize("ident", [0xFF00, 0xFFFD, 0xFFFE, 0xFFFF])
def test_an_id_that_is_an_event_s(place: Place, ident: int) -> None:
    """The proposal has no events."""
    head = struct.pack("<HH12x", Opcode.KEEPALIVE, ident)
    with pytest.raises(RemoteProtocolError, match=f"command id {ident:#06x} is reserved"):
        commands.execute(place.later().association, head)
    assert commands.execute(place.control().association, head).command_id == ident


def test_the_largest_id_that_is_not(place: Place) -> None:
    head = struct.pack("<HH12x", Opcode.KEEPALIVE, 0xFEFF)
    for me in (place.control(), place.later()):
        assert commands.execute(me.association, head).command_id == 0xFEFF


def test_set_status_of_the_later_ones_has_its_value_where_the_structure_has_it(
    place: Place,
) -> None:
    me = place.later()
    assert execute(me, Opcode.SET_STATUS, 0xFFFFFFFF, 3) == (0, 0)
    assert execute(me, Opcode.GET_STATUS) == (0, 3)
    old = place.control()
    assert execute(old, Opcode.SET_STATUS, 3, 0xFFFFFFFF) == (0, 0)
    assert execute(old, Opcode.GET_STATUS) == (0, 3)


GET, SET = V5.get_feature, V5.set_feature
BOTH = TransportFeature.KEYED_NUM_DESCS | TransportFeature.KEYED_EAGER_BUF


def test_transport_feature_bits_over_a_stream(place: Place) -> None:
    """There are none, and so nothing is to be set but nothing."""
    me = place.later()
    assert execute(me, GET, 0, 0xFFFF) == (0, 0)  # "ignore this field on GET"
    assert execute(me, GET, 1) == (22, 0)
    assert execute(me, SET, 0, 0) == (0, 0)
    for select, value in ((0, 1), (0, 2), (0, 4), (0, 1 << 63), (1, 0)):
        assert execute(me, SET, select, value) == (22, 0)
    assert me.association.dialect is None
    for opcode in (LaterOpcode.GET_KEYED_NUM_DESCS, LaterOpcode.GET_KEYED_EAGER_BUF):
        assert execute(me, opcode) == (22, 0)
    assert me.association.dialect is V5


def test_transport_feature_bits_where_there_are_some(place: Place) -> None:
    me = place.later(TransportOffer(BOTH, 32))
    assert execute(me, GET) == (0, 3)
    for select, value in ((0, 4), (0, 7), (1, 1)):
        assert execute(me, SET, select, value) == (22, 0)
        assert me.association.transport_features == 0
    assert execute(me, LaterOpcode.GET_KEYED_NUM_DESCS) == (22, 0)
    assert execute(me, SET, 0, TransportFeature.KEYED_NUM_DESCS) == (0, 0)
    assert execute(me, GET) == (0, 3)
    assert execute(me, LaterOpcode.GET_KEYED_NUM_DESCS, 2) == (0, 32)
    assert execute(me, LaterOpcode.GET_KEYED_NUM_DESCS, 3) == (22, 0)


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_the_config_space_in_every_width_at_any_offset(place: Place, width: int) -> None:
    config = place.control().association.seat.read_config()
    for me in (place.control(), place.later()):
        for offset in range(len(config) + 2):
            expected = (22, 0)
            if offset + width <= len(config):
                expected = (0, int.from_bytes(config[offset : offset + width], "little"))
            assert execute(me, Opcode.GET_CONFIG, offset | width << 16) == expected
        assert execute(me, Opcode.GET_CONFIG, 0xFFFF | width << 16) == (22, 0)


@pytest.mark.parametrize("width", [0, 3, 5, 6, 7, 9, 255])
def test_the_config_space_has_no_other_widths(place: Place, width: int) -> None:
    me = place.later()
    assert execute(me, Opcode.GET_CONFIG, width << 16) == (22, 0)
    assert execute(me, Opcode.SET_CONFIG, 32 | width << 16, 1) == (22, 0)
