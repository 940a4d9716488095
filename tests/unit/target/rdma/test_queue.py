# SPDX-License-Identifier: BSD-3-Clause
"""The commands of one queue, without an RDMA device: what is answered, and what is a violation."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest

from tests.support.keyed_messages import keyed_request
from tests.target.peer import FLUSH, GET_ID, IN, IOERR, OK, OUT, header
from tests.unit.target.disk import NotingBackend
from tests.unit.target.place import NotingLink, caller
from tests.unit.target.rdma.verbs_free import Heap, QueuePair
from vof.errors import RemoteProtocolError
from vof.target.association import ConnectedQueue, TransportOffer
from vof.target.association_table import AssociationTable
from vof.target.devices.block import BlockDevice, BlockInstance, BlockOptions
from vof.target.devices.device import Done, QueuePolicy, Request
from vof.target.execution import Execution
from vof.target.rdma.eager import EagerRange
from vof.target.rdma.memory import PAGE, Pool
from vof.target.rdma.queue import KeyedQueue
from vof.target.rdma.send_queue import SendQueue
from vof.target.registry import DeviceRegistry
from vof.wire.constants import Command, Transport, TransportFeature
from vof.wire.dialect import PROPOSAL, V2, V5, Dialect
from vof.wire.keyed import (
    encode_eager,
    encode_get_keyed_eager_buf,
    encode_keyed_vq,
)
from vof.wire.keyed_commands import KeyedLimits
from vof.wire.structs import unpack
from vof.wire.v5 import KeyedDescriptor

LIMITS = KeyedLimits(max_ndesc=128, max_descs=64, max_transfer=1 << 20)
BOTH = int(TransportFeature.KEYED_NUM_DESCS | TransportFeature.KEYED_EAGER_BUF)
EAGER = 4 * PAGE
RECEIVES = 4
SERIAL = "vof-000001"

each_dialect = pytest.mark.parametrize("dialect", [PROPOSAL, V2, V5], ids=lambda item: item.name)


class Answer(NamedTuple):
    status: int
    command_id: int
    value: int
    """Bytes written."""


class Rig:
    """A queue, its initiator's memory, and what the initiator was sent."""

    def __init__(
        self,
        dialect: Dialect = V5,
        *,
        index: int | None = 0,
        features: int = BOTH,
        room: int = 64,
        memory: int = 4 * PAGE,
        eager_limit: int = 1 << 20,
        size: int | None = None,
    ) -> None:
        self.dialect = dialect
        self.backend = NotingBackend()
        device = BlockDevice("dev", 0, BlockOptions(queues=3, serial=SERIAL), self.backend)
        table = AssociationTable(DeviceRegistry(), 8)
        table.devices.add(device)
        who = caller("me", "dev", dialect, Transport.RDMA)
        offer = TransportOffer(BOTH, LIMITS.max_descs)
        link = NotingLink("control", [])
        self.association = table.connect_control(who, link, offer).association
        if dialect is V5:
            assert self.association.set_transport_features(features)
        if size is not None:
            self.association.queue_sizes[0] = size
        self.heap = Heap()
        self.pair = QueuePair(self.heap)
        desk = self.heap.register(PAGE)
        self.sends = SendQueue(self.pair, desk, 0, room)
        self.pool = Pool(self.heap.register, first=memory, budget=memory)
        self.eager = EagerRange(Heap(eager_limit).register, EAGER)
        self.messages: dict[int, bytes] = {}
        self.receives = set(range(RECEIVES))
        execution: Execution[Any] | None = None
        if index is not None:
            at = ConnectedQueue(self.association, index)
            execution = Execution(at, threads=0, name="queue", wake=lambda: None)
        self.queue = KeyedQueue(
            self.association,
            index,
            inbox=self,
            sends=self.sends,
            pool=self.pool,
            ranges={0: self.eager}.get,
            limits=LIMITS,
            largest=1 << 30,
            execution=execution,
        )

    def message(self, number: int, length: int) -> memoryview:
        assert length == len(self.messages[number])
        return memoryview(self.messages[number])

    def post_receive(self, number: int) -> None:
        assert number not in self.receives
        self.receives.add(number)

    def send(self, *messages: bytes) -> None:
        """Let these messages come, completed together."""
        self.queue.begin_batch()
        for message in messages:
            number = self.receives.pop()
            self.messages[number] = message
            self.queue.received(number, len(message))

    def work(self) -> list[Answer]:
        """Let everything happen; return what the initiator is sent."""
        idle = False
        while not idle:
            more = self.queue.work()
            self.queue.rest()
            idle = not (more or self.pair.posted)
            for ident in self.pair.complete():
                self.sends.ended(ident)
        found, self.pair.messages = self.pair.messages, []
        return [self._answer(message) for message in found]

    def _answer(self, message: bytes) -> Answer:
        if self.dialect is V5:
            status, ident, eager_length, length, _in_length = struct.unpack("<HHIII", message)
            return Answer(status, ident, eager_length or length)
        status, ident, _ndesc, value = struct.unpack("<HHH2xQ", message)
        return Answer(status, ident, value)

    def request(
        self, kind: int, sector: int = 0, data: bytes = b"", room: int = 0, command_id: int = 1
    ) -> bytes:
        """A request: header at 0, status at 20, data from 32 on."""
        memory, part = self.pair.memory, self.pair.part
        memory[:16] = header(kind, sector)
        memory[20] = 0xFF
        readable, writable = [part(0, 16)], [part(20, 1)]
        if data:
            memory[32 : 32 + len(data)] = data
            readable.append(part(32, len(data)))
        if room:
            memory[32 : 32 + room] = b"\xee" * room
            writable.insert(0, part(32, room))
        return keyed_request(self.dialect, command_id, readable, writable)

    def result(self, room: int = 0) -> tuple[int, bytes]:
        return self.pair.memory[20], bytes(self.pair.memory[32 : 32 + room])

    def eager_request(
        self, offset: int, payload: bytes, command_id: int = 1, status: int = 20
    ) -> bytes:
        """A request whose device-readable bytes are in the first region, and there already."""
        if not self.eager.size:
            self.eager.expose(4)
        region = self.eager._regions[0]
        region.view[offset : offset + len(payload)] = payload
        return encode_eager(command_id, offset, len(payload), [self.pair.part(status, 1)])


