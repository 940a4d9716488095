# SPDX-License-Identifier: BSD-3-Clause
"""RDMA connections in packets: how they are found, followed and ended."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import capture_files as files
from tests.support import roce_packets as roce
from tests.support.roce_packets import Talk
from tests.unit.decode import said
from tests.unit.decode.said import I2T, T2I
from vof.decode.association import Associations
from vof.decode.capture import Packet
from vof.decode.keyed import KeyedConnection
from vof.decode.message import Kind, Message, Where
from vof.decode.network import Datagram, Endpoint, dissect
from vof.decode.roce import RdmaConnections
from vof.wire.dialect import DIALECTS, PROPOSAL, V2, V5, Dialect

CONNECTS = {
    PROPOSAL.name: said.segment(1024, 0, 0, 0x1000, 5),
    V2.name: said.segment(1024, 0, 1, 0x1000, 5),
    V5.name: struct.pack("<QII", 0x1000, 1024, 5),
}
CONNECT = said.connect_head(V5, rdma=True) + CONNECTS[V5.name]


class Capture:
    """Connections out of packets, and the messages."""

    def __init__(self, *ports: int) -> None:
        self.made: list[tuple[str, str]] = []
        self.connections = RdmaConnections(frozenset(ports), self._open)

    def _open(
        self, initiator: Endpoint, target: Endpoint, where: Where
    ) -> tuple[KeyedConnection, Message]:
        self.made.append((str(initiator), str(target)))
        connection = KeyedConnection(len(self.made), "", Associations(), begins=True)
        return connection, Message(Kind.CONNECTION, where)

    def hear(self, packets: Iterable[bytes]) -> list[Message]:
        found: list[Message] = []
        for number, data in enumerate(packets, 1):
            carried = dissect(Packet(number, 0, files.ETHERNET, data, len(data)))
            assert isinstance(carried, Datagram)
            found += self.connections.datagram(carried, Where(number))
        return found


def attaching(talk: Talk, dialect: Dialect = V5) -> list[bytes]:
    connect = said.connect_head(dialect, rdma=True) + CONNECTS[dialect.name]
    return [
        *talk.opened(),
        *talk.sends(I2T, connect),
        *talk.reads(T2I, 0x1000, 5, said.body()),
        *talk.sends(T2I, said.answered(dialect, 7, 3)),
    ]


def problems(messages: list[Message]) -> list[str]:
    return [problem for message in messages for problem in message.problems]


def test_a_connection() -> None:
    talk, capture = Talk(), Capture(15771)
    found = capture.hear(
        [*attaching(talk), talk.closes(I2T), talk.closes(T2I, roce.DREP), talk.closes(I2T)]
    )
    assert [each.kind for each in found] == [
        Kind.CONNECTION, Kind.COMMAND, Kind.READ, Kind.COMPLETION, Kind.CLOSED, Kind.CLOSED,
    ]  # fmt: skip
    assert capture.made == [("192.0.2.1:17", "192.0.2.2:15771")]
    assert found[2].decoded["tvqn"] == said.TVQN
    assert [each.decoded["how"] for each in found[4:]] == ["dreq", "drep"]
    assert not problems(found)
    assert not list(capture.connections.end(Where(99)))


@pytest.mark.parametrize("mtu", list(roce.MTU_CODES))
def test_any_size_of_packets(mtu: int) -> None:
    talk, capture = Talk(mtu=mtu), Capture(15771)
    found = capture.hear([*attaching(talk), *talk.writes(T2I, 1, 2, bytes(5000))])
    assert found[2].decoded["tvqn"] == said.TVQN
    assert len(found[4].payload.data) == 5000


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda item: item.name)
def test_a_target_with_another_port_is_known_by_its_connect(dialect: Dialect) -> None:
    capture = Capture(15771)
    found = capture.hear(attaching(Talk(port=999), dialect))
    assert found[1].decoded["dialect"] == dialect.name
    assert not problems(found)
    assert [each.kind for each in found] == [
        Kind.CONNECTION, Kind.COMMAND, Kind.READ, Kind.COMPLETION,
    ]  # fmt: skip


def test_connections_without_a_connect_body_at_a_target_that_is_known() -> None:
    capture = Capture(15771)
    capture.hear(attaching(Talk(port=999)))
    other = Talk(port=999, queue_pairs={I2T: 0x12, T2I: 0x23}, comm_ids={I2T: 0x1112, T2I: 0x2223})
    head = said.connect_head(V5, 1, length=0)
    connection, connect = capture.hear([*other.opened(), *other.sends(I2T, head)])
    assert (connection.kind, connect.name, connect.queue) == (Kind.CONNECTION, "connect", "1")


def test_another_protocol() -> None:
    talk, capture = Talk(port=20049), Capture(15771)
    packets = [*talk.opened(), *talk.sends(I2T, bytes(60)), *talk.sends(I2T, CONNECT)]
    assert not capture.hear(packets)
    assert not capture.connections.unknown


def test_two_connections_at_once() -> None:
    one = Talk()
    two = Talk(queue_pairs={I2T: 0x12, T2I: 0x23}, comm_ids={I2T: 0x1112, T2I: 0x2223})
    capture = Capture(15771)
    packets = [each for pair in zip(attaching(one), attaching(two), strict=True) for each in pair]
    found = capture.hear(packets)
    assert len(capture.made) == 2
    assert not problems(found)
    assert sorted(each.connection or 0 for each in found if each.kind is Kind.READ) == [1, 2]


def test_packets_of_a_connection_that_was_not_seen_being_made() -> None:
    talk, capture = Talk(), Capture(15771)
    assert not capture.hear(attaching(talk)[3:])
    assert capture.connections.unknown == 6


def test_a_queue_pair_that_is_used_again() -> None:
    capture = Capture(15771)
    again = Talk(comm_ids={I2T: 0x3333, T2I: 0x4444}, start={I2T: 9, T2I: 9})
    found = capture.hear([*attaching(Talk()), *attaching(again)])
    assert len(capture.made) == 2
    assert not problems(found)


def test_packets_that_are_missing() -> None:
    talk, capture = Talk(), Capture(15771)
    packets = attaching(talk)
    talk.sends(I2T, bytes(16))
    found = capture.hear([*packets, *talk.sends(I2T, said.common(V5, "get_status", 1))])
    assert (found[-2].kind, found[-2].decoded) == (Kind.LOST, {"packets": 1})
    assert found[-1].name == "get_status"


@pytest.mark.parametrize(
    ("syndrome", "expected"),
    [
        (0x1F, None),
        (0x25, "the other end is not ready to receive"),
        (0x60, None),  # a sequence number: what is missing is sent again
        (0x61, "the other end calls a request invalid"),
        (0x62, "the other end refuses access to its memory"),
        (0x63, "the other end failed a request"),
    ],
)
def test_negative_acknowledgements(syndrome: int, expected: str | None) -> None:
    talk, capture = Talk(), Capture(15771)
    found = capture.hear([*attaching(talk), talk.acknowledges(T2I, syndrome)])
    notes = [each.decoded["note"] for each in found if each.kind is Kind.NOTE]
    assert notes == ([expected] if expected else [])


def test_a_send_that_invalidates_a_key() -> None:
    talk, capture = Talk(), Capture(15771)
    packet = talk.only(I2T, roce.SEND_ONLY_INVALIDATE, CONNECT, bytes(4))
    found = capture.hear([*talk.opened(), packet])
    assert found[1].name == "connect"
    assert not problems(found)


def test_the_first_bytes_of_packets() -> None:
    talk, capture = Talk(), Capture(15771)
    found = capture.hear(attaching(talk))
    whole = talk.writes(T2I, 1, 2, bytes(500))[0]
    carried = dissect(Packet(1, 0, files.ETHERNET, whole[:100], len(whole)))
    assert isinstance(carried, Datagram)
    found = list(capture.connections.datagram(carried, Where(1)))
    assert len(found[0].payload.data) == 500
    assert found[0].payload.lost == 500 - (100 - 14 - 20 - 8 - 12 - 16)


def test_what_is_left_at_the_end() -> None:
    talk, capture = Talk(), Capture(15771)
    capture.hear(
        [*talk.opened(), *talk.sends(I2T, CONNECT), talk.reads(T2I, 0x1000, 5, said.body())[0]]
    )
    read, note = capture.connections.end(Where(9))
    assert (read.kind, read.payload.lost) == (Kind.READ, 1024)
    assert note.decoded["commands"] == ["connect 7"]


def test_other_services_and_other_management() -> None:
    talk, capture = Talk(), Capture(15771)
    request = bytearray(talk.opened()[0])
    service = 14 + 20 + 8 + 12 + 8 + 24 + 8
    struct.pack_into(">Q", request, service, 0x0111_0000)
    no_cm = bytearray(talk.opened()[0])
    no_cm[14 + 20 + 8 + 12 + 8 + 1] = 3
    reply = talk.opened()[1]
    assert not capture.hear([bytes(request), bytes(no_cm), reply, talk.closes(I2T)])
    assert not capture.made


@given(
    packets=st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.builds(
                roce.transport,
                st.sampled_from([*range(0x20), 0x64]),
                st.sampled_from([1, 0x11, 0x22]),
                st.integers(95, 110),
                st.binary(max_size=60),
                st.binary(max_size=16),
            ),
        ),
        max_size=12,
    ),
    back=st.booleans(),
)
def test_whatever_comes(packets: list[bytes], back: bool) -> None:
    capture = Capture(15771)
    capture.hear(attaching(Talk()))
    ends = ("192.0.2.2", "192.0.2.1") if back else ("192.0.2.1", "192.0.2.2")
    capture.hear(files.datagram(each, *ends, roce.UDP_PORT) for each in packets)
    list(capture.connections.end(Where(99)))
