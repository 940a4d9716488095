# SPDX-License-Identifier: BSD-3-Clause
"""The table of associations, and what an association is, without any socket."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.unit.target.place import LATER, NotingLink, Place, caller
from vof.errors import RemoteProtocolError
from vof.target.association import NO_OFFER, Association, Refusal, TransportOffer
from vof.wire.constants import AsyncEvent, LaterOpcode, Opcode, Transport, TransportFeature
from vof.wire.dialect import PROPOSAL, V2, V5


@pytest.fixture
def place() -> Place:
    return Place()


def refusal(call: object, *arguments: object) -> int:
    with pytest.raises(Refusal) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value.status


@pytest.mark.clause("000:77-78", "target")
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
    assert place.queue(0, 1).queue == 1
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
    assert not place.table.remove("dev", 0.01)
    assert place.aborted == ["control"]
    place.table.add(place.device)
    leaving = threading.Thread(target=place.table.release, args=(control,))
    leaving.start()
    assert place.table.remove("dev", 20)
    leaving.join()
    assert refusal(place.control) == 19


def later(offer: TransportOffer = NO_OFFER) -> Association:
    return Place().later(offer).association


def test_a_virtqueue_speaks_as_its_control_queue_does(place: Place) -> None:
    place.control()
    place.later()
    link = place.link("queue")
    rdma = caller(transport=Transport.RDMA)
    connect = place.table.connect_queue
    assert refusal(connect, 0, 0, caller(dialects=LATER), link) == 71
    assert refusal(connect, 0, 0, rdma, link) == 71
    assert refusal(connect, 1, 0, caller(), link) == 71
    assert connect(0, 0, caller(), link).queue == 0
    assert connect(1, 0, caller(dialects=LATER), link).queue == 0


@pytest.mark.parametrize(
    ("opcode", "decided", "other"),
    [
        (Opcode.VRING, V2, LaterOpcode.VQ),
        (LaterOpcode.VQ, V5, Opcode.VRING),
        (LaterOpcode.VQ_KEYED_EAGER_BUF, V5, Opcode.VRING),
        (LaterOpcode.GET_KEYED_NUM_DESCS, V5, Opcode.VRING),
        (LaterOpcode.GET_KEYED_EAGER_BUF, V5, Opcode.VRING),
    ],
)
def test_an_opcode_decides_the_dialect(opcode: int, decided: object, other: int) -> None:
    association = later()
    assert association.admit(Opcode.GET_STATUS).name == "v5"
    assert association.dialect is None
    assert association.admit(opcode) is decided
    assert association.dialect is decided
    assert association.admit(Opcode.GET_STATUS) is decided
    with pytest.raises(RemoteProtocolError, match=f"{other:#06x} is not one of dialect v"):
        association.admit(other)
    # The association goes on being what it is; the connection that heard it ends it.
    assert association.dialect is decided


@pytest.mark.parametrize("opcode", [*LaterOpcode, 5, 0x1FFF])
def test_the_proposal_has_no_later_opcodes(place: Place, opcode: int) -> None:
    association = place.control().association
    assert association.dialect is PROPOSAL
    assert association.admit(Opcode.VRING) is PROPOSAL
    with pytest.raises(RemoteProtocolError, match=f"{opcode:#06x} is not one of dialect proposal"):
        association.admit(opcode)


def test_an_opcode_that_nobody_has_decides_nothing() -> None:
    association = later()
    with pytest.raises(RemoteProtocolError, match="0x0003 is not one of dialect v2 or v5"):
        association.admit(3)
    assert association.dialect is None


def decide(association: Association, opcode: int, ready: threading.Barrier) -> str:
    ready.wait()
    try:
        return association.admit(opcode).name
    except RemoteProtocolError:
        return "refused"


def test_of_two_that_decide_at_once_one_is_refused() -> None:
    with ThreadPoolExecutor(2) as threads:
        for _ in range(50):
            association, ready = later(), threading.Barrier(2)
            opcodes = (Opcode.VRING, LaterOpcode.VQ)
            calls = [threads.submit(decide, association, opcode, ready) for opcode in opcodes]
            outcome = sorted(call.result() for call in calls)
            assert association.dialect is not None
            assert outcome == ["refused", association.dialect.name]


BOTH = TransportFeature.KEYED_NUM_DESCS | TransportFeature.KEYED_EAGER_BUF


def test_transport_features_decide_the_dialect() -> None:
    association = later(TransportOffer(BOTH, 32))
    assert association.set_transport_features(0)
    assert association.dialect is None
    assert not association.set_transport_features(4)
    assert association.dialect is None
    assert association.set_transport_features(TransportFeature.KEYED_EAGER_BUF)
    assert association.dialect is V5
    assert association.transport_features == TransportFeature.KEYED_EAGER_BUF


def test_v2_has_no_transport_features() -> None:
    association = later(TransportOffer(BOTH, 32))
    association.admit(Opcode.VRING)
    assert association.dialect is V2
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
    association = later(TransportOffer(BOTH, 32))
    association.set_transport_features(BOTH)
    association.set_status(0)
    assert association.dialect is V5
    assert association.transport_features == BOTH


def test_events_reach_the_control_queues_of_a_device(place: Place) -> None:
    links = {name: NotingLink(name, place.aborted) for name in ("first", "second", "queue", "old")}
    who = caller(dialects=LATER)
    place.table.connect_control(who, links["first"])
    place.table.connect_control(who, links["second"])
    place.table.connect_queue(0, 0, who, links["queue"])
    place.table.connect_control(caller(), links["old"])
    place.table.notify(place.device, AsyncEvent.CONFIG_CHANGE)
    told = [AsyncEvent.CONFIG_CHANGE]
    assert [link.events for link in links.values()] == [told, told, [], []]