@each_dialect
def test_requests(dialect: Dialect) -> None:
    rig = Rig(dialect)
    data = bytes(range(256)) * 4
    rig.send(rig.request(OUT, 1, data))
    assert rig.work() == [(0, 1, 1)]
    assert rig.result() == (OK, b"")
    assert rig.backend.data[512:1536] == data
    rig.send(rig.request(IN, 1, room=1024))
    assert rig.work() == [(0, 1, 1025)]
    assert rig.result(1024) == (OK, data)
    rig.send(rig.request(FLUSH))
    assert rig.work() == [(0, 1, 1)]
    assert rig.receives == set(range(RECEIVES))
    assert not rig.queue.busy


@each_dialect
def test_a_failed_read_returns_nothing_of_others(dialect: Dialect) -> None:
    rig = Rig(dialect)
    rig.send(rig.request(OUT, 0, b"secret" * 512))
    rig.work()
    rig.backend.failing = 5
    rig.send(rig.request(IN, 0, room=1024))
    [answer] = rig.work()
    assert answer.status == 0
    status, found = rig.result(1024)
    assert status == IOERR
    assert set(found) <= {0, 0xEE}


@each_dialect
def test_less_than_there_was_room_for(dialect: Dialect) -> None:
    """The status is at the end of the area, and between them are zeros."""
    rig = Rig(dialect)
    rig.send(rig.request(GET_ID, room=64))
    [answer] = rig.work()
    status, found = rig.result(64)
    assert (status, found[:20]) == (OK, SERIAL.encode().ljust(20, b"\0"))
    assert set(found[20:]) <= {0}
    assert answer.value in (21, 65)


