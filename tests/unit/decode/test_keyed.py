# SPDX-License-Identifier: BSD-3-Clause
"""Conversations over RDMA: whose buffer an operation uses, and what the eager buffers hold."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.decode import said
from tests.unit.decode.said import header
from vof.decode.association import Associations
from vof.decode.keyed import KeyedConnection
from vof.decode.message import Bytes, Direction, Kind, Message, Named, Where
from vof.wire import blk
from vof.wire.constants import DeviceId, TransportFeature
from vof.wire.crypto import DataOpcode
from vof.wire.dialect import DIALECTS, PROPOSAL, V2, V5, Dialect
from vof.wire.v5 import KeyedDescriptor

I2T, T2I = Direction
ALL = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda item: item.name)

HEADER, DATA, STATUS = (
    KeyedDescriptor(0x1000, 16, 1),
    KeyedDescriptor(0x2000, 512, 2),
    KeyedDescriptor(0x3000, 1, 3),
)
BODY = KeyedDescriptor(0x9000, 1024, 9)
EAGER = (KeyedDescriptor(0x70000, 64, 70), KeyedDescriptor(0x80000, 100, 80))


def keyed(place: KeyedDescriptor) -> bytes:
    """Return a keyed descriptor."""
    return struct.pack("<QII", *place)


def asks(
    dialect: Dialect,
    command_id: int,
    readable: Sequence[KeyedDescriptor],
    writable: Sequence[KeyedDescriptor],
) -> bytes:
    """Return the message of a virtqueue's request."""
    sizes = [sum(each.length for each in side) for side in (readable, writable)]
    if dialect is V5:
        head = struct.pack("<HH4xII", 0x0FFF, command_id, *sizes)
        return head + b"".join(map(keyed, (*readable, *writable)))
    last = len(readable) + len(writable) - 1
    table = [
        said.segment(
            each.length,
            place,
            (1 if dialect is V2 else int(place < last)) | (2 if place >= len(readable) else 0),
            each.addr,
            each.key,
        )
        for place, each in enumerate((*readable, *writable))
    ]
    opcode = said.OPCODES[dialect.name]["vring"]
    return struct.pack("<HHIH6x", opcode, command_id, 0, len(table)) + b"".join(table)


def asks_eager(
    command_id: int, offset: int, length: int, writable: Sequence[KeyedDescriptor]
) -> bytes:
    """Return the message of a request that is in the eager buffers."""
    in_length = sum(each.length for each in writable)
    head = struct.pack("<HHIII", 0x0FFE, command_id, offset, length, in_length)
    return head + b"".join(map(keyed, writable))


def asks_for_eager_buffers(
    command_id: int, queue: int, descs: int, place: KeyedDescriptor
) -> bytes:
    """Return the message of a get_keyed_eager_buf."""
    return struct.pack("<HHHB9x", 0x0102, command_id, queue, descs) + keyed(place)


class Listener:
    """One connection, and all that was told of it."""

    def __init__(self, associations: Associations | None = None) -> None:
        self.connection = KeyedConnection(
            0, "target:1", associations or Associations(), begins=True
        )
        self.number = 0

    def _where(self) -> Where:
        self.number += 1
        return Where(self.number)

    def send(self, direction: Direction, data: bytes) -> Message:
        (found,) = self.connection.send(direction, Bytes(data), self._where())
        return found

    def ask(self, data: bytes) -> Message:
        return self.send(I2T, data)

    def answer(self, data: bytes) -> Message:
        return self.send(T2I, data)

    def read(self, place: KeyedDescriptor, data: bytes, offset: int = 0) -> Message:
        (found,) = self.connection.read(
            T2I, place.addr + offset, place.key, Bytes(data), self._where()
        )
        return found

    def write(
        self, place: KeyedDescriptor, data: bytes, offset: int = 0, direction: Direction = T2I
    ) -> Message:
        (found,) = self.connection.write(
            direction, place.addr + offset, place.key, Bytes(data), self._where()
        )
        return found

    def connect(self, dialect: Dialect, queue: int | None = None) -> list[Message]:
        head = said.connect_head(dialect, queue, rdma=True)
        flags = int(dialect is V2)
        rest = keyed(BODY) if dialect is V5 else said.segment(1024, 0, flags, BODY.addr, BODY.key)
        return [
            self.ask(head + rest),
            self.read(BODY, said.body()),
            self.answer(said.answered(dialect, 7, 3)),
        ]


