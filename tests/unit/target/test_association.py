# SPDX-License-Identifier: BSD-3-Clause
"""The table of associations, and what an association is, without any socket."""

from __future__ import annotations

import logging
import threading

import pytest

from tests.unit.target.place import NotingLink, Place, caller
from vof.target.association import TransportOffer
from vof.target.association_table import Refusal
from vof.target.devices.device import DeviceInstance, InUse
from vof.wire.constants import AsyncEvent, Transport, TransportFeature
from vof.wire.dialect import PROPOSAL, V2, V5, Dialect
from vof.wire.status import Reason


@pytest.fixture
def place() -> Place:
    return Place()


def refusal(call: object, *arguments: object) -> int:
    with pytest.raises(Refusal) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value.reason.errno


@pytest.mark.clause("v2:77-78", "target")
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
    assert refusal(place.table.connect_control, caller("me", "other"), place.link("other")) == 19
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
    assert place.queue(0, 1).index == 1
    assert place.aborted == []


def test_the_end_is_logged_once(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "vof")
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
    place.table.devices.remove(place.device)
    assert not place.table.end_users(place.device, 0.01)
    assert place.aborted == ["control"]
    leaving = threading.Thread(target=place.table.release, args=(control,))
    leaving.start()
    assert place.table.end_users(place.device, 20)
    leaving.join()
    assert refusal(place.control) == 19


def test_a_device_may_refuse_an_initiator(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a status that says that there is no instance for it; its id is not used up."""
    new = place.device.new_instance
    instances: list[object] = []

    def one_at_a_time() -> DeviceInstance:
        if instances:
            raise InUse("it serves one initiator at a time")
        instances.append(None)
        return new()

    monkeypatch.setattr(place.device, "new_instance", one_at_a_time)
    control = place.control()
    with pytest.raises(Refusal, match="one initiator at a time") as caught:
        place.control()
    assert caught.value.reason is Reason.NO_INSTANCE
    place.table.release(control)
    instances.clear()
    assert place.control().association.target_id == 0


def test_a_virtqueue_speaks_as_its_control_queue_does(place: Place) -> None:
    place.control()
    place.of(V5)
    link = place.link("queue")
    rdma = caller(transport=Transport.RDMA)
    connect = place.table.connect_queue
    assert refusal(connect, 0, 0, caller(dialect=V5), link) == 71
    assert refusal(connect, 0, 0, caller(dialect=V2), link) == 71
    assert refusal(connect, 0, 0, rdma, link) == 71
    assert refusal(connect, 1, 0, caller(), link) == 71
    assert connect(0, 0, caller(), link).index == 0
    assert connect(1, 0, caller(dialect=V5), link).index == 0


def test_a_virtqueue_may_leave_its_names_out(place: Place) -> None:
    place.of(V5)
    nameless = caller(dialect=V5)._replace(names=None)
    assert place.table.connect_queue(0, 0, nameless, place.link("queue")).index == 0
    assert refusal(place.table.connect_control, nameless, place.link("control")) == 71


def test_the_size_that_a_connect_asks_for(place: Place) -> None:
    association = place.of(V5).association
    who, link = caller(dialect=V5), place.link("queue")
    most = place.device.queue_size
    assert refusal(place.table.connect_queue, 0, 0, who, link, most + 1) == 22
    for asked, size in ((5, 5), (0, most), (most, most)):
        connected = place.table.connect_queue(0, 0, who, link, asked)
        assert association.queue_sizes[0] == size
        place.table.release(connected)


BOTH = TransportFeature.KEYED_NUM_DESCS | TransportFeature.KEYED_EAGER_BUF


def test_transport_features() -> None:
    association = Place().of(V5, TransportOffer(BOTH, 32)).association
    assert association.set_transport_features(0)
    assert not association.set_transport_features(4)
    assert association.transport_features == 0
    assert association.set_transport_features(TransportFeature.KEYED_EAGER_BUF)
    assert association.transport_features == TransportFeature.KEYED_EAGER_BUF


@pytest.mark.parametrize("dialect", [PROPOSAL, V2], ids=lambda dialect: dialect.name)
def test_the_earlier_ones_have_no_transport_feature_bits(dialect: Dialect) -> None:
    association = Place().of(dialect, TransportOffer(BOTH, 32)).association
    assert association.offered_transport_features == 0
    assert not association.set_transport_features(1)
    assert association.transport_features == 0


def test_a_device_reset_reaches_every_connection(place: Place) -> None:
    association = place.control().association
    other = place.control().association
    links = [place.link("0"), place.link("2")]
    for queue, link in zip((0, 2), links, strict=True):
        place.table.connect_queue(0, queue, caller(), link)
    assert association.link(0) is links[0]
    assert association.link(2) is links[1]
    assert association.link(1) is other.link(0) is None
    association.set_status(1)
    assert [link.resets for link in links] == [0, 0]
    other.reset()
    association.set_status(0)
    assert [link.resets for link in links] == [1, 1]


def test_a_device_reset_is_none_of_the_transport() -> None:
    association = Place().of(V5, TransportOffer(BOTH, 32)).association
    association.set_transport_features(BOTH)
    association.set_status(0)
    assert association.transport_features == BOTH


def test_events_reach_the_control_queues_of_a_device(place: Place) -> None:
    links = {name: NotingLink(name, place.aborted) for name in ("first", "second", "queue", "old")}
    place.table.connect_control(caller(dialect=V2), links["first"])
    place.table.connect_control(caller(dialect=V5), links["second"])
    place.table.connect_queue(0, 0, caller(dialect=V2), links["queue"])
    place.table.connect_control(caller(), links["old"])
    place.backend.size += 512
    assert place.device.refresh()
    place.table.notify(place.device, AsyncEvent.CONFIG_CHANGE)
    head = bytes.fromhex("0000feff")
    told = [[head + bytes(12)], [head + b"\1" + bytes(11)], [], []]
    assert [link.events for link in links.values()] == told


def test_one_config_change_is_outstanding_in_v5(place: Place) -> None:
    links = [place.link("v2"), place.link("v5")]
    associations = [
        place.table.connect_control(caller(dialect=dialect), link).association
        for dialect, link in zip((V2, V5), links, strict=True)
    ]
    for _ in range(3):
        place.table.notify(place.device, AsyncEvent.CONFIG_CHANGE)
    assert [len(link.events) for link in links] == [3, 1]
    for association in associations:
        association.config_is_read()
    place.table.notify(place.device, AsyncEvent.CONFIG_CHANGE)
    assert [len(link.events) for link in links] == [4, 2]
    # A keepalive is outstanding at no time.
    for _ in range(2):
        place.table.notify(place.device, AsyncEvent.KEEPALIVE)
    assert len(links[1].events) == 4