def test_requests_are_executed_in_order_and_at_once() -> None:
    rig = Rig()
    for place in (100, 200, 300):
        rig.pair.memory[place : place + 16] = header(FLUSH)
    rig.send(
        *(
            keyed_request(V5, ident, [rig.pair.part(ident, 16)], [rig.pair.part(20, 1)])
            for ident in (300, 100, 200)
        )
    )
    assert rig.queue.busy
    assert [answer.command_id for answer in rig.work()] == [300, 100, 200]
    assert rig.sends.operations.receives == 3


@pytest.mark.parametrize("ordered", [False, True])
def test_requests_that_are_answered_later(monkeypatch: pytest.MonkeyPatch, ordered: bool) -> None:
    """The device has all of them at once, if their order is of no account."""
    policy = QueuePolicy(ordered=ordered, blocks=False)
    held: list[Callable[[], None]] = []
    submit = BlockInstance.submit

    def later(instance: BlockInstance, request: Request, done: Done) -> None:
        held.append(lambda: submit(instance, request, done))

    monkeypatch.setattr(BlockDevice, "policy", lambda _device, _queue: policy)
    monkeypatch.setattr(BlockInstance, "submit", later)
    rig = Rig()
    for place in (100, 200, 300):
        rig.pair.memory[place : place + 16] = header(FLUSH)
    rig.send(
        *(
            keyed_request(V5, ident, [rig.pair.part(ident, 16)], [rig.pair.part(20, 1)])
            for ident in (300, 100, 200)
        )
    )
    answered: list[int] = []
    while rig.queue.busy:
        assert rig.work() == []
        assert len(held) == (1 if ordered else 3 - len(answered))
        held.pop()()
        answered += [answer.command_id for answer in rig.work()]
    assert answered == ([300, 100, 200] if ordered else [200, 100, 300])
    assert rig.receives == set(range(RECEIVES))