def problems(messages: Sequence[Message]) -> list[str]:
    return [problem for message in messages for problem in message.problems]


def session(
    dialect: Dialect, device: DeviceId = DeviceId.BLOCK, features: int = 1, descs: int = 8
) -> tuple[Listener, Listener]:
    """Return a control queue and virtqueue 0, of a device whose type is known; of v5 with transport
    features and the keyed descriptors that a command may have."""
    associations = Associations()
    control, queue = Listener(associations), Listener(associations)
    found = control.connect(dialect)
    found += [control.ask(said.common(dialect, "get_device_id", 0))]
    found += [control.answer(said.answered(dialect, 0, device))]
    if dialect is V5:
        found += [control.ask(said.common(V5, "set_feature", 0, features))]
        found += [control.answer(said.done(0))]
    if dialect is V5 and descs > 1:
        found += [control.ask(said.common(V5, "get_keyed_num_descs", 1))]
        found += [control.answer(said.answered(V5, 1, descs))]
    found += queue.connect(dialect, 0)
    assert not problems(found)
    return control, queue


def eager_session(device: DeviceId = DeviceId.BLOCK) -> tuple[Listener, Listener]:
    """The same in v5, with eager buffers that were told of."""
    features = TransportFeature.KEYED_NUM_DESCS | TransportFeature.KEYED_EAGER_BUF
    control, queue = session(V5, device, features)
    body = KeyedDescriptor(0x4000, 64, 4)
    found = [control.ask(asks_for_eager_buffers(1, 0, 4, body))]
    found += [control.write(body, b"".join(map(keyed, EAGER)))]
    found += [control.answer(said.answered(V5, 1, 2))]
    assert not problems(found)
    assert found[0].decoded == {"queue": 0, "descs": 4}
    assert found[2].decoded["descs"] == 2
    assert [each["length"] for each in found[2].decoded["buffers"]] == [64, 100]  # type: ignore[union-attr, call-overload, index]
    return control, queue


def completion(dialect: Dialect, command_id: int, written: int, status: int = 0) -> bytes:
    """Return the completion of a request."""
    if dialect is V5:
        return struct.pack("<HH4xII", status, command_id, written, 0)
    return said.done(command_id, written, status)


@ALL
def test_attaching(dialect: Dialect) -> None:
    asked, read, answered = Listener().connect(dialect)
    assert (asked.name, asked.queue) == ("connect", "control")
    assert asked.decoded["dialect"] == dialect.name
    assert (read.kind, read.name, read.command_id) == (Kind.READ, "connect", 7)
    assert (read.decoded["ivqn"], read.decoded["tvqn"]) == (said.IVQN, said.TVQN)
    ident = "device_instance_id" if dialect is V5 else "target_id"
    assert answered.decoded == {"status": Named(0, "ok"), ident: 3}


