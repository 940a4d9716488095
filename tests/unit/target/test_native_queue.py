# SPDX-License-Identifier: BSD-3-Clause
"""The native queue by itself, on a pair of sockets, and against the reference in Python."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.target.asking import ask
from vof.errors import ConfigError, RemoteProtocolError
from vof.implementation import VARIABLE
from vof.target import native
from vof.target.backends.memory import MemoryBackend
from vof.target.devices import block
from vof.target.devices.block import BlockDevice, BlockInstance, BlockOptions
from vof.target.native_events import ControlCommand, NativeRequest
from vof.target.tcp.virtqueue import open_native
from vof.target.work import Work
from vof.wire.blk import Feature
from vof.wire.constants import CommonFeature
from vof.wire.dialect import PROPOSAL, V5, Dialect, Framing
from vof.wire.framing import encode_request

SIZE = 64 << 10
PATIENCE = 30.0


class Rig(NamedTuple):
    device: native.Device
    rules: native.Rules
    memory: memoryview
    ours: socket.socket
    theirs: socket.socket

    def queue(
        self, framing: Framing = Framing.CHAINS, width: int = 4, depth: int = 0
    ) -> native.Queue:
        return native.Queue(
            self.device,
            self.rules,
            self.theirs.fileno(),
            width=width,
            dialect="any",
            max_ndesc=8,
            max_transfer=1 << 20,
            plain_opcodes=(1, 2),
            framing=framing,
            largest_kept=1 << 16,
            depth=depth,
        )


@pytest.fixture
def rig() -> Iterator[Rig]:
    memory = memoryview(bytearray(range(256)) * (SIZE // 256))
    device = native.Device.on_memory(
        memory,
        readonly=False,
        capacity=SIZE,
        max_discard_sectors=8,
        max_write_zeroes_sectors=8,
        max_segments=2,
    )
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE)
    with ours, theirs:
        yield Rig(device, native.Rules(), memory, ours, theirs)
    device.close()


def vq(command_id: int, payload: bytes, room: int) -> bytes:
    head = struct.pack("<HH4xII", 0x0FFF, command_id, len(payload), room)
    return head + payload


def test_the_framing_of_v5(rig: Rig) -> None:
    queue = rig.queue(Framing.LENGTHS)
    data = bytes(reversed(range(256))) * 2
    rig.ours.sendall(vq(1, struct.pack("<IIQ", 1, 0, 3) + data, 1))
    rig.ours.sendall(vq(2, struct.pack("<IIQ", 0, 0, 3), 513))
    rig.ours.sendall(vq(3, struct.pack("<IIQ", 0, 0, 1 << 40), 513))
    rig.ours.shutdown(socket.SHUT_WR)
    assert queue.serve() is None
    rig.theirs.shutdown(socket.SHUT_WR)
    received = rig.ours.recv(4096, socket.MSG_WAITALL)
    assert received == (
        struct.pack("<HH4xII", 0, 1, 1, 1)
        + b"\0"
        + struct.pack("<HH4xII", 0, 2, 513, 513)
        + data
        + b"\0"
        + struct.pack("<HH4xII", 0, 3, 513, 513)
        + bytes(512)
        + b"\1"
    )
    assert rig.memory[3 * 512 : 4 * 512] == data
    queue.close()


def test_what_is_counted(rig: Rig) -> None:
    queue = rig.queue(Framing.LENGTHS)
    assert queue.counts() == {}
    rig.ours.sendall(
        b"".join(vq(ident, struct.pack("<IIQ", 0, 0, ident), 513) for ident in range(3))
        + vq(3, struct.pack("<IIQ", 0, 0, 1 << 40), 513)
        + vq(4, struct.pack("<IIQ", 1, 0, 3) + bytes(1024), 1)
    )
    rig.ours.shutdown(socket.SHUT_WR)
    assert queue.serve() is None
    for _closed in range(2):
        counts = queue.counts()
        assert set(counts) == {"VIRTIO_BLK_T_IN", "VIRTIO_BLK_T_OUT"}
        assert counts["VIRTIO_BLK_T_IN"][:5] == (4, 3 * 512, 0, 1, 0)
        assert counts["VIRTIO_BLK_T_OUT"][:5] == (1, 1024, 0, 0, 0)
        assert sum(counts["VIRTIO_BLK_T_IN"].latencies) == 4
        assert counts["VIRTIO_BLK_T_IN"].seconds > 0
        assert queue.busy() == 0
        queue.close()


def test_what_is_left_to_python(rig: Rig) -> None:
    """A control command and an unknown type, between requests: the answers keep their order."""
    queue = rig.queue(Framing.LENGTHS)
    read = struct.pack("<IIQ", 0, 0, 0)
    rig.ours.sendall(
        vq(1, read, 513)
        + struct.pack("<HH12x", 2, 7)
        + vq(2, struct.pack("<IIQ", 77, 0, 0) + b"more", 3)
        + vq(3, read, 513)
    )
    rig.ours.shutdown(socket.SHUT_WR)
    event = queue.serve()
    assert event == ControlCommand(struct.pack("<HH12x", 2, 7))
    queue.send(b"control completion")
    event = queue.serve()
    assert isinstance(event, NativeRequest)
    assert (bytes(event.payload), event.room) == (struct.pack("<IIQ", 77, 0, 0) + b"more", 3)
    event.payload.release()
    queue.answer(memoryview(b"xyz"))
    assert queue.serve() is None
    rig.theirs.shutdown(socket.SHUT_WR)
    sector = bytes(rig.memory[:512]) + b"\0"
    assert rig.ours.recv(4096, socket.MSG_WAITALL) == (
        struct.pack("<HH4xII", 0, 1, 513, 513)
        + sector
        + b"control completion"
        + struct.pack("<HH4xII", 0, 2, 3, 3)
        + b"xyz"
        + struct.pack("<HH4xII", 0, 3, 513, 513)
        + sector
    )
    queue.close()


@pytest.mark.parametrize("second", [1, 2])
def test_an_id_of_a_control_command_is_in_flight_too(rig: Rig, second: int) -> None:
    queue = rig.queue()
    rig.ours.sendall(struct.pack("<HH12x", 2, 7) + struct.pack("<HH12x", second, 7))
    assert isinstance(queue.serve(), ControlCommand)
    with pytest.raises(RemoteProtocolError, match="command id 7 is used again"):
        queue.serve()
    queue.close()


def test_rules_hold_from_the_next_request_on(rig: Rig) -> None:
    queue = rig.queue(Framing.LENGTHS)
    flush = struct.pack("<IIQ", 4, 0, 0)

    def status(command_id: int) -> int:
        rig.ours.sendall(vq(command_id, flush, 1))
        return rig.ours.recv(17, socket.MSG_WAITALL)[-1]

    server = threading.Thread(target=queue.serve)
    server.start()
    assert status(1) == 2
    rig.rules.set(native.RULE_FLUSH)
    assert status(2) == 0
    rig.rules.set(0)
    assert status(3) == 2
    queue.stop()
    rig.theirs.shutdown(socket.SHUT_RDWR)
    server.join(PATIENCE)
    assert not server.is_alive()
    queue.close()


def test_a_closed_queue(rig: Rig) -> None:
    queue = rig.queue()
    queue.close()
    queue.close()
    queue.stop()
    queue.finish(1.0)
    with pytest.raises(ValueError, match="closed"):
        queue.serve()


# Against the reference.

SECTORS = SIZE // 512
EVERYTHING = (
    CommonFeature.VERSION_1
    | Feature.FLUSH
    | Feature.DISCARD
    | Feature.WRITE_ZEROES
    | Feature.SECURE_ERASE
)

segments = st.lists(
    st.tuples(
        st.one_of(st.integers(0, SECTORS + 1), st.just((1 << 64) - 1)),
        st.one_of(st.integers(0, SECTORS + 1), st.just((1 << 22) + 1)),
        st.sampled_from([0, 0, 1, 2]),
    ).map(lambda fields: struct.pack("<QII", *fields)),
    max_size=3,
).map(b"".join)

requests = st.tuples(
    st.sampled_from([0, 0, 1, 1, 4, 8, 11, 13, 14, 99]),
    st.one_of(st.integers(0, SECTORS + 1), st.sampled_from([1 << 55, (1 << 64) - 1])),
    st.one_of(
        st.just(b""),
        st.binary(min_size=512, max_size=512),
        st.binary(max_size=40),
        st.just(b"wxyz" * 2048),
        segments,
        st.just(struct.pack("<QII", 0, 0, 0) * 65),
    ),
    st.one_of(st.integers(1, 30), st.sampled_from([513, 1025, 8193, SIZE + 1, SIZE + 513])),
)


Counted = dict[str, tuple[int, int, int, int, int]]
"""Of each kind: requests, data, refused, failed, lost."""


def serve_all(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    dialect: Dialect,
    features: int,
    items: list[tuple[int, int, bytes, int]],
) -> tuple[list[bytes], bytes, Counted]:
    """Return the area that each request has come back with, the whole disk, and what was
    counted."""
    monkeypatch.setenv(VARIABLE, name)
    backend = MemoryBackend(SIZE)
    backend.write(memoryview(bytes(range(256)) * (SIZE // 256)), 0, persist=False)
    device = BlockDevice("name", 0, BlockOptions(serial="serial"), backend)
    instance = device.new_instance()
    instance.choose_features(features & device.features)
    assert isinstance(instance, BlockInstance)
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE)
    areas = []
    work = Work()
    with ours, theirs:
        executor = instance.native_executor()
        assert (executor is not None) == (name == "native")
        queue = None
        if executor:
            fd, limits = theirs.fileno(), device.limits
            queue = open_native(executor, fd, dialect, limits, threads=1, depth=0)
        work.native = queue
        for kind, sector, data, room in items:
            payload = struct.pack("<IIQ", kind, 0, sector) + data
            if not queue:
                area = memoryview(bytearray(b"\xee" * room))
                assert ask(instance, memoryview(payload), area, work=work) == room
                areas.append(bytes(area))
                continue
            head = encode_request(dialect.framing, 5, [len(payload)], [room])
            # A control command ends what the queue does by itself.
            ours.sendall(head + payload + struct.pack("<HH12x", 2, 6))
            while isinstance(event := queue.serve(), NativeRequest):
                area = memoryview(bytearray(room))
                assert ask(instance, event.payload, area, work=work) == room
                event.payload.release()
                queue.answer(area)
            queue.flush()
            size = 16 if dialect is V5 else 40
            areas.append(ours.recv(size + room, socket.MSG_WAITALL)[size:])
        if queue:
            ours.shutdown(socket.SHUT_WR)
            assert queue.serve() is None
            queue.close()
    whole = memoryview(bytearray(SIZE))
    backend.read(whole, 0)
    device.close()
    counted = {kind: count[:5] for kind, count in work.counts().items()}
    return areas, bytes(whole), counted


@given(
    items=st.lists(requests, min_size=1, max_size=8),
    features=st.sampled_from([0, EVERYTHING]),
    dialect=st.sampled_from([PROPOSAL, V5]),
)
def test_the_same_answers_as_python(
    items: list[tuple[int, int, bytes, int]], features: int, dialect: Dialect
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        expected = serve_all(monkeypatch, "python", dialect, features, items)
        assert serve_all(monkeypatch, "native", dialect, features, items) == expected


def test_native_is_missed_only_where_it_is_insisted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> BlockDevice:
        return BlockDevice("name", 0, BlockOptions(), MemoryBackend(SIZE))

    def is_native() -> bool:
        device = make()
        try:
            return device.native is not None
        finally:
            device.close()

    monkeypatch.delenv(VARIABLE, raising=False)
    assert is_native()
    monkeypatch.setenv(VARIABLE, "python")
    assert not is_native()
    monkeypatch.setattr(block, "_missing", ImportError("not built"))
    monkeypatch.delenv(VARIABLE)
    assert not is_native()
    monkeypatch.setenv(VARIABLE, "native")
    with pytest.raises(ConfigError, match="not built"):
        make()
