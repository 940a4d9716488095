# SPDX-License-Identifier: BSD-3-Clause
"""Whole files: the recordings of real programs, and captures made of them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import capture_files as files
from tests.support.capture_files import ETHERNET, Made, Talk
from tests.support.recorded_packets import packets
from tests.unit.decode import said
from tests.unit.decode.said import I2T, T2I
from tests.vectors import recordings
from vof.decode.budget import Budget, without_oldest
from vof.decode.message import Direction, Kind, Message, Named
from vof.decode.source import Assumptions, decode
from vof.errors import ConfigError
from vof.wire.constants import DeviceId
from vof.wire.dialect import DIALECTS, PROPOSAL, V5, Dialect

KNOWN = Assumptions()


def read(content: bytes, assumptions: Assumptions = KNOWN) -> list[Message]:
    return list(decode(io.BufferedReader(io.BytesIO(content)), assumptions))


def recording(name: str) -> list[Message]:
    return read((recordings.FOLDER / f"{name}.jsonl").read_bytes())


def substance(messages: Iterable[Message]) -> list[tuple[object, ...]]:
    """Return what does not depend on the kind of file, in an order that does not either."""
    kinds = {Kind.COMMAND, Kind.COMPLETION, Kind.READ, Kind.WRITE}
    found = [
        (each.connection, each.kind, each.direction, each.name, each.command_id, each.queue,
         each.fields, each.descriptors, each.decoded, each.problems, each.head, each.payload)
        for each in messages
        if each.kind in kinds
    ]  # fmt: skip
    return sorted(found, key=lambda each: each[0])  # type: ignore[arg-type, return-value]


DEFECTS = "command id 0 is not in flight"

WITHOUT_DEFECTS = [name for name in recordings.names() if not name.startswith("probe")]


@pytest.mark.parametrize("name", WITHOUT_DEFECTS)
def test_recordings_have_no_problems(name: str) -> None:
    found = recording(name)
    assert found[0].kind is Kind.CAPTURE
    assert not [problem for each in found for problem in each.problems]
    assert not [each for each in found if each.kind is Kind.LOST]
    done = [each for each in found if each.kind is Kind.COMPLETION]
    asked = [each for each in found if each.kind is Kind.COMMAND]
    # What was in flight at the end has none.
    assert len(asked) - 2 <= len(done) <= len(asked)
    for each in done:
        assert each.answers
        assert each.decoded["status"] == Named(0, "ok") or name.endswith("fails")


@pytest.mark.parametrize("name", WITHOUT_DEFECTS)
def test_every_byte_of_a_recording_is_told(name: str) -> None:
    found = recording(name)
    loaded = recordings.load(name)
    for conn in loaded.conns:
        for direction in Direction:
            told = b"".join(
                each.head + each.payload.data
                for each in found
                if each.connection == conn and each.direction is direction
            )
            if loaded.transport == "tcp":
                sent = loaded.stream(conn, direction.value)
            else:
                # What a target reads comes from the initiator.
                sent = b"".join(
                    each.data
                    for each in loaded.messages
                    if each.conn == conn
                    and (each.direction != direction.value) == (each.op == "READ_RESP")
                    and not each.op.startswith("CM_")
                )
            assert sent.startswith(told)
            assert told == sent or loaded.truncated


@pytest.mark.parametrize("name", WITHOUT_DEFECTS)
def test_a_capture_tells_the_same_as_the_recording(name: str) -> None:
    capture = files.pcapng(files.times(packets(name)))
    assert substance(read(capture)) == substance(recording(name))


@pytest.mark.parametrize(
    "link_type", [ETHERNET, files.RAW, files.COOKED, files.COOKED_2, files.NULL]
)
@pytest.mark.parametrize("ends", [{}, {"initiator": "2001:db8::1", "target": "2001:db8::2"}])
def test_link_layers(link_type: int, ends: dict[str, str]) -> None:
    made = packets("vinitiator-tcp-rng", {**ends, "link_type": link_type})
    found = read(files.pcap(files.times(made), link_type))
    assert substance(found) == substance(recording("vinitiator-tcp-rng"))


def test_small_segments() -> None:
    made = packets("kernel-tcp-blk-pipelined", {"mss": 100})
    found = read(files.pcap(files.times(made)))
    assert substance(found) == substance(recording("kernel-tcp-blk-pipelined"))


def test_the_probes_show_what_they_probe() -> None:
    """That of the problems there are no others is seen from how many there are."""
    problems = [problem for each in recording("probe-tcp-errors") for problem in each.problems]
    assert len(problems) == 32
    for expected in (
        "the queue is connected already",
        "it comes before the Connect",
        "opcode 0x2001 is not one of dialect proposal",
        "opcode 0x0005 is not one of dialect proposal",
        "a descriptor id is used twice",
        "descriptors and data of a refused command, whose ndesc is 0",
        "it returns 20 bytes for descriptor id 1 with room for 8",
    ):
        assert expected in problems


def test_requests_are_told_by_device() -> None:
    asked = [
        each.decoded["request"]
        for each in recording("kernel-tcp-crypto")
        if "request" in each.decoded
    ]
    assert asked[0] == {
        "device": "crypto",
        "type": Named(1028, "AKCIPHER_CREATE_SESSION"),
        "algo": Named(1, "RSA"),
        "key_type": Named(2, "PRIVATE"),
        "key_len": 1191,
        "padding_algo": Named(0, "RAW"),
        "hash_algo": Named(0, "NONE"),
    }


# Captures that lack something.


def words(dialect: Dialect = V5) -> list[tuple[str, bytes]]:
    """Return the words of a control queue, many of them."""
    found = said.attached(dialect)
    for ident in range(2, 20):
        found += [
            (I2T, said.common(dialect, "get_status", ident)),
            (T2I, said.answered(dialect, ident, 15)),
        ]
    return found


@pytest.mark.parametrize("missing", range(3, 12))
def test_a_packet_that_is_missing(missing: int) -> None:
    """The others are told, and what is lost is said."""
    made = list(files.talked(words()))
    whole = read(files.pcap(files.times(made)))
    del made[missing]
    found = read(files.pcap(files.times(made)))
    assert [each for each in found if each.kind is Kind.LOST or each.payload.lost]
    told = {(each.kind, each.name, each.command_id) for each in whole}
    left = {(each.kind, each.name, each.command_id) for each in found}
    assert len(told & left) >= len(told) - 2


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda item: item.name)
def test_a_capture_that_begins_in_the_middle(dialect: Dialect) -> None:
    """Which dialect it is, a command may leave open."""
    made = list(files.talked(words(dialect)))[9:]
    found = read(files.pcap(files.times(made)))
    assert found[1].kind is Kind.CONNECTION
    assert found[1].problems == ["its beginning is not in the capture"]
    asked = [each for each in found if each.kind is Kind.COMMAND]
    if dialect is PROPOSAL:
        assert {each.name for each in asked} == {"reset_device"}
        assert asked[0].decoded["or"] == {"proposal": "get_status"}
    else:
        assert {each.name for each in asked} == {"get_status"}
        assert asked[0].decoded["or"] == {"proposal": "set_status"}
    assert not [problem for each in found[2:] for problem in each.problems]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda item: item.name)
def test_requests_tell_which_dialect_it_is(dialect: Dialect) -> None:
    data = bytes(range(256)) * 2
    talk: list[tuple[str, bytes]] = []
    for ident in range(6):
        request = said.request(dialect, ident, [said.header(0, ident)], [512, 1])
        talk += [(I2T, request), (T2I, said.answer(dialect, ident, 1, [512, 1], [data, b"\0"]))]
    talk += [(I2T, said.common(dialect, "get_status", 9)), (T2I, said.answered(dialect, 9, 15))]
    made = list(files.talked(talk))[4:]  # from the first answer on
    found = read(files.pcap(files.times(made)))
    names = [each.name for each in found if each.kind is Kind.COMMAND]
    assert names == ["vq" if dialect is V5 else "vring"] * 5 + ["get_status"]
    assert not [problem for each in found[2:] for problem in each.problems]
    assert not [each for each in found if "or" in each.decoded]
    answers = [each.payload.data for each in found if each.kind is Kind.COMPLETION]
    assert answers[-6:-1] == [data + b"\0"] * 5


def test_a_device_type_that_is_given() -> None:
    request = said.request(PROPOSAL, 5, [said.header(1, 8), bytes(512)], [1])
    made = list(files.talked([(I2T, request)]))[3:]
    capture = files.pcap(files.times(made))
    assert "request" not in read(capture)[2].decoded
    found = read(capture, Assumptions(device_id=DeviceId.BLOCK))
    assert found[2].decoded["request"]["type"] == Named(1, "OUT")  # type: ignore[index, call-overload]


@pytest.mark.parametrize("port", [15771, 8549, 4444])
def test_other_ports(port: int) -> None:
    """By the port if it is given, and by its Connect."""
    made = files.times(files.talked(words(), Talk(port=port)))
    assert len(read(files.pcap(made))) > 40
    rest = files.pcap(made[3:])
    given_port = Assumptions(ports=frozenset({port}))
    assert len(read(rest, given_port)) > 40
    if port == 4444:
        with pytest.raises(ConfigError, match="no Virtio-over-Fabrics connection is in it"):
            read(rest)


def test_connections_without_a_connect_body_at_a_target_that_is_known() -> None:
    """Nothing tells them otherwise: by the port, or by another connection's Connect."""
    control, queue, other = (Talk(port=port, from_port=port) for port in (4444, 4445, 4446))
    queue.port = 4444
    head = said.connect_head(V5, 1, length=0)
    made = [*control.opened(), *control.says(I2T, said.connect(V5))]
    for talk in (queue, other):
        made += [*talk.opened(), *talk.says(I2T, head)]
    found = read(files.pcap(files.times(made)))
    asked = [(each.connection, each.queue) for each in found if each.kind is Kind.COMMAND]
    assert asked == [(0, "control"), (1, "1")]


