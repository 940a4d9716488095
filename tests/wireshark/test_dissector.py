# SPDX-License-Identifier: BSD-3-Clause
"""The Wireshark dissector, in tshark, against our decoder: two readers of the same bytes.

The captures are of the real programs (made from the recordings), and of our own two ends, caught on
the loopback interface.
"""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from tests.support import capture_files as files
from tests.support.capture_files import Talk
from tests.support.recorded_packets import packets
from tests.support.tshark import IN_ORDER, Shown, capturing, dissect
from tests.unit.decode import said
from tests.unit.decode.said import I2T, T2I
from tests.vectors import recordings
from vof.decode.message import Direction, Kind
from vof.decode.source import Assumptions, decode
from vof.drivers.block import BlockDriver
from vof.gateways.disk import Disk
from vof.initiator.parameters import SessionParameters
from vof.target.config import parse
from vof.target.server import Target
from vof.wire import blk
from vof.wire.dialect import DIALECTS, PROPOSAL, V2, V5, Dialect

pytestmark = pytest.mark.tshark

ALL = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda item: item.name)

GENERATED = {
    "message", "command", "queue", "dialect", "request", "answer", "time", "reason", "ivqn", "tvqn",
    "data",
}  # fmt: skip
"""What a structure does not have."""

Told = tuple[str, str, dict[str, int], list[dict[str, int]], str]

TVQN = "wireshark/disk"

CONFIG = f"""
[target]
port = 0

[disk]
tvqn = {TVQN}
model = block
backend = driver=block-memory,size=8M,queues=2
"""


def by_decoder(content: bytes, ports: Iterable[int] = ()) -> dict[tuple[int, str], list[Told]]:
    """Return what ``vof.decode`` finds, by connection and direction."""
    found: dict[tuple[int, str], list[Told]] = {}
    file: io.BufferedReader = io.BufferedReader(io.BytesIO(content))
    for message in decode(file, Assumptions(frozenset({15771, 8549, *ports}))):
        if message.kind not in {Kind.COMMAND, Kind.COMPLETION, Kind.EVENT}:
            assert message.kind is not Kind.LOST
            continue
        assert message.connection is not None
        assert message.direction
        fields = dict(message.fields)
        if message.name == "set_status" and message.kind is Kind.COMMAND:
            fields["device_status"] = fields.pop("status", fields.pop("value", 0) & 0xFFFF_FFFF)
        data = message.payload.data.hex()
        told = (message.kind.value, message.name, fields, message.descriptors, data)
        found.setdefault((message.connection, message.direction.value), []).append(told)
    return found


def by_dissector(shown: Sequence[Shown]) -> dict[tuple[int, str], list[Told]]:
    """Return what tshark finds, in the same form."""
    found: dict[tuple[int, str], list[Told]] = {}
    for each in shown:
        kind = each.fields["message"]
        direction = Direction.I2T if kind == "command" else Direction.T2I
        fields = {name: each.number(name) for name in each.fields if name not in GENERATED}
        data = each.fields.get("data", "")
        told = (kind, each.fields["command"], fields, each.descriptors, data)
        found.setdefault((each.stream, direction.value), []).append(told)
    return found


def written(folder: Path, packets: Iterable[bytes]) -> Path:
    file = folder / "capture.pcap"
    file.write_bytes(files.pcap(files.times(packets)))
    return file


TCP = [name for name in recordings.names() if "-tcp-" in name and not name.startswith("probe")]


@pytest.mark.parametrize("name", TCP)
def test_real_programs(name: str, tmp_path: Path) -> None:
    file = written(tmp_path, packets(name))
    shown = dissect(file)
    assert by_dissector(shown) == by_decoder(file.read_bytes())
    # The crypto device of the reference target answers with command id 0.
    assert not [each.experts for each in shown if each.experts]


@pytest.mark.parametrize("options", [[], ["-2"]], ids=["once", "twice"])
def test_messages_in_many_segments(options: list[str], tmp_path: Path) -> None:
    """Looked at in order, and once more by what was settled then."""
    file = written(tmp_path, packets("kernel-tcp-blk-pipelined", {"mss": 100}))
    shown = dissect(file, *options)
    assert by_dissector(shown) == by_decoder(file.read_bytes())
    answers = {each.fields.get("request") for each in shown}
    assert {str(each.frame) for each in shown if each.fields["message"] == "command"} <= answers
    if options:
        asked = [each for each in shown if "answer" in each.fields]
        assert asked
        frames = {each.frame for each in shown if each.fields["message"] == "completion"}
        assert {each.number("answer") for each in asked} <= frames