@ALL
def test_a_write(dialect: Dialect) -> None:
    _control, queue = session(dialect)
    asked = queue.ask(asks(dialect, 1, [HEADER, DATA], [STATUS]))
    head = queue.read(HEADER, header(blk.RequestType.OUT, 8))
    data = queue.read(DATA, bytes(512))
    status = queue.write(STATUS, b"\0")
    done = queue.answer(completion(dialect, 1, 1))
    assert not problems([asked, head, data, status, done])
    assert asked.name == "vq" if dialect is V5 else "vring"
    assert (asked.decoded["readable"], asked.decoded["writable"]) == (528, 1)
    assert head.decoded["request"] == {
        "device": "block", "type": Named(1, "OUT"), "sector": 8, "bytes": 512,
    }  # fmt: skip
    assert "request" not in data.decoded
    assert (data.decoded["offset"], status.decoded["offset"]) == (16, 0)
    assert {each.command_id for each in (head, data, status, done)} == {1}
    assert done.decoded["answer"] == {"status": Named(0, "OK")}
    assert done.answers == asked.where


@ALL
def test_a_read_in_pieces(dialect: Dialect) -> None:
    _control, queue = session(dialect)
    queue.ask(asks(dialect, 1, [HEADER], [DATA, STATUS]))
    queue.read(HEADER, header(blk.RequestType.IN, 8))
    first = queue.write(DATA, bytes(256))
    second = queue.write(DATA, bytes(256), 256)
    last = queue.write(STATUS, b"\2")
    done = queue.answer(completion(dialect, 1, 513))
    assert [each.decoded["offset"] for each in (first, second, last)] == [0, 256, 512]
    assert done.decoded["answer"] == {"status": Named(2, "UNSUPP")}
    assert done.decoded["written"] == 513
    assert not problems([first, second, last, done])


def test_two_commands_in_flight() -> None:
    _control, queue = session(V2)
    other = [each._replace(key=each.key + 10) for each in (HEADER, STATUS)]
    queue.ask(asks(V2, 1, [HEADER], [STATUS]))
    queue.ask(asks(V2, 2, [other[0]], [other[1]]))
    assert queue.read(other[0], header(blk.RequestType.FLUSH)).command_id == 2
    assert queue.read(HEADER, header(blk.RequestType.FLUSH)).command_id == 1
    assert queue.write(STATUS, b"\0").command_id == 1


def test_an_eager_write() -> None:
    _control, queue = eager_session()
    data = header(blk.RequestType.OUT, 5) + bytes(84)
    # Over the edge of the first buffer, in two operations.
    first = queue.write(EAGER[0], data[:24], 40, I2T)
    second = queue.write(EAGER[1], data[24:], 0, I2T)
    asked = queue.ask(asks_eager(1, 40, 100, [STATUS]))
    status = queue.write(STATUS, b"\0")
    done = queue.answer(said.answered(V5, 1, 1))
    assert not problems([first, second, asked, status, done])
    assert [each.decoded["offset"] for each in (first, second)] == [40, 64]
    assert {each.name for each in (first, second, asked)} == {"vq_keyed_eager_buf"}
    assert asked.decoded == {
        "out_offset": 40,
        "readable": 100,
        "writable": 1,
        "request": {"device": "block", "type": Named(1, "OUT"), "sector": 5, "bytes": 84},
    }
    assert done.decoded["answer"] == {"status": Named(0, "OK")}


OUTSIDE = "{} bytes at {} are not within the eager buffers of 164"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (asks_eager(1, 100, 65, [STATUS]), OUTSIDE.format(65, 100)),
        (asks_eager(1, 0xFFFF_FFFF, 1, []), OUTSIDE.format(1, 0xFFFF_FFFF)),
        (asks_eager(1, 9, 1, []), "its eager bytes overlap those of 5"),
        (
            struct.pack("<HHIII", 0x0FFE, 1, 20, 1, 9),
            "it says 9 bytes, its descriptors have 0",
        ),
        (asks_eager(1, 50, 1, []) + b"x", "the message has 1 bytes of descriptors instead of 0"),
    ],
)
def test_violations_with_eager_buffers(command: bytes, expected: str) -> None:
    _control, queue = eager_session()
    assert not problems([queue.ask(asks_eager(5, 0, 10, []))])
    assert queue.ask(command).problems == [expected]


