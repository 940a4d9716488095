# SPDX-License-Identifier: BSD-3-Clause
"""Every recorded conversation, decoded and encoded again, gives the same bytes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.wire.delivery import deliver
from tests.vectors.recordings import I2T, T2I, CommandStream, Message, Recording, load, names
from vof.errors import RemoteProtocolError
from vof.wire.constants import Command, DescriptorFlag
from vof.wire.dialect import PROPOSAL
from vof.wire.stream import (
    Arrival,
    CompletionParser,
    Expected,
    ReceivedCommand,
    StreamLimits,
    encode_vring_completion,
)
from vof.wire.structs import (
    COMMAND_SIZE,
    COMPLETION_SIZE,
    DESCRIPTOR_SIZE,
    HEAD,
    CommonCommand,
    Completion,
    ConfigCommand,
    ConnectBody,
    ConnectCommand,
    FeatureCommand,
    QueueCommand,
    SegmentDescriptor,
    StatusCommand,
    VringCommand,
    pack,
    unpack,
)

OPCODES = {command: form.opcode for command, form in PROPOSAL.forms.items()}
LIMITS = StreamLimits(max_ndesc=256, max_transfer=1 << 20)

STRUCTURES = {
    Command.CONNECT: ConnectCommand,
    Command.VRING: VringCommand,
    Command.GET_DEVICE_FEATURE: FeatureCommand,
    Command.SET_DRIVER_FEATURE: FeatureCommand,
    Command.GET_FEATURE: FeatureCommand,
    Command.SET_FEATURE: FeatureCommand,
    Command.GET_QUEUE_SIZE: QueueCommand,
    Command.SET_QUEUE_SIZE: QueueCommand,
    Command.GET_CONFIG: ConfigCommand,
    Command.SET_CONFIG: ConfigCommand,
    Command.SET_STATUS: StatusCommand,
}
"""By command; the rest have the common structure."""

TCP = [name for name in names() if "-tcp-" in name and not name.startswith("probe-")]
RDMA = [name for name in names() if "-rdma-" in name]


def reencode_head(head: bytes) -> bytes:
    opcode, _command_id = HEAD.unpack_from(head)
    return pack(unpack(STRUCTURES.get(PROPOSAL.commands[opcode], CommonCommand), head))


def reencode_command(command: ReceivedCommand) -> bytes:
    payload = bytes(command.payload)
    if command.opcode == OPCODES[Command.CONNECT]:
        payload = pack(unpack(ConnectBody, payload))
    head = reencode_head(command.head)
    return head + b"".join(map(pack, command.descriptors)) + payload


class InFlight:
    """A command whose completion is still to come, and room for what that brings."""

    def __init__(self, command: ReceivedCommand) -> None:
        self.opcode = command.opcode
        self.writable = [desc for desc in command.descriptors if desc.flags & DescriptorFlag.WRITE]
        self.buffers = [memoryview(bytearray(desc.length)) for desc in self.writable]

    def reencode(self, arrival: Arrival) -> bytes:
        returned = list(zip(self.writable, arrival.lengths, strict=False))
        status, command_id, ndesc, _reserved, value = arrival.completion
        encoded = encode_vring_completion(status, command_id, returned)
        if ndesc:
            assert value == sum(arrival.lengths)
            assert encoded[:COMPLETION_SIZE] == pack(arrival.completion)
        elif returned:
            # A refusal of the recorded target: the descriptors come back as they were sent.
            encoded = bytes(COMPLETION_SIZE) + b"".join(pack(desc) for desc, _length in returned)
        data = [buf[:size] for buf, size in zip(self.buffers, arrival.lengths, strict=False)]
        return b"".join((pack(arrival.completion), encoded[COMPLETION_SIZE:], *data))


class Connection:
    """Both parsers of one connection: the target's end decodes what the initiator sent."""

    def __init__(self) -> None:
        self.commands = CommandStream(PROPOSAL, LIMITS)
        self.completions = CompletionParser(self._expect, refusal_carries_buffers=True)
        self.in_flight: dict[int, InFlight] = {}
        self.arriving: list[InFlight] = []
        self.counts = {I2T: 0, T2I: 0}
        self.encoded = {I2T: bytearray(), T2I: bytearray()}

    def _expect(self, command_id: int) -> Expected:
        # The recorded target answers some commands with command id 0, whatever id they had.
        if command_id == 0 and command_id not in self.in_flight and self.in_flight:
            command_id = next(iter(self.in_flight))
        if command_id not in self.in_flight:
            raise RemoteProtocolError(f"command id {command_id} is not in flight")
        command = self.in_flight.pop(command_id)
        self.arriving.append(command)
        return Expected(command.writable[0].id if command.writable else 0, command.buffers)

    def take(self, message: Message, chunk: int, *, direct: bool) -> None:
        """Deliver a message in pieces of ``chunk`` bytes."""
        for start in range(0, len(message.data), chunk):
            piece = message.data[start : start + chunk]
            if message.direction == I2T:
                for command in deliver(self.commands, piece, direct=direct):
                    assert command.command_id not in self.in_flight
                    self.in_flight[command.command_id] = InFlight(command)
                    self.counts[I2T] += 1
                    self.encoded[I2T] += reencode_command(command)
            else:
                for arrival in deliver(self.completions, piece, direct=direct):
                    self.counts[T2I] += 1
                    self.encoded[T2I] += self.arriving.pop(0).reencode(arrival)