def test_requests_wait_for_memory() -> None:
    """Together they need more than there is."""
    rig = Rig(memory=PAGE)
    half = PAGE // 2 + 64
    messages = []
    for ident in range(4):
        memory, part = rig.pair.memory, rig.pair.part
        memory[8192 * ident : 8192 * ident + 16] = header(IN, ident)
        readable = [part(8192 * ident, 16)]
        writable = [part(8192 * ident + 32, 512 * (half // 512)), part(8192 * ident + 20, 1)]
        messages.append(keyed_request(V5, ident, readable, writable))
    rig.send(*messages)
    assert [answer.command_id for answer in rig.work()] == [0, 1, 2, 3]
    assert rig.heap.size <= 3 * PAGE


# Bounds on a peer that takes nothing.


def test_no_receive_is_posted_again_before_its_answer_goes() -> None:
    """Else a peer that never has a receive could go on for as long as it is not ended."""
    rig = Rig(room=1, index=None)
    keepalive = struct.pack("<HH12x", 2, 5)
    rig.send(keepalive)
    assert len(rig.receives) == RECEIVES
    for _ in range(RECEIVES):
        rig.send(keepalive)
    assert rig.receives == set()
    assert len(rig.work()) == RECEIVES + 1
    assert rig.receives == set(range(RECEIVES))


def test_a_request_is_in_flight_until_its_answer_goes() -> None:
    rig = Rig(room=2)
    message = rig.eager_request(0, header(FLUSH))
    rig.sends.answer([], 0, 0, bytes(16))
    rig.send(message)
    rig.queue.work()
    assert rig.backend.calls == [("flush",)]
    assert rig.queue.busy
    with pytest.raises(RemoteProtocolError, match="command id 1 is used again"):
        rig.send(message)
    assert len(rig.work()) == 2
    assert not rig.queue.busy
    rig.eager.lease(0, 16)


# Control commands.


@each_dialect
def test_control_commands(dialect: Dialect) -> None:
    rig = Rig(dialect, index=None)
    rig.send(dialect.encode(Command.GET_DEVICE_ID, 9), dialect.encode(Command.KEEPALIVE, 10))
    assert len(rig.pair.messages) == 0
    rig.queue.rest()
    rig.pair.complete()
    device_id, alive = rig.pair.messages
    record: Any = unpack(dialect.forms[Command.GET_DEVICE_ID].completion, device_id)
    assert record.value == 2
    assert alive == struct.pack("<HH12x", 0, 10)


def test_one_descriptor_for_both_directions() -> None:
    """It holds the end of the one and the beginning of the other."""
    rig = Rig()
    rig.backend.data[512:1024] = b"z" * 512
    rig.pair.memory[:16] = header(IN, 1)
    rig.send(encode_keyed_vq(1, 16, [rig.pair.part(0, 16 + 512 + 1)]))
    [answer] = rig.work()
    assert answer == (0, 1, 513)
    assert bytes(rig.pair.memory[16:529]) == b"z" * 512 + b"\0"


def test_more_commands_than_the_queue_holds() -> None:
    rig = Rig(size=2)
    rig.send(*(rig.request(FLUSH, command_id=ident) for ident in range(4)))
    assert sorted(answer[:2] for answer in rig.work()) == [(0, 0), (0, 1), (2, 2), (2, 3)]


def test_a_disconnect_comes_after_what_came_before_it() -> None:
    rig = Rig()
    late = rig.request(FLUSH, command_id=3)
    rig.send(rig.request(FLUSH, command_id=1), struct.pack("<HH12x", 1, 2), late)
    assert not rig.queue.left
    assert [answer.command_id for answer in rig.work()] == [1, 2]
    assert rig.queue.left
    rig.send(late)
    assert rig.work() == []


def test_events_are_told() -> None:
    rig = Rig(index=None)
    rig.queue.tell(struct.pack("<HH12x", 0, 0xFFFE) * 2)
    assert [answer[:2] for answer in rig.work()] == [(0, 0xFFFE), (0, 0xFFFE)]


# Eager buffers.


def get_eager(rig: Rig, index: int, descs: int, room: int) -> tuple[int, list[KeyedDescriptor]]:
    rig.pair.memory[:512] = b"\xee" * 512
    rig.send(encode_get_keyed_eager_buf(4, index, descs, rig.pair.part(0, room)))
    rig.queue.rest()
    for ident in rig.pair.complete():
        rig.sends.ended(ident)
    status, ident, count, rest = struct.unpack("<HHB11s", rig.pair.messages.pop())
    assert (ident, rest, rig.pair.messages) == (4, bytes(11), [])
    assert set(rig.pair.memory[16 * count : 512]) == {0xEE}
    found = struct.iter_unpack("<QII", rig.pair.memory[: 16 * count])
    return status, [KeyedDescriptor(*fields) for fields in found]


@pytest.mark.parametrize(
    ("descs", "room", "expected"),
    [(255, 512, 4), (4, 64, 4), (3, 64, 3), (4, 63, 3), (4, 15, 0), (0, 64, 0)],
)
def test_eager_buffers_are_told(descs: int, room: int, expected: int) -> None:
    rig = Rig(index=None)
    status, found = get_eager(rig, 0, descs, room)
    assert (status, len(found)) == (0, expected)
    assert list(rig.eager.expose(expected)) == found
    assert rig.receives == set(range(RECEIVES))


@pytest.mark.parametrize(
    ("features", "index", "status"),
    [(BOTH, 1, 0), (BOTH, 3, 0x1020), (0, 0, 1), (BOTH & ~2, 0, 1)],
    ids=["not connected", "no such queue", "no feature", "another feature"],
)
def test_eager_buffers_that_are_not(features: int, index: int, status: int) -> None:
    rig = Rig(index=None, features=features)
    assert get_eager(rig, index, 4, 64) == (status, [])
    assert not rig.eager.size


def test_eager_buffers_that_cannot_be_registered() -> None:
    rig = Rig(index=None, eager_limit=PAGE)
    assert get_eager(rig, 0, 4, 64) == (0, [])
    assert get_eager(rig, 0, 1, 64)[0] == 0


def test_eager_requests_read_nothing() -> None:
    rig = Rig()
    data = b"eager" * 512
    rig.send(rig.eager_request(100, header(OUT, 2) + data[:2048]))
    assert rig.work() == [(0, 1, 1)]
    assert rig.backend.data[1024:3072] == data[:2048]
    found = rig.sends.operations
    assert (found.reads, found.writes, found.sends) == (0, 1, 1)
    # Its bytes may be used again.
    rig.send(rig.eager_request(100, header(FLUSH)))
    assert rig.work() == [(0, 1, 1)]


def test_what_is_written_later_is_not_looked_at() -> None:
    rig = Rig()
    rig.send(rig.eager_request(0, header(OUT) + b"a" * 512))
    rig.eager._regions[0].view[:] = b"\xff" * PAGE
    rig.work()
    assert rig.backend.data[:512] == b"a" * 512


def test_a_reset_does_not_harm_what_is_in_flight() -> None:
    rig = Rig()
    rig.send(rig.eager_request(0, header(OUT) + b"a" * 512))
    rig.eager.revoke()
    assert rig.work() == [(0, 1, 1)]
    with pytest.raises(RemoteProtocolError, match="not within the 0 bytes"):
        rig.send(encode_eager(1, 0, 16, [rig.pair.part(20, 1)]))


# Violations.

PART = KeyedDescriptor(1 << 32, 16, 7)
STATUS = KeyedDescriptor((1 << 32) + 20, 1, 7)


def vq(readable: Sequence[KeyedDescriptor], writable: Sequence[KeyedDescriptor]) -> bytes:
    return keyed_request(V5, 1, readable, writable)


def eager_at(offset: int, length: int) -> Callable[[Rig], list[bytes]]:
    return lambda rig: [rig.eager_request(0, b"", 9), encode_eager(1, offset, length, [STATUS])]


GOOD = vq([PART], [STATUS])

BAD: dict[str, tuple[Callable[[Rig], list[bytes]], str]] = {
    "more descriptors than there may be": (
        lambda _rig: [vq([PART] * 64, [STATUS])],
        "followed by 1040 bytes; at most 64 keyed descriptors",
    ),
    "a total over the limit": (
        lambda _rig: [vq([PART], [KeyedDescriptor(0, 1 << 20, 7), STATUS])],
        "add up to 1048593 bytes; at most 1048576",
    ),
    "a length of zero": (
        lambda _rig: [vq([PART, PART._replace(length=0)], [STATUS])],
        "a descriptor has length zero",
    ),
    "an address that wraps": (
        lambda _rig: [vq([PART._replace(addr=(1 << 64) - 15)], [STATUS])],
        "goes beyond the last address",
    ),
    "lengths that do not agree": (
        lambda _rig: [GOOD[:8] + struct.pack("<I", 17) + GOOD[12:]],
        "says 18 bytes; its descriptors have 17",
    ),
    "a message with a part of a descriptor": (lambda _rig: [GOOD[:-1]], "followed by 31 bytes"),
    "a message longer than its command says": (lambda _rig: [GOOD + b"\0"], "followed by 33 bytes"),
    "a message without a whole command": (lambda _rig: [GOOD[:15]], "a command of 15 bytes"),
    "an empty message": (lambda _rig: [b""], "a command of 0 bytes"),
    "a control command with something behind it": (
        lambda _rig: [struct.pack("<HH12x", 2, 1) + b"\0"],
        "has 1 bytes too many",
    ),
    "a command id twice": (lambda _rig: [GOOD, GOOD], "command id 1 is used again"),
    "a command id of a control command's twice": (
        lambda _rig: [struct.pack("<HH12x", 2, 1), GOOD],
        "command id 1 is used again",
    ),
    "a second Connect": (
        lambda _rig: [struct.pack("<HHHHI4x", 0, 1, 0xFFFF, 0, 1024) + bytes(16)],
        "a second Connect",
    ),
    "eager bytes outside": (eager_at(EAGER - 8, 16), "are not within the 16384 bytes"),
    "an eager offset outside": (eager_at(EAGER, 16), "are not within"),
    "an eager offset that wraps": (eager_at(0xFFFF_FFF8, 16), "are not within"),
    "an eager length that wraps": (eager_at(16, 0xFFFF_FFF8), "add up to"),
    "eager bytes of another request": (
        lambda rig: [rig.eager_request(15 * n, header(FLUSH), n) for n in (0, 1)],
        "bytes 15 to 31 of the eager buffers overlap those of a request in flight, 0 to 16",
    ),
    "an eager command with half a descriptor": (
        lambda rig: [rig.eager_request(0, header(FLUSH))[:-1]],
        "is followed by 15 bytes",
    ),
    "an eager command with room that it does not say": (
        lambda rig: [rig.eager_request(0, header(FLUSH)) + bytes(8) + struct.pack("<II", 1, 7)],
        "says 1 bytes; its descriptors have 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "words"), BAD.values(), ids=BAD)
def test_violations(make: Callable[[Rig], list[bytes]], words: str) -> None:
    rig = Rig()
    with pytest.raises(RemoteProtocolError) as caught:
        rig.send(*make(rig))
    assert words in str(caught.value)
    assert not rig.backend.calls


@pytest.mark.parametrize("features", [0, 1], ids=["none", "another"])
def test_an_eager_command_without_its_feature(features: int) -> None:
    rig = Rig(features=features)
    with pytest.raises(RemoteProtocolError, match="without the transport feature KEYED_EAGER_BUF"):
        rig.send(rig.eager_request(0, header(FLUSH)))


def test_an_eager_command_where_there_are_no_buffers() -> None:
    rig = Rig(index=1)
    with pytest.raises(RemoteProtocolError, match="where there are no such buffers"):
        rig.send(rig.eager_request(0, header(FLUSH)))


def test_requests_on_the_control_queue() -> None:
    """In v5 there is a status for a command that is not known there."""
    rig = Rig(index=None)
    for message in (GOOD, encode_eager(1, 0, 0, [STATUS]), struct.pack("<HH12x", 0x3000, 1)):
        rig.send(message)
        assert [answer[:2] for answer in rig.work()] == [(1, 1)]
    rig = Rig(PROPOSAL, index=None)
    with pytest.raises(RemoteProtocolError, match="a vring command on the control queue"):
        rig.send(rig.request(FLUSH))


@pytest.mark.parametrize("index", [None, 0])
@pytest.mark.parametrize("dialect", [PROPOSAL, V2], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("opcode", [0x0FFE, 0x0102, 0x0100, 5, 0x3000])
def test_commands_of_another_dialect(index: int | None, dialect: Dialect, opcode: int) -> None:
    rig = Rig(dialect, index=index)
    words = f"opcode {opcode:#06x} is not one of dialect {dialect.name}"
    with pytest.raises(RemoteProtocolError, match=words):
        rig.send(struct.pack("<HH12x", opcode, 1))


def test_a_descriptor_of_v2_that_is_not_keyed() -> None:
    """The target says a stream size of 0: there is no room for bytes in a message."""
    rig = Rig(V2)
    message = bytearray(rig.request(FLUSH))
    message[16 + 14] &= ~1
    with pytest.raises(RemoteProtocolError, match="a descriptor is not keyed"):
        rig.send(bytes(message))


def test_requests_that_no_device_could_complete() -> None:
    rig = Rig()
    rig.send(vq([PART._replace(length=8)], [STATUS]))
    with pytest.raises(RemoteProtocolError):
        rig.work()