def test_an_eager_command_without_the_feature_or_on_the_control_queue() -> None:
    control, queue = session(V5)
    message = "the transport feature KEYED_EAGER_BUF is not in force"
    assert queue.ask(asks_eager(1, 0, 1, [])).problems == [message]
    assert "it is for virtqueues only" in control.ask(asks_eager(1, 0, 1, [])).problems


def test_an_eager_write_beside_the_buffers() -> None:
    _control, queue = eager_session()
    beyond = queue.write(EAGER[0], bytes(10), 60, I2T)
    assert beyond.problems == ["the eager buffer has 4 bytes from there on"]
    wrong_key = EAGER[0]._replace(key=71)
    assert queue.write(wrong_key, b"x", 0, I2T).problems == ["no eager buffer is there"]


NOBODY = "no command in flight names this memory"


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (lambda it: it.read(HEADER._replace(key=99), bytes(16)), NOBODY),
        (lambda it: it.read(STATUS, b"x"), NOBODY),
        (lambda it: it.write(HEADER, b"x"), NOBODY),
        (lambda it: it.write(DATA, b"x", 512), NOBODY),
        (lambda it: it.write(DATA, bytes(3), 510), "the buffer has 2 bytes from there on"),
        (lambda it: it.answer(bytes(15)), "a message of 15 bytes; the shortest has 16"),
        (lambda it: it.answer(said.done(1, 1) + b"x"), "the message has 17 bytes instead of 16"),
        (
            lambda it: it.answer(said.done(1, 514)),
            "it returns 514 bytes, where there is room for 513",
        ),
        (lambda it: it.answer(said.done(9, 1)), "no command with this id is in flight"),
        (lambda it: it.ask(bytes(3)), "a message of 3 bytes; the shortest has 16"),
        (lambda it: it.ask(said.unknown(0x3000)), "opcode 0x3000 is not one of dialect v2"),
    ],
)
def test_violations(operation: object, expected: str) -> None:
    _control, queue = session(V2)
    queue.ask(asks(V2, 1, [HEADER], [DATA, STATUS]))
    found = operation(queue)  # type: ignore[operator]
    assert expected in found.problems


def test_messages_of_another_size_than_their_command_says() -> None:
    for dialect, long in ((PROPOSAL, 49), (V2, 49), (V5, 33)):
        _control, queue = session(dialect)
        message = asks(dialect, 1, [HEADER], [STATUS])
        expected = "the message has {} bytes of descriptors instead of {}"
        too_long = queue.ask(message + b"x")
        assert too_long.problems == [expected.format(long, long - 1)]
        too_short = queue.ask(message[:-1])
        assert any("bytes of descriptors instead of" in each for each in too_short.problems)


def test_a_descriptor_that_holds_the_end_of_one_part_and_the_beginning_of_the_other() -> None:
    """In v5 all of them cover the device-readable bytes and then the device-writable ones."""
    _control, queue = session(V5)
    both = KeyedDescriptor(0x1000, 529, 1)
    asked = queue.ask(struct.pack("<HH4xII", 0x0FFF, 1, 16, 513) + keyed(both))
    head = queue.read(both, header(blk.RequestType.IN, 8))
    data = queue.write(both, bytes(512), 16)
    status = queue.write(both, b"\0", 528)
    done = queue.answer(completion(V5, 1, 513))
    assert not problems([asked, head, data, status, done])
    assert (asked.decoded["readable"], asked.decoded["writable"]) == (16, 513)
    assert [each.decoded["offset"] for each in (head, data, status)] == [0, 0, 512]
    assert done.decoded["answer"] == {"status": Named(0, "OK")}
    queue.ask(struct.pack("<HH4xII", 0x0FFF, 2, 16, 513) + keyed(both))
    beyond = queue.read(both, bytes(17))
    assert beyond.problems == ["the buffer has 16 bytes from there on"]
    assert queue.write(both, b"x").problems == ["no command in flight names this memory"]