def replay(
    recording: Recording, chunk: int = 1 << 20, *, direct: bool = False
) -> dict[int, Connection]:
    """Take the whole recording in its order; return the connections by their numbers."""
    connections = {conn: Connection() for conn in recording.conns}
    for message in recording.messages:
        connections[message.conn].take(message, chunk, direct=direct)
    return connections


@pytest.mark.parametrize("name", TCP)
@pytest.mark.parametrize(
    ("chunk", "direct"),
    [(1 << 20, False), (1, False), (7, False), (1 << 20, True), (1, True), (1500, True)],
)
def test_tcp(name: str, chunk: int, direct: bool) -> None:
    recording = load(name)
    connections = replay(recording, chunk, direct=direct)
    decoded = 0
    for number, connection in connections.items():
        for direction, parser in ((I2T, connection.commands), (T2I, connection.completions)):
            stream = recording.stream(number, direction)
            encoded = connection.encoded[direction]
            assert connection.counts[direction] > 0
            assert encoded == stream[: len(encoded)]
            # Whatever was not decoded is the beginning of a message that was cut off.
            assert parser.idle == (len(encoded) == len(stream))
            assert parser.idle or recording.truncated
            decoded += len(encoded)
    assert decoded == recording.size or recording.truncated


@pytest.mark.parametrize(
    ("name", "commands", "completions"),
    [
        ("kernel-tcp-blk-basic", 39, 39),
        ("kernel-tcp-blk-mkfs", 45, 44),
        ("kernel-tcp-crypto", 58, 58),
        ("kernel-tcp-rng", 20, 19),
        ("vinitiator-tcp-blk-64seg", 17, 17),
    ],
)
def test_tcp_counts(name: str, commands: int, completions: int) -> None:
    connections = replay(load(name)).values()
    assert sum(connection.counts[I2T] for connection in connections) == commands
    assert sum(connection.counts[T2I] for connection in connections) == completions


def sent_statuses(name: str) -> list[int]:
    """Return what the initiator's set_status commands set, in order."""
    opcode = OPCODES[Command.SET_STATUS].to_bytes(2, "little")
    return [
        unpack(StatusCommand, message.data).value
        for message in load(name).messages
        if message.direction == I2T and message.data.startswith(opcode)
    ]


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("kernel-tcp-blk-basic", [0, 1, 3, 7]),
        ("kernel-tcp-blk-v1-flush", [0, 1, 3, 11, 15]),
        ("vinitiator-tcp-blk", []),
    ],
)
def test_tcp_device_status(name: str, statuses: list[int]) -> None:
    assert sent_statuses(name) == statuses


def test_tcp_request_left_in_flight() -> None:
    """The entropy driver always has one more request out when it detaches."""
    connections = replay(load("kernel-tcp-rng"))
    assert [len(connection.in_flight) for connection in connections.values()] == [0, 1]


def rdma_messages(name: str, direction: str, op: str) -> Iterator[Message]:
    for message in load(name).messages:
        if (message.direction, message.op) == (direction, op):
            yield message