def test_connections_that_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of which nothing was seen for longest, where there are too many."""
    monkeypatch.setattr(without_oldest, "__defaults__", (3,))
    talks = [Talk(from_port=port) for port in range(5000, 5005)]
    made: list[bytes] = []
    for talk in talks:
        made += [*talk.opened(), *talk.says(I2T, said.connect(V5))]
        made += talks[0].says(T2I, said.answered(V5, 7, 3))[:1]
    found = read(files.pcap(files.times(made)))
    left = [each for each in found if each.kind is Kind.NOTE]
    assert [each.connection for each in left] == [1, 2, 3, 4]
    assert [each.where.number < len(made) for each in left] == [True, True, True, True]
    assert found.index(left[0]) < found.index(
        next(each for each in found if each.connection == 4)
    ) < found.index(left[3])  # fmt: skip


def test_what_all_connections_hold_back_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Budget.__init__, "__defaults__", (4096,))
    made: list[bytes] = []
    head = said.request(V5, 5, [bytes(3000)], [1])
    for port in (5000, 5001):
        talk = Talk(from_port=port)
        made += [*talk.opened(), *talk.says(I2T, said.connect(V5, 0)), *talk.says(I2T, head[:2900])]
    found = read(files.pcap(files.times(made)))
    problems = {each.connection: each.problems for each in found if each.name == "vq"}
    assert problems[1] == ["of its 3000 bytes of data 1432 are there"]
    order = [each.connection for each in found if each.name == "vq"]
    assert order[0] == 1  # the other was not given up before the end


def test_other_protocols_are_left_alone() -> None:
    other = files.talked([(I2T, b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")], Talk(port=80))
    server_first = files.talked([(T2I, b"220 ready\r\n" * 9)], Talk(port=25))
    packet = files.datagram(b"what", "192.0.2.1", "192.0.2.2", 53)
    made = files.times([*other, *server_first, packet, bytes(60)])
    with pytest.raises(ConfigError, match=r"in it \(14 packets\); if the target has another port"):
        read(files.pcap(made))


def test_a_port_that_is_used_again() -> None:
    first, second = (
        list(files.talked(words(), Talk(start={I2T: start, T2I: start}))) for start in (5, 99999)
    )
    found = read(files.pcap(files.times([*first, *second])))
    assert [each.connection for each in found if each.kind is Kind.CONNECTION] == [0, 1]
    assert not [problem for each in found for problem in each.problems]


def test_a_capture_from_the_answer_to_the_syn() -> None:
    made = list(files.talked(words()))[1:]
    found = read(files.pcap(files.times(made)))
    assert not [problem for each in found for problem in each.problems]
    assert found[2].name == "connect"


def test_a_reset() -> None:
    talk = Talk()
    made = [*talk.opened(), *talk.says(I2T, said.connect(V5)), talk.closes(T2I, files.RST)]
    found = read(files.pcap(files.times(made)))
    assert found[-1].decoded == {"how": "rst", "in_flight": 1, "commands": ["connect 7"]}


def test_the_first_bytes_of_packets() -> None:
    made = files.cut(files.times(files.talked(words())), 100)
    found = read(files.pcap(made))
    assert found[2].problems == ["of its 1024 bytes of data 30 are there"]
    assert len([each for each in found if each.kind is Kind.COMPLETION]) == 20


def test_rdma_packets_of_connections_that_began_before() -> None:
    made = packets("vinitiator-rdma-rng")
    control = [place for place, data in enumerate(made) if data[42:43] == b"\x64"]
    del made[control[3] : control[5] + 1]  # of the second connection
    found = read(files.pcap(files.times(made)))
    assert found[-1].kind is Kind.LOST
    assert found[-1].problems == ["RDMA packets of connections whose beginning is not here"]


def test_a_file_that_is_cut_off_is_told_as_far_as_it_goes() -> None:
    capture = files.pcap(files.times(files.talked(words())))
    found: list[Message] = []
    with pytest.raises(ConfigError, match="cut off after packet 44"):
        found.extend(read_on(capture[:-5], found))
    assert len([each for each in found if each.kind is Kind.COMPLETION]) == 20


def read_on(content: bytes, found: list[Message]) -> list[Message]:
    """Put the messages into ``found`` one by one."""
    for message in decode(io.BufferedReader(io.BytesIO(content)), KNOWN):
        found.append(message)  # noqa: PERF402 - it ends in the middle
    return []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is empty"),
        (b"text\n", "neither a capture"),
        (files.pcap([]), r"no Virtio-over-Fabrics connection is in it \(0 packets\)"),
        (files.pcap([Made(bytes(60), 0)], 147), "link type 147 is not known"),
    ],
)
def test_files_that_cannot_be_used(content: bytes, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        read(content)


def test_an_operation_that_nobody_knows() -> None:
    text = '{"transport": "rdma"}\n{"conn": 0, "dir": "i2t", "op": "ATOMIC"}\n'
    with pytest.raises(ConfigError, match="line 2 of the recording: op 'ATOMIC'"):
        read(text.encode())


@dataclass(frozen=True)
class Spoilt:
    """A change to some bytes."""

    place: int
    byte: int


spoilt = st.lists(st.builds(Spoilt, st.integers(0, 1 << 20), st.integers(0, 255)), max_size=8)
SAMPLES = {
    name: packets(name)
    for name in ("vinitiator-tcp-rng", "vinitiator-rdma-rng", "kernel-tcp-crypto")
}


@settings(max_examples=60)
@given(
    name=st.sampled_from(sorted(SAMPLES)),
    changes=spoilt,
    dropped=st.sets(st.integers(0, 60), max_size=5),
    swapped=st.integers(0, 60),
)
def test_whatever_happens_to_a_capture(
    name: str, changes: list[Spoilt], dropped: set[int], swapped: int
) -> None:
    made = list(SAMPLES[name])
    made[swapped : swapped + 2] = made[swapped : swapped + 2][::-1]
    made = [data for place, data in enumerate(made) if place not in dropped]
    for change in changes:
        place = change.place % len(made)
        packet = bytearray(made[place])
        packet[change.place // 7 % len(packet)] = change.byte
        made[place] = bytes(packet)
    try:
        assert read(files.pcap(files.times(made)))
    except ConfigError as error:  # what makes the connections is among what is missing
        assert "no Virtio-over-Fabrics connection is in it" in str(error)  # noqa: PT017


def test_a_recording_of_nothing() -> None:
    found = read(json.dumps({"what": "nothing", "transport": "tcp"}).encode())
    assert [each.kind for each in found] == [Kind.CAPTURE]