def test_more_keyed_descriptors_than_are_allowed() -> None:
    """One, as long as nobody said more."""
    many = [HEADER._replace(addr=0x1000 * place) for place in range(3)]
    control, queue = session(V5, descs=1)
    found = queue.ask(asks(V5, 1, [HEADER], [STATUS]))
    assert found.problems == ["2 keyed descriptors, where 1 are allowed"]
    control.ask(said.common(V5, "get_keyed_num_descs", 1))
    told = control.answer(said.answered(V5, 1, 2))
    assert (told.decoded["descs"], told.problems) == (2, [])
    assert not queue.ask(asks(V5, 2, [HEADER], [STATUS])).problems
    found = queue.ask(asks(V5, 3, many, []))
    assert found.problems == ["3 keyed descriptors, where 2 are allowed"]


def test_a_virtqueue_whose_connect_has_no_body() -> None:
    associations = Associations()
    control, queue = Listener(associations), Listener(associations)
    control.connect(V5)
    asked = queue.ask(said.connect_head(V5, 2, length=0))
    assert (asked.problems, asked.queue) == ([], "2")
    assert (asked.decoded["tvqn"], asked.fields["length"]) == (said.TVQN, 0)


def test_the_device_is_known_where_only_messages_are_seen() -> None:
    """As a trace has them: nobody reads the connect body."""
    associations = Associations()
    control, queue = Listener(associations), Listener(associations)
    control.ask(said.connect_head(V5, rdma=True) + keyed(BODY))
    control.answer(said.answered(V5, 7, 3))
    control.ask(said.common(V5, "get_device_id", 1))
    control.answer(said.answered(V5, 1, DeviceId.RNG))
    queue.ask(said.connect_head(V5, 0, rdma=True) + keyed(BODY))
    queue.answer(said.answered(V5, 7, 3))
    queue.ask(asks(V5, 1, [], [DATA]))
    done = queue.answer(completion(V5, 1, 512))
    assert done.decoded["answer"] == {"bytes": 512}
    assert not done.problems


def test_bytes_that_are_in_the_message() -> None:
    """In v2 a command may have descriptors of both kinds."""
    _control, queue = session(V2)
    table = said.segment(16, 0, 0) + said.segment(512, 1, 1, DATA.addr, DATA.key)
    table += said.segment(1, 2, 2)
    data = header(blk.RequestType.OUT, 8)
    asked = queue.ask(struct.pack("<HHIH6x", 0x0FFF, 1, 0, 3) + table + data)
    assert asked.decoded["request"]["sector"] == 8  # type: ignore[index, call-overload]
    assert (asked.head[-24:], asked.payload.data) == (table[-24:], data)
    read = queue.read(DATA, bytes(512))
    assert read.decoded["offset"] == 16
    done = queue.answer(said.done(1, 1) + b"\0")
    assert done.payload.data == b"\0"
    assert not problems([asked, read, done])


def test_more_eager_buffers_than_were_asked_for() -> None:
    control, _queue = session(V5, features=TransportFeature.KEYED_EAGER_BUF, descs=1)
    control.ask(asks_for_eager_buffers(1, 0, 1, BODY))
    found = control.answer(said.answered(V5, 1, 2))
    assert found.problems == ["1 descriptors were asked for"]
    assert "buffers" not in found.decoded  # for nothing was written there


def test_completions_that_all_have_command_id_0() -> None:
    """As the reference target's crypto device makes them: by what was written last."""
    _control, queue = session(PROPOSAL, DeviceId.CRYPTO)
    other = STATUS._replace(key=13)
    queue.ask(asks(PROPOSAL, 4, [], [STATUS]))
    asked = queue.ask(asks(PROPOSAL, 5, [], [other]))
    queue.write(other, b"\0")
    found = queue.answer(completion(PROPOSAL, 0, 1))
    assert found.answers == asked.where
    assert found.problems == ["command id 0 is not in flight; taken for the completion of 5"]