def test_segments_out_of_order(tmp_path: Path) -> None:
    made = list(packets("kernel-tcp-blk-pipelined", {"mss": 100}))
    in_order = by_decoder(written(tmp_path, made).read_bytes())
    swapped = 0
    for place in range(20, len(made) - 1, 7):
        pair = made[place], made[place + 1]
        # Addresses and ports: both segments of one direction.
        if pair[0][26:38] == pair[1][26:38] and min(map(len, pair)) > 100:
            made[place], made[place + 1] = pair[1], pair[0]
            swapped += 1
    assert swapped > 10
    assert by_dissector(dissect(written(tmp_path, made), *IN_ORDER)) == in_order


@ALL
def test_our_own_ends(dialect: Dialect, tmp_path: Path) -> None:
    """A session of the gateway with the target, as it was on the network."""
    file = tmp_path / "capture.pcapng"
    data = bytes(range(256)) * 4096
    with Target(parse(CONFIG, "wireshark.conf")) as target, capturing(file, target.port):
        parameters = SessionParameters(
            TVQN, taddr="127.0.0.1", tport=target.port, dialect=dialect.name
        )
        driver = BlockDriver.open(parameters, 2)
        disk = Disk(driver)
        disk.write(0, data)
        read = bytearray(len(data))
        disk.read(0, memoryview(read))
        disk.flush()
        driver.close()
    assert read == data
    shown = dissect(file, *IN_ORDER)
    found = by_dissector(shown)
    assert found == by_decoder(file.read_bytes(), [target.port])
    assert not [each.experts for each in shown if each.experts]
    assert {each.fields["queue"] for each in shown} == {"control", "0", "1"}
    assert {each.fields["dialect"] for each in shown} == {dialect.name}
    requests = "vq" if dialect is V5 else "vring"
    carried = b"".join(
        bytes.fromhex(each.fields["data"])
        for each in shown
        if each.fields["command"] == requests and "data" in each.fields
    )
    assert data[:4096] in carried
    times = [each.fields["time"] for each in shown if "time" in each.fields]
    assert len(times) == len([each for each in shown if each.fields["message"] == "completion"])


@ALL
def test_every_field(dialect: Dialect, tmp_path: Path) -> None:
    words = [(I2T, said.connect(dialect)), (T2I, said.answered(dialect, 7, value=3))]
    pattern = bytes(range(1, 13))
    alone = set(said.OPCODES[dialect.name]) - {"connect", "vring", "vq"}
    for ident, name in enumerate(sorted(alone)):
        opcode = said.OPCODES[dialect.name][name]
        words.append((I2T, opcode.to_bytes(2, "little") + bytes([ident, 0]) + pattern))
        # Before v5, what stands at 4 is how many descriptors follow.
        answer = pattern if dialect is V5 else bytes(2) + pattern[2:]
        words.append((T2I, bytes(2) + bytes([ident, 0]) + answer))
    file = written(tmp_path, files.talked(words))
    shown = dissect(file)
    assert by_dissector(shown) == by_decoder(file.read_bytes())
    assert len(shown) == len(words)
    asked, got = [each for each in shown if each.fields["command"] == "get_config"]
    assert (asked.number("offset"), asked.number("bytes")) == (0x0201, 3)
    if dialect is V5:
        assert (got.number("generation"), got.number("config")) == (0x04030201, 0x0C0B0A0908070605)


@ALL
def test_refusals_are_told_in_words(dialect: Dialect, tmp_path: Path) -> None:
    status, words = (0x1001, "there is no target of that tvqn") if dialect is V5 else (19, "ENODEV")
    talk = [(I2T, said.connect(dialect)), (T2I, said.answered(dialect, 7, status=status))]
    shown = dissect(written(tmp_path, files.talked(talk)))
    assert (shown[1].number("status"), shown[1].fields["reason"]) == (status, words)


@ALL
def test_captures_that_begin_in_the_middle(dialect: Dialect, tmp_path: Path) -> None:
    """A request tells which dialect it is."""
    request = said.request(dialect, 1, [said.header(blk.RequestType.IN, 8)], [16, 1])
    answer = said.answer(dialect, 1, 1, [16, 1], [b"d" * 16, b"\0"])
    talk = [(I2T, request), (T2I, answer), (I2T, said.common(dialect, "get_status", 2))]
    talk.append((T2I, said.answered(dialect, 2, 15)))
    file = written(tmp_path, list(files.talked(talk))[3:])
    shown = dissect(file)
    assert by_dissector(shown) == by_decoder(file.read_bytes())
    assert {each.fields["dialect"] for each in shown} == {dialect.name}


