# SPDX-License-Identifier: BSD-3-Clause
"""The table of associations, and the control commands on one, without any socket."""

from __future__ import annotations

import logging
import struct
import threading

import pytest

from tests.unit.target.disk import EIO, NotingBackend
from vof.target.association import AssociationTable, Attachment, Refusal
from vof.target.commands import ControlCommands
from vof.target.devices.block import BlockDevice, BlockOptions
from vof.wire.constants import Opcode
from vof.wire.dialect import PROPOSAL
from vof.wire.stream import ReceivedCommand

COMMANDS = ControlCommands(PROPOSAL)


class Place:
    """A table with one device, and the connections that were ended."""

    def __init__(self, limit: int = 8) -> None:
        self.backend = NotingBackend()
        self.device = BlockDevice("dev", 0, BlockOptions(queues=3), self.backend)
        self.table = AssociationTable(limit)
        self.table.add(self.device)
        self.aborted: list[str] = []

    def control(self, ivqn: str = "me") -> Attachment:
        return self.table.connect_control(ivqn, "dev", lambda: self.aborted.append("control"))

    def queue(self, target_id: int, queue: int, ivqn: str = "me", tvqn: str = "dev") -> Attachment:
        return self.table.connect_queue(
            target_id, queue, ivqn, tvqn, lambda: self.aborted.append(f"queue {queue}")
        )


@pytest.fixture
def place() -> Place:
    return Place()


def refusal(call: object, *arguments: object) -> int:
    with pytest.raises(Refusal) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value.status


def test_ids_are_the_lowest_free(place: Place) -> None:
    attached = [place.control() for _ in range(4)]
    assert [item.association.target_id for item in attached] == [0, 1, 2, 3]
    place.table.release(attached[2])
    place.table.release(attached[1])
    assert place.control().association.target_id == 1
    assert place.control().association.target_id == 2
    assert place.control().association.target_id == 4


def test_the_limit() -> None:
    place = Place(2)
    first = place.control()
    place.control()
    assert refusal(place.control) == 16
    place.table.release(first)
    place.control()
    place.table.limit = 3
    place.control()
    assert refusal(place.control) == 16


def test_an_id_is_free_only_when_the_last_connection_is_gone(place: Place) -> None:
    control = place.control()
    queue = place.queue(0, 1)
    place.table.release(control)
    assert place.aborted == ["queue 1"]
    # Its queue may still be executing something: nothing may be connected to it, and nobody gets
    # its id.
    assert refusal(place.queue, 0, 2) == 19
    assert place.control().association.target_id == 1
    place.table.release(queue)
    assert place.control().association.target_id == 0


def test_refusals(place: Place) -> None:
    assert refusal(place.table.connect_control, "me", "other", print) == 19
    place.control()
    place.queue(0, 0)
    assert refusal(place.queue, 0, 0) == 16
    assert refusal(place.queue, 0, 3) == 44
    assert refusal(place.queue, 1, 0) == 19
    assert refusal(place.queue, 0, 1, "you") == 71
    assert refusal(place.queue, 0, 1, "me", "other") == 71
    place.queue(0, 1)


def test_a_released_queue_can_be_connected_again(place: Place) -> None:
    place.control()
    queue = place.queue(0, 1)
    place.table.release(queue)
    assert place.queue(0, 1).queue == 1
    assert place.aborted == []


def test_the_end_is_logged_once(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "vof.target")
    association = place.control("a b").association
    place.queue(0, 0, "a b")
    association.end("violation", "first", peer="[::1]:1")
    association.end("violation", "second")
    (record,) = caplog.records
    assert record.getMessage() == (
        'peer=[::1]:1 tvqn=dev ivqn="a b" target_id=0 event=violation reason=first'
    )
    assert sorted(place.aborted) == ["control", "queue 0"]


def test_removal_waits_for_the_connections(place: Place) -> None:
    control = place.control()
    assert not place.table.remove("dev", 0.01)
    assert place.aborted == ["control"]
    place.table.add(place.device)
    leaving = threading.Thread(target=place.table.release, args=(control,))
    leaving.start()
    assert place.table.remove("dev", 20)
    leaving.join()
    assert refusal(place.control) == 19


def execute(
    attachment: Attachment, opcode: int, select: int = 0, value: int = 0
) -> tuple[int, int]:
    head = struct.pack("<HHIQ", opcode, 7, select, value)
    command = ReceivedCommand(opcode, 7, head, (), memoryview(b""))
    completion = COMMANDS.execute(attachment.association, command)
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
    place.device.generation += 1
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


def test_every_control_command_has_an_answer() -> None:
    """The parser lets exactly these through; none may be without a handler."""
    opcodes = set(Opcode) - {Opcode.CONNECT, Opcode.VRING}
    assert set(COMMANDS._handlers) == opcodes | {PROPOSAL.get_feature, PROPOSAL.set_feature}