def test_keys_are_known_as_such() -> None:
    """Those of a request are known by its header, those in eager buffers may be anywhere."""
    _control, queue = session(V2, DeviceId.CRYPTO)
    key = KeyedDescriptor(0x2000, 32, 2)
    queue.ask(asks(V2, 1, [HEADER._replace(length=72), key], [STATUS]))
    secret = queue.read(key, bytes(32))  # before the header was read
    assert secret.payload.secret == (range(32),)
    create = struct.pack("<IIII", 2, 2, 0, 0) + struct.pack("<IIII32sII", 2, 32, 1, 0, b"", 1, 0)
    head = queue.read(HEADER._replace(length=72), create)
    assert head.decoded["request"]["key_len"] == 32  # type: ignore[index, call-overload]
    assert head.payload.secret == ()
    assert queue.read(key, bytes(32)).payload.secret == (range(32),)
    _control, queue = eager_session(DeviceId.CRYPTO)
    assert queue.write(EAGER[0], bytes(9), 0, I2T).payload.secret == (range(9),)
    _control, queue = eager_session(DeviceId.BLOCK)
    assert queue.write(EAGER[0], bytes(9), 0, I2T).payload.secret == ()


def test_a_read_by_the_initiator() -> None:
    _control, queue = session(V2)
    (found,) = queue.connection.read(I2T, 1, 2, Bytes(b"x"), Where(1))
    assert found.problems == ["an initiator has nothing to read by key"]


def test_events_losses_and_ends() -> None:
    control, queue = session(V2)
    assert control.answer(said.done(0xFFFE)).kind is Kind.EVENT
    assert queue.answer(said.done(0xFFFE)).problems == ["an event on a virtqueue"]
    (lost,) = queue.connection.lost(T2I, 3, Where(1))
    assert (lost.kind, lost.decoded) == (Kind.LOST, {"packets": 3})
    (note,) = queue.connection.note(T2I, "not now", Where(1))
    assert (note.kind, note.decoded) == (Kind.NOTE, {"note": "not now"})
    queue.ask(asks(V2, 1, [HEADER], [STATUS]))
    assert queue.connection.end()[0].decoded == {"in_flight": 1, "commands": ["vring 1"]}
    (first,) = queue.connection.closed(I2T, "dreq", Where(1))
    (second,) = queue.connection.closed(T2I, "drep", Where(1))
    assert not queue.connection.closed(T2I, "drep", Where(1))
    assert first.decoded == {"how": "dreq"}
    assert second.decoded["in_flight"] == 1
    assert not queue.connection.end()


words = st.one_of(
    st.binary(max_size=80),
    st.builds(
        lambda opcode, command_id, rest: struct.pack("<HH", opcode, command_id) + rest,
        st.sampled_from(
            [0, 1, 4, 5, 0x100, 0x102, 0xFFE, 0xFFF, 0x1001, 0x100C, 0x2000, DataOpcode.HASH]
        ),
        st.integers(0, 3),
        st.binary(min_size=12, max_size=80),
    ),
)
places = st.sampled_from([*EAGER, HEADER, DATA, STATUS, BODY])


@given(
    device=st.sampled_from(DeviceId),
    operations=st.lists(
        st.tuples(st.sampled_from(["ask", "answer", "read", "write", "eager"]), words, places),
        max_size=12,
    ),
)
def test_whatever_is_said(
    device: DeviceId, operations: list[tuple[str, bytes, KeyedDescriptor]]
) -> None:
    control, queue = eager_session(device)
    for name, data, place in operations:
        for listener in (control, queue):
            if name in {"ask", "answer"}:
                getattr(listener, name)(data)
            elif name == "eager":
                listener.write(place, data, 0, I2T)
            else:
                getattr(listener, name)(place, data)
    control.connection.end()