def split_rdma_command(data: bytes) -> tuple[bytes, list[SegmentDescriptor]]:
    """Return head and descriptors of a command as it is sent over RDMA."""
    descs = [
        unpack(SegmentDescriptor, data, place)
        for place in range(COMMAND_SIZE, len(data), DESCRIPTOR_SIZE)
    ]
    return data[:COMMAND_SIZE], descs


@pytest.mark.parametrize("name", RDMA)
def test_rdma_commands(name: str) -> None:
    count = 0
    for message in rdma_messages(name, I2T, "SEND"):
        head, descs = split_rdma_command(message.data)
        opcode, _command_id = HEAD.unpack_from(head)
        structure = STRUCTURES.get(PROPOSAL.commands[opcode], CommonCommand)
        assert getattr(unpack(structure, head), "ndesc", 0) == len(descs)
        assert reencode_head(head) + b"".join(map(pack, descs)) == message.data
        count += 1
    assert count > 8


@pytest.mark.parametrize("name", RDMA)
def test_rdma_completions(name: str) -> None:
    count = 0
    for message in rdma_messages(name, T2I, "SEND"):
        assert len(message.data) == COMPLETION_SIZE
        completion = unpack(Completion, message.data)
        assert completion.status == 0
        assert pack(completion) == message.data
        count += 1
    assert count > 8


@pytest.mark.parametrize("name", RDMA)
def test_rdma_transfers_name_descriptors(name: str) -> None:
    """Each read and write of the target is one descriptor, as the 24-byte layout reads it."""
    open_descs: dict[int, list[SegmentDescriptor]] = {}
    count = 0
    for message in load(name).messages:
        descs = open_descs.setdefault(message.conn, [])
        if (message.direction, message.op) == (I2T, "SEND"):
            descs += split_rdma_command(message.data)[1]
        elif message.op in {"READ_REQ", "WRITE"}:
            wanted = DescriptorFlag.WRITE if message.op == "WRITE" else 0
            place = (message.remote_addr, message.rkey)
            found = [desc for desc in descs if (desc.addr, desc.key) == place]
            assert found
            assert message.length <= found[-1].length
            assert found[-1].flags & DescriptorFlag.WRITE == wanted
            count += 1
    assert count > 4


REFUSED = {
    "ndesc 2": "a Connect has 2 descriptors",
    "ndesc 0": "a Connect has 0 descriptors",
    "body 512": "not 1024 device-readable bytes",
    "opcode 5": "opcode 0x0005",
    "opcode 4109": "opcode 0x100d",
    "opcode 8193": "opcode 0x2001",
    "no NEXT flags, all ids 0": "id is used twice",
    "GET_ID, 8-byte buffer": "20 bytes for descriptor id 1, which has room for 8",
    "zero-length data descriptor": "length zero",
    # Not against the protocol, but our commands number their descriptors without gaps.
    "descriptor ids 100,200,300": "descriptor id 300",
    "129 descriptors": "descriptor id 200",
}
"""What the probes sent, or got back, that the parsers refuse; by the note on it."""


def test_probes() -> None:
    recording = load("probe-tcp-errors")
    connections = {conn: Connection() for conn in recording.conns}
    violations: dict[str, str] = {}
    count = 0
    for message in recording.messages:
        if message.note in violations:
            continue
        connection = connections[message.conn]
        connection.encoded = {I2T: bytearray(), T2I: bytearray()}
        try:
            connection.take(message, len(message.data) or 1, direct=False)
        except RemoteProtocolError as error:
            violations[message.note] = str(error)
            connections[message.conn] = Connection()
        else:
            # Each message of these is whole: one command or several, never part of one.
            assert connection.encoded.get(message.direction, b"") == message.data
            assert connection.commands.idle
            assert connection.completions.idle
            count += bool(message.data)
    assert violations.keys() == REFUSED.keys()
    for note, text in REFUSED.items():
        assert text in violations[note]
    assert count > 200


def test_the_recordings_are_all_here() -> None:
    assert len(TCP) == 13
    assert len(RDMA) == 6
    assert {load(name).transport for name in TCP} == {"tcp"}
    assert {load(name).transport for name in RDMA} == {"rdma"}
    assert names("probe-") == ["probe-tcp-errors"]