def test_connects_without_a_body(tmp_path: Path) -> None:
    control, queue, other = (Talk(port=port, from_port=port + 1) for port in (4444, 4446, 4448))
    queue.port = 4444
    head = said.connect_head(V5, 1, length=0)
    made = [*control.opened(), *control.says(I2T, said.connect(V5))]
    made += control.says(T2I, said.answered(V5, 7, value=3))
    for talk in (queue, other):
        made += [*talk.opened(), *talk.says(I2T, head), *talk.says(T2I, said.answered(V5, 7, 3))]
    file = written(tmp_path, made)
    shown = dissect(file)
    assert by_dissector(shown) == by_decoder(file.read_bytes())
    assert [each.fields["queue"] for each in shown] == ["control", "control", "1", "1"]


@pytest.mark.parametrize("dialect", [V2, V5], ids=lambda item: item.name)
def test_events(dialect: Dialect, tmp_path: Path) -> None:
    events = said.answered(dialect, 0xFFFF) + said.answered(dialect, 0xFFFE, 9)
    file = written(tmp_path, files.talked([*said.attached(dialect), (T2I, events)]))
    shown = dissect(file)
    assert by_dissector(shown) == by_decoder(file.read_bytes())
    assert [(each.fields["message"], each.fields["command"]) for each in shown[-2:]] == [
        ("event", "keepalive"),
        ("event", "config_change"),
    ]


def test_ports_that_are_used_again(tmp_path: Path) -> None:
    """What was in flight on the first connection is over."""
    first, second = (
        files.talked([(I2T, said.connect(dialect)), (I2T, said.unknown(3, 1))], Talk(start=start))
        for dialect, start in ((V5, {I2T: 5, T2I: 5}), (PROPOSAL, {I2T: 99999, T2I: 99999}))
    )
    last = files.talked(
        [(I2T, said.connect(V5)), (T2I, said.answered(V5, 7)), (T2I, said.answered(V5, 1))]
    )
    shown = dissect(written(tmp_path, [*first, *second, *last]))
    assert [each.fields["command"] for each in shown] == [
        "connect", "unknown", "connect", "get_feature", "connect", "connect", "unknown",
    ]  # fmt: skip


def test_other_ports_by_their_connect(tmp_path: Path) -> None:
    for dialect in DIALECTS:
        file = written(tmp_path, files.talked(said.attached(dialect), Talk(port=4444)))
        assert len(dissect(file)) == 4
    other = files.talked([(I2T, b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")], Talk(port=4445))
    assert not dissect(written(tmp_path, other))


def test_what_is_wrong_is_said(tmp_path: Path) -> None:

    words = [
        (I2T, said.connect(V5, 0)),
        (T2I, said.answered(V5, 7)),
        (T2I, said.done(9)),
        (I2T, said.unknown(0x7777, 1)),
        (I2T, struct.pack("<HH4xII", 0x0FFF, 2, 0xFFFF_FFFF, 0)),
        (I2T, said.common(V5, "get_status", 3)),
    ]
    shown = dissect(written(tmp_path, files.talked(words)))
    assert [each.experts for each in shown] == [
        [],
        [],
        ["No command with this id is in flight"],
        ["Unknown opcode"],
        ["A length that is not believed"],
        [],
    ]


def test_the_first_bytes_of_packets(tmp_path: Path) -> None:
    """Nothing is waited for that is not in the capture."""
    file = tmp_path / "cut.pcap"
    words = said.attached(PROPOSAL)
    file.write_bytes(files.pcap(files.cut(files.times(files.talked(words)), 80)))
    assert [each.fields["command"] for each in dissect(file)][-1] == "get_device_id"


def test_whatever_is_said(tmp_path: Path) -> None:
    """Connections in which bytes were changed: the dissector never fails."""
    chance = random.Random(0)
    made: list[bytes] = []
    for port in range(20000, 20040):
        dialect = chance.choice(DIALECTS)
        request = said.request(dialect, 1, [said.header(blk.RequestType.IN, 8), b"data"], [16, 1])
        answer = said.answer(dialect, 1, 2, [16, 1], [bytes(16), b"\0"])
        words = [(I2T, said.connect(dialect, 0)), (T2I, said.answered(dialect, 7)), (I2T, request)]
        talk = Talk(from_port=port, mss=chance.choice([40, 1448]))
        made += talk.opened()
        for direction, data in [*words, (T2I, answer), (I2T, request)]:
            spoilt = bytearray(data)
            for _ in range(chance.randrange(4)):
                spoilt[chance.randrange(min(len(spoilt), 60))] = chance.choice([0, 1, 0xFF])
            made += talk.says(direction, bytes(spoilt))
    shown = dissect(written(tmp_path, made), "-2")
    assert len({each.stream for each in shown}) > 30  # some wait for what never comes
    assert {"connect", "vring", "vq", "unknown"} <= {each.fields["command"] for each in shown}
