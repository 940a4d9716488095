# SPDX-License-Identifier: BSD-3-Clause
"""Every recorded virtio-crypto request, parsed as a device would, then built as a driver would.

What Linux sends, without REVISION_1, and what the reference target says of itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from tests.vectors.recordings import I2T, T2I, CommandStream, Recording, load
from vof.wire.constants import Command, DescriptorFlag
from vof.wire.crypto import (
    AkcipherAlgorithm,
    BadRequest,
    Config,
    DataOpcode,
    DeviceStatus,
    Feature,
    KeyType,
    RsaHash,
    RsaPadding,
    Service,
    Status,
)
from vof.wire.crypto_operations import DataRequest, check_request
from vof.wire.crypto_parameters import AkcipherParameters, Parameters, RsaScheme
from vof.wire.crypto_requests import data_request, parse_data_request
from vof.wire.crypto_sessions import (
    CreateSession,
    DestroySession,
    SessionAnswer,
    create_session_request,
    destroy_session_request,
    parse_control_request,
    read_session_answer,
)
from vof.wire.dialect import PROPOSAL
from vof.wire.layout import layout_of
from vof.wire.stream import StreamLimits
from vof.wire.structs import (
    COMMAND_SIZE,
    COMPLETION_SIZE,
    DESCRIPTOR_SIZE,
    HEAD,
    CommonCommand,
    Completion,
    ConfigCommand,
    SegmentDescriptor,
    VringCommand,
    unpack,
)

OPCODES = {command: form.opcode for command, form in PROPOSAL.forms.items()}
NOTHING = Feature(0)

CONFIG = Config(
    status=DeviceStatus.HW_READY,
    max_dataqueues=1,
    crypto_services=1 << Service.AKCIPHER,
    akcipher_algo=1 << AkcipherAlgorithm.RSA,
)
"""What the recorded target says of itself."""


@dataclass(frozen=True)
class Exchange:
    """A request on a virtqueue and what came back."""

    readable: tuple[bytes, ...]
    writable: tuple[int, ...]
    answer: bytes

    @property
    def joined(self) -> tuple[bytes, int]:
        return b"".join(self.readable), sum(self.writable)


def cut(data: bytes, sizes: list[int]) -> tuple[bytes, ...]:
    pieces, place = [], 0
    for size in sizes:
        pieces.append(data[place : place + size])
        place += size
    assert place == len(data)
    return tuple(pieces)


def over_tcp(recording: Recording, conn: int) -> list[Exchange]:
    """Return the virtqueue requests of one connection; there is never more than one in flight."""
    exchanges: list[Exchange] = []
    parser = CommandStream(PROPOSAL, StreamLimits(8, 1 << 16))
    for message in recording.messages:
        if message.conn != conn or not message.data:
            continue
        if message.direction == T2I:
            if exchanges and not exchanges[-1].answer:
                ndesc = unpack(Completion, message.data).ndesc
                data = message.data[COMPLETION_SIZE + ndesc * DESCRIPTOR_SIZE :]
                exchanges[-1] = replace(exchanges[-1], answer=data)
            continue
        for command in parser.feed(message.data):
            if command.opcode == OPCODES[Command.VRING]:
                descs = command.descriptors
                write = DescriptorFlag.WRITE
                sizes = [desc.length for desc in descs if not desc.flags & write]
                room = tuple(desc.length for desc in descs if desc.flags & write)
                exchanges.append(Exchange(cut(bytes(command.payload), sizes), room, b""))
    return exchanges


def over_rdma(recording: Recording, conn: int) -> list[Exchange]:
    """The same for a keyed connection: the target reads and writes the buffers itself."""
    exchanges: list[Exchange] = []
    for message in recording.messages:
        if message.conn != conn:
            continue
        if (message.op, message.direction) == ("SEND", I2T):
            if HEAD.unpack_from(message.data)[0] != OPCODES[Command.VRING]:
                continue
            count = unpack(VringCommand, message.data).ndesc
            descs = [
                unpack(SegmentDescriptor, message.data, COMMAND_SIZE + DESCRIPTOR_SIZE * index)
                for index in range(count)
            ]
            room = tuple(desc.length for desc in descs if desc.flags & DescriptorFlag.WRITE)
            exchanges.append(Exchange((), room, b""))
        elif exchanges and message.op == "READ_RESP":
            last = exchanges[-1]
            exchanges[-1] = replace(last, readable=(*last.readable, message.data))
        elif exchanges and message.op == "WRITE":
            last = exchanges[-1]
            exchanges[-1] = replace(last, answer=last.answer + message.data)
    return exchanges


def exchanges_of(name: str, conn: int) -> list[Exchange]:
    recording = load(name)
    return (over_rdma if recording.transport == "rdma" else over_tcp)(recording, conn)


RECORDINGS = pytest.mark.parametrize(
    ("name", "data_conn", "control_conn", "counts"),
    [
        ("kernel-tcp-crypto", 1, 2, (7, 14)),
        ("kernel-rdma-crypto", 1, 2, (7, 14)),
        ("probe-tcp-errors", 52, 53, (1, 2)),
    ],
)


def sessions(exchanges: list[Exchange]) -> list[Parameters]:
    """Return the parameters of all sessions, in order."""
    found = []
    for exchange in exchanges:
        parsed = parse_control_request(*exchange.joined, NOTHING, CONFIG)
        if isinstance(parsed, CreateSession):
            found.append(parsed.parameters)
    return found


@RECORDINGS
def test_control_requests(
    name: str, data_conn: int, control_conn: int, counts: tuple[int, int]
) -> None:
    exchanges = exchanges_of(name, control_conn)
    assert len(exchanges) == counts[1]
    for exchange in exchanges:
        assert len(exchange.readable[0]) == 72
        if exchange.readable[0].startswith(b"\x02\x01"):
            continue  # a session of another service, below
        parsed = parse_control_request(*exchange.joined, NOTHING, CONFIG)
        if isinstance(parsed, DestroySession):
            assert parsed == DestroySession(Service.AKCIPHER, 0)
            rebuilt = destroy_session_request(*parsed, NOTHING)
            assert exchange.answer == bytes((Status.OK,))
        else:
            rebuilt = create_session_request(parsed.parameters, NOTHING)
            assert read_session_answer(exchange.answer) == SessionAnswer(0, Status.OK)
        assert rebuilt == (exchange.readable, exchange.writable)


def test_a_session_of_a_service_that_is_not_offered() -> None:
    """The recorded target never answers it. (It is HASH's opcode, though the note says cipher.)"""
    last = exchanges_of("probe-tcp-errors", 53)[-1]
    assert last.answer == b""
    with pytest.raises(BadRequest) as caught:
        parse_control_request(*last.joined, NOTHING, CONFIG)
    assert caught.value.status == Status.NOTSUPP


@RECORDINGS
def test_data_requests(
    name: str, data_conn: int, control_conn: int, counts: tuple[int, int]
) -> None:
    exchanges = exchanges_of(name, data_conn)
    assert len(exchanges) == counts[0]
    for exchange in exchanges:
        assert len(exchange.readable[0]) == 72
        request = parse_data_request(*exchange.joined, NOTHING, CONFIG)
        assert data_request(request, NOTHING) == (exchange.readable, exchange.writable)
        assert request.opcode in {DataOpcode.AKCIPHER_ENCRYPT, DataOpcode.AKCIPHER_DECRYPT}
        assert (request.session_id, request.parameters) == (0, None)
        assert request.algo == AkcipherAlgorithm.RSA
        assert exchange.answer[-1] == Status.OK
        assert len(exchange.answer) <= request.result_len + 1


def test_each_request_fits_the_session_it_was_sent_in() -> None:
    """The recorded driver makes a session, uses it and destroys it before it makes the next."""
    recording = load("kernel-tcp-crypto")
    chosen: list[Parameters] = []
    checked = 0
    parser = {conn: CommandStream(PROPOSAL, StreamLimits(8, 1 << 16)) for conn in recording.conns}
    for message in recording.messages:
        if message.direction != I2T or not message.data:
            continue
        for command in parser[message.conn].feed(message.data):
            if command.opcode != OPCODES[Command.VRING]:
                continue
            room = sum(d.length for d in command.descriptors if d.flags & DescriptorFlag.WRITE)
            if message.conn == 2:
                parsed = parse_control_request(command.payload, room, NOTHING, CONFIG)
                if isinstance(parsed, CreateSession):
                    chosen.append(parsed.parameters)
            else:
                request = parse_data_request(command.payload, room, NOTHING, CONFIG)
                check_request(request, chosen[-1])
                checked += 1
    assert checked == 7


def test_recorded_sessions() -> None:
    raw, pkcs1 = RsaScheme(RsaPadding.RAW), RsaScheme(RsaPadding.PKCS1, RsaHash.SHA1)
    public, private = KeyType.PUBLIC, KeyType.PRIVATE
    found = sessions(exchanges_of("kernel-tcp-crypto", 2))
    assert [
        (item.scheme, item.key_type, len(item.key))
        for item in found
        if isinstance(item, AkcipherParameters)
    ] == [
        (raw, private, 1191),
        (raw, public, 269),
        (raw, public, 140),
        (raw, private, 607),
        (pkcs1, private, 607),
        (pkcs1, public, 140),
        (pkcs1, private, 607),
    ]


def test_a_result_may_be_shorter_than_its_room() -> None:
    """The last decryption: 20 bytes of text where there is room for 128, then the status."""
    last = exchanges_of("kernel-tcp-crypto", 1)[-1]
    request = parse_data_request(*last.joined, NOTHING, CONFIG)
    assert isinstance(request, DataRequest)
    assert (request.opcode, request.result_len) == (DataOpcode.AKCIPHER_DECRYPT, 128)
    assert last.answer == bytes(range(20)) + bytes((Status.OK,))


@pytest.mark.parametrize(("name", "conn"), [("kernel-tcp-crypto", 0), ("probe-tcp-errors", 51)])
def test_config_space(name: str, conn: int) -> None:
    """Each field that was read stands where the layout has it, and says what CONFIG does."""
    fields = {tuple(field): key for key, field in layout_of(Config).fields.items()}
    recording = load(name)
    reads, read = 0, set()
    parser = CommandStream(PROPOSAL, StreamLimits(8, 1 << 16))
    asked: list[ConfigCommand | CommonCommand] = []
    for message in recording.messages:
        if message.conn != conn or not message.data:
            continue
        if message.direction == I2T:
            for command in parser.feed(message.data):
                if command.opcode == OPCODES[Command.GET_CONFIG]:
                    asked.append(unpack(ConfigCommand, command.head))
                else:
                    asked.append(unpack(CommonCommand, command.head))
            continue
        command_ = asked.pop(0)
        if isinstance(command_, ConfigCommand):
            completion = unpack(Completion, message.data)
            key = fields.get((command_.offset, command_.width))
            reads += 1
            if key is None:
                assert command_.offset == layout_of(Config).size
                assert completion.status != 0
            else:
                assert completion.value == getattr(CONFIG, key), key
                read.add(key)
    assert reads == (13 if name.startswith("kernel") else 4)
    if name.startswith("kernel"):
        assert read == set(Config._fields)


def test_the_recorded_device_offers_rsa_alone() -> None:
    assert CONFIG.algorithms(Service.AKCIPHER) == {AkcipherAlgorithm.RSA}
    for service in set(Service) - {Service.AKCIPHER}:
        assert not CONFIG.algorithms(service)
